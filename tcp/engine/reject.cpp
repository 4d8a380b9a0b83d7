#include "core.hpp"

// Segments that stand outside a connection's own order: RST, challenge ACK and the answers to
// unacceptable segments. They are never merged, so they go through a queue of their own.

namespace runnel::tcp::detail {

bool send_reply(core& host, const reply& r) {
  if (host.replies.push(r)) return true;
  ++host.count.reject_limited;
  return false;
}

bool may_reject(core& host, const net::address& peer) noexcept {
  const auto second = static_cast<std::uint32_t>(host.now_ms / 1000);
  if (host.reject_peers.take(host.peer_hash(peer), second,
                             host.shard.share(host.policy.reject_limit_per_peer),
                             peer_limiter::crowding::share) &&
      host.take(host.reject_rate, host.shard.share(host.policy.reject_limit))) {
    return true;
  }
  ++host.count.reject_limited;
  return false;
}

bool may_challenge(core& host, const net::address& peer) noexcept {
  const auto second = static_cast<std::uint32_t>(host.now_ms / 1000);
  return host.challenge_peers.take(host.peer_hash(peer), second,
                                   host.shard.share(host.policy.challenge_ack_limit_per_peer),
                                   peer_limiter::crowding::replace) &&
         host.take(host.challenge_rate, host.shard.share(host.policy.challenge_ack_limit));
}

void send_reset_for(core& host, const segment& seg) {
  if (!seg.has(flag::rst) && may_reject(host, seg.key.remote)) reset_proven(host, seg);
}

void reset_proven(core& host, const segment& seg) {
  // RFC 9293 §3.10.7.1: nothing answers a reset, or two hosts would never stop.
  if (seg.has(flag::rst)) return;
  reply r;
  r.key = seg.key;
  r.flags = flag::rst;
  r.ttl = *host.connection_defaults.ttl;
  if (seg.has(flag::ack)) {
    r.seq = seg.ack;
  } else {
    r.flags |= flag::ack;
    r.ack = seg.end();
  }
  if (send_reply(host, r)) ++host.count.out_rsts;
}

void send_reset(core& host, const connection& c) {
  reply r;
  r.key = c.key;
  r.flags = flag::rst | flag::ack;
  r.seq = c.snd_.nxt;
  r.ack = c.rcv_.nxt;
  r.ttl = setting(host, c, &connection_policy::ttl);
  if (send_reply(host, r)) ++host.count.out_rsts;
}

reply ack_reply(core& host, connection& c) {
  const std::uint32_t window = select_window(host, c);
  note_advertised(host, c, window);
  ++c.traffic.segs_out;
  reply r;
  r.key = c.key;
  r.flags = flag::ack;
  r.seq = c.snd_.nxt;
  r.ack = c.rcv_.nxt;
  r.window = static_cast<std::uint16_t>(std::min<std::uint32_t>(window >> c.rcv_wscale, 65535));
  r.ttl = setting(host, c, &connection_policy::ttl);
  if (c.timestamps) {
    r.has_timestamp = true;
    r.tsval = host.ms() + c.ts_offset;
    r.tsecr = c.ts_recent;
  }
  return r;
}

namespace {

/// Linux's tcp_oow_rate_limited: one connection does not answer invalid segments back to back, or a
/// pair of confused hosts would keep each other busy.
bool answered_lately(const core& host, connection& c) noexcept {
  const auto limit = static_cast<std::uint32_t>(host.policy.invalid_ratelimit.count());
  if (c.last_challenge_ms != 0 && host.ms() - c.last_challenge_ms < limit) return true;
  c.last_challenge_ms = host.ms() == 0 ? 1 : host.ms();
  return false;
}

}  // namespace

void send_challenge_ack(core& host, connection& c) {
  if (answered_lately(host, c)) {
    ++host.count.ack_skipped_challenge;
    return;
  }
  if (!may_challenge(host, c.key.remote)) return;
  if (send_reply(host, ack_reply(host, c))) ++host.count.challenge_ack;
}

void send_plain_ack(core& host, connection& c, const segment& seg, std::uint64_t& skipped) {
  // Text and FIN come again because their acknowledgement was lost; acknowledgements that answer
  // each other have neither.
  const bool sent_again = seg.seq_len() > 0 && !seg.has(flag::syn);
  if (!sent_again && answered_lately(host, c)) {
    ++skipped;
    return;
  }
  send_reply(host, ack_reply(host, c));
}

}  // namespace runnel::tcp::detail
