#include "half_open.hpp"

#include <algorithm>

#include "syncookies.hpp"

// Half-open entries: connection requests between their SYN and the third segment. Linux keeps the
// same state in its request sockets; the reactions below are those of its tcp_check_req.

namespace runnel::tcp::detail {

namespace {

bool matches_sequence(const core& host, const half_open_entry& entry, const segment& seg) noexcept {
  const sequence expected = entry.irs + 1;
  const std::uint32_t window = first_window(host, entry);
  return in_window(seg.seq, expected, std::max(window, 1U));
}

/// What the entry says of itself in a segment with these flags, without options.
reply reply_of(core& host, const half_open_entry& entry, std::uint8_t flags) {
  const listener_entry& listener = host.listeners[entry.listener];
  reply r;
  r.key = entry.flow();
  r.seq = entry.iss;
  r.ack = entry.irs + 1;
  r.flags = flags;
  r.window = first_window(host, entry);
  r.ttl = setting(host, listener.policy.connection, &connection_policy::ttl);
  if (entry.timestamps) {
    r.has_timestamp = true;
    r.tsval = host.ms() + host.timestamp_offset(r.key);
    r.tsecr = entry.ts_recent;
  }
  return r;
}

constexpr std::uint16_t stamp_of(std::uint64_t ms) noexcept {
  return static_cast<std::uint16_t>(ms / 8);
}

/// One entry does not answer back to back, except text and FIN, as in Linux (tcp_oow_rate_limited).
bool answered_lately(core& host, half_open_entry& entry, const segment& seg) noexcept {
  if (seg.seq_len() > 0 && !seg.has(flag::syn)) return false;
  const std::uint16_t stamp = stamp_of(host.now_ms);
  const auto limit = std::min<std::int64_t>(host.policy.invalid_ratelimit.count() / 8, 0x7fff);
  if (static_cast<std::uint16_t>(stamp - entry.answered) < limit) {
    ++host.count.ack_skipped_syn_recv;
    return true;
  }
  entry.answered = stamp;
  return false;
}

/// Where we are.
bool send_half_open_ack(core& host, const half_open_entry& entry) {
  reply r = reply_of(host, entry, flag::ack);
  r.seq += 1;
  r.window = static_cast<std::uint16_t>(r.window >> entry.rcv_wscale);
  return send_reply(host, r);
}

/// The answer to what is not acceptable (RFC 9293 §3.10.7.4, first check).
void refuse(core& host, half_open_entry& entry, const segment& seg) {
  if (!answered_lately(host, entry, seg)) send_half_open_ack(host, entry);
}

/// RST inside the window but not exact (RFC 5961 §3.2). The peer of a parked entry may have sent
/// text that was not taken, so that its number is ahead of ours: asked back, it resets with the one
/// that we expect.
void challenge(core& host, const half_open_entry& entry) {
  if (!may_challenge(host, entry.flow().remote)) return;
  if (send_half_open_ack(host, entry)) ++host.count.challenge_ack;
}

/// The peer has not seen our SYN-ACK; it gets another, and its time starts anew.
void on_repeated_syn(core& host, std::uint32_t index, const segment& seg) {
  half_open_entry& entry = host.half_opens[index];
  // It had seen it: this SYN is a straggler.
  if (entry.parked) return refuse(host, entry, seg);
  if (seg.options->timestamp && entry.timestamps) entry.ts_recent = seg.options->timestamp->value;
  if (answered_lately(host, entry, seg)) return;
  entry.untimed = true;
  restart_synack_timer(host, index);
  resend_synack(host, entry);
}

bool paws_rejects(const half_open_entry& entry, const segment& seg) noexcept {
  return entry.timestamps && seg.options->timestamp &&
         static_cast<std::int32_t>(seg.options->timestamp->value - entry.ts_recent) < 0;
}

void forget(core& host, const half_open_entry& entry) noexcept {
  listener_entry& listener = host.listeners[entry.listener];
  --listener.half_open_count;
  if (entry.retries == 0) --listener.young_count;
  if (listener.unused()) host.free_listeners.push_back(entry.listener);
}

}  // namespace

listener_entry* listener_of(core& host, const half_open_entry& request) noexcept {
  listener_entry& listener = host.listeners[request.listener];
  return listener.open ? &listener : nullptr;
}

std::uint32_t receive_buffer_of(const core& host, const listener_entry& listener) noexcept {
  return setting(host, listener.policy.connection, &connection_policy::receive_buffer);
}

namespace {

std::uint8_t in_256_bytes(std::uint32_t window) noexcept {
  return static_cast<std::uint8_t>(window == 0 ? 0 : (window - 1) / 256);
}

/// What the policy of the listener makes of it now. The segments are the link's: a policy that
/// changes between one SYN-ACK and the next must not take a few bytes back.
std::uint16_t fresh_window(const core& host, const half_open_entry& request) noexcept {
  const listener_entry& listener = host.listeners[request.listener];
  const std::uint32_t mss = own_mss(host, 0, request.flow().remote.family());
  return first_window(first_receive_buffer(host, receive_buffer_of(host, listener)),
                      mss - (request.timestamps ? 12U : 0U));
}

}  // namespace

std::uint16_t first_window(const core& host, const half_open_entry& request) noexcept {
  const std::uint16_t now = fresh_window(host, request);
  if (in_256_bytes(now) >= request.offered_window) return now;
  return static_cast<std::uint16_t>(std::min((request.offered_window + 1U) * 256, 65535U));
}

void remember_offers(const core& host, half_open_entry& request) noexcept {
  const std::uint32_t buffer = receive_buffer_of(host, host.listeners[request.listener]);
  request.offered_window = in_256_bytes(fresh_window(host, request));
  if (request.window_scaled) request.rcv_wscale = window_scale_for(host, buffer) & 15;
}

half_open_request request_of(const core& host, std::uint32_t listener, const segment& seg,
                             sequence iss) {
  half_open_request request;
  request.set_flow(seg.key);
  const wire::tcp_options& options = *seg.options;
  request.key.room16 = peer_mss(host, options, seg.key.remote.family());
  request.irs = seg.seq;
  request.iss = iss;
  request.listener = listener;
  request.snd_wnd = seg.window;
  request.timestamps = host.policy.timestamps && options.timestamp.has_value();
  if (request.timestamps) request.ts_recent = options.timestamp->value;
  request.window_scaled = host.policy.window_scaling && options.window_scale.has_value();
  if (request.window_scaled) {
    request.snd_wscale = std::min<std::uint8_t>(*options.window_scale, 14) & 15;
  }
  remember_offers(host, request);
  request.sack_permitted = host.policy.sack && options.sack_permitted;
  request.ecn = agrees_on_ecn(host, seg);
  return request;
}

std::uint32_t insert_half_open(core& host, const half_open_request& request) {
  const std::uint32_t index = host.half_opens.insert(request);
  if (index == no_index) return no_index;
  half_open_entry& entry = host.half_opens[index];
  entry.answered = static_cast<std::uint16_t>(stamp_of(host.now_ms) - 0x8000);
  entry.deadline_ms = host.after_ms(synack_timeout_ms(0));
  host.synack_queues[0].push_back(host.half_opens, index);
  host.enter(entry_ref(entry_kind::half_open, index), request.flow());
  listener_entry& listener = host.listeners[request.listener];
  listener.half_open_peak = std::max(listener.half_open_peak, ++listener.half_open_count);
  ++listener.young_count;
  return index;
}

reply synack_of(core& host, const half_open_entry& request) {
  reply r = reply_of(host, request, flag::syn | flag::ack);
  const connection_policy& child = host.listeners[request.listener].policy.connection;
  r.mss =
      own_mss(host, setting(host, child, &connection_policy::max_segment), r.key.remote.family());
  if (request.window_scaled) {
    r.has_window_scale = true;
    r.window_scale = request.rcv_wscale;
  }
  r.sack_permitted = request.sack_permitted;
  if (request.ecn) r.flags |= flag::ece;
  return r;
}

void resend_synack(core& host, const half_open_entry& request) {
  if (!send_reply(host, synack_of(host, request))) return;
  ++host.count.retrans_segs;
  ++host.count.syn_retrans;
}

void free_half_open(core& host, std::uint32_t index) noexcept {
  const half_open_entry& entry = host.half_opens[index];
  if (entry.parked) {
    listener_entry& listener = host.listeners[entry.listener];
    listener.parked.remove(host.half_opens, index);
    --listener.parked_count;
  }
  forget(host, entry);
  host.synack_queues[synack_queue_of(entry)].remove(host.half_opens, index);
  host.half_opens.release(index);
}

void drop_half_open(core& host, std::uint32_t index) noexcept {
  host.leave(entry_ref(entry_kind::half_open, index), host.half_opens[index].flow());
  free_half_open(host, index);
}

void on_half_open_segment(core& host, std::uint32_t index, segment& seg) {
  half_open_entry& entry = host.half_opens[index];
  const listener_entry* listener = listener_of(host, entry);
  if (listener == nullptr) {
    // The listener was closed since: the request is as unknown as any other.
    drop_half_open(host, index);
    return on_unknown_segment(host, seg, nullptr);
  }
  const bool inside = matches_sequence(host, entry, seg);
  if (seg.has(flag::rst)) {
    if (seg.seq != entry.irs + 1) return inside ? challenge(host, entry) : void();
    ++host.count.attempt_fails;
    ++host.count.embryonic_rsts;
    return drop_half_open(host, index);
  }
  const bool overtaken = paws_rejects(entry, seg);
  if (seg.has(flag::syn) && !seg.has(flag::ack) && seg.seq == entry.irs && !overtaken) {
    return on_repeated_syn(host, index, seg);
  }
  if (seg.has(flag::ack) && seg.ack != entry.iss + 1) {
    // It may acknowledge a cookie that the peer was sent before there was room for this entry.
    if (!take_cookie(host, entry.listener, index, seg)) send_reset_for(host, seg);
    return;
  }
  if (overtaken) ++host.count.paws_estab;
  if (overtaken || !inside) return refuse(host, entry, seg);
  if (seg.has(flag::syn)) {
    // Somebody else asks from there, or an old duplicate did: neither can be told from the other.
    ++host.count.attempt_fails;
    ++host.count.embryonic_rsts;
    send_reset_for(host, seg);
    return drop_half_open(host, index);
  }
  if (!seg.has(flag::ack)) return;
  if (entry.timestamps && seg.options->timestamp && seg.seq == entry.irs + 1) {
    entry.ts_recent = seg.options->timestamp->value;
  }
  finish_handshake(host, index, seg);
}

}  // namespace runnel::tcp::detail
