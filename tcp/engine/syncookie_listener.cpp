#include "half_open.hpp"
#include "syncookies.hpp"

// What a listener does with cookies: it answers SYNs with them, and takes the acknowledgements that
// bring them back.

namespace runnel::tcp::detail {

namespace {

cookie_options options_of(const half_open_entry& request) noexcept {
  return {request.peer_mss(),     request.snd_wscale, request.window_scaled,
          request.sack_permitted, request.ecn,        request.timestamps};
}

cookie_flow flow_of(const core& host, const flow_key& key, sequence irs,
                    std::uint32_t listener) noexcept {
  const std::uint32_t buffer = receive_buffer_of(host, host.listeners[listener]);
  return {key.remote, host.local_address(key),       key.remote_port, key.local_port,
          irs,        window_scale_for(host, buffer)};
}

/// Whether cookies of this listener can be about. Until they can, an acknowledgement of nobody's
/// costs no hash.
bool gate_open(const core& host, const listener_entry& listener) noexcept {
  switch (setting(host, listener, &listener_policy::syncookies)) {
    case syncookies::off:
      return false;
    case syncookies::on_overflow:
      return host.now_ms < listener.cookies_until_ms;
    case syncookies::always:
      break;
  }
  return true;
}

std::optional<cookie_options> read_cookie(core& host, std::uint32_t listener, const segment& seg,
                                          sequence irs, cookie_effort effort) noexcept {
  std::optional<std::uint32_t> echo;
  if (host.policy.timestamps && seg.options->timestamp) echo = seg.options->timestamp->echo;
  return check_cookie(host.cookie_keys, flow_of(host, seg.key, irs, listener), seg.ack - 1, echo,
                      host.cookie_count(), effort);
}

/// The timestamps of the connection, as an offset to our clock: they go on from the one that the
/// cookie left with. Where that is not of our clock, another machine has made the cookie.
std::uint32_t timestamp_offset_behind(const core& host, const segment& seg) noexcept {
  const std::uint32_t usual = host.timestamp_offset(seg.key);
  const std::uint32_t echo = seg.options->timestamp->echo;
  const bool ours = host.ms() + usual - echo <= cookie_lifetime_ms + timestamp_bits_span;
  return ours ? usual : echo - host.ms();
}

/// The request as its half-open entry would be now.
half_open_request request_from(const core& host, const cookie_options& kept, std::uint32_t listener,
                               const segment& seg, sequence irs) noexcept {
  half_open_request request;
  request.set_flow(seg.key);
  request.key.room16 = kept.mss;
  request.irs = irs;
  request.iss = seg.ack - 1;
  request.listener = listener;
  request.snd_wscale = kept.snd_wscale & 15;
  request.window_scaled = kept.window_scaled;
  request.sack_permitted = kept.sack_permitted;
  request.ecn = kept.ecn;
  request.timestamps = kept.timestamps;
  if (kept.timestamps) request.ts_recent = seg.options->timestamp->value;
  // The hash covers our shift, so that it is what the SYN-ACK said.
  remember_offers(host, request);
  // When SYN-ACK left is forgotten too.
  request.untimed = true;
  return request;
}

/// An idle peer whose third segment was lost probes with the number before the next one; it waits
/// for an answer.
void answer_probe(core& host, const flow_key& key) {
  const entry_ref made = host.find(key);
  if (!made || made.kind() != entry_kind::connection) return;
  connection& c = host.connections[made.index()];
  c.ack.due = true;
  want_transmit(host, c);
}

}  // namespace

void send_cookie(core& host, std::uint32_t listener, const segment& seg) {
  half_open_request request = request_of(host, listener, seg, {});
  const cookie_options asked = options_of(request);
  request.iss = make_cookie(host.cookie_keys, flow_of(host, seg.key, seg.seq, listener), asked,
                            host.cookie_count());
  reply r = synack_of(host, request);
  if (asked.timestamps) r.tsval = cookie_timestamp(asked, r.tsval);
  host.listeners[listener].cookies_until_ms = host.now_ms + cookie_lifetime_ms;
  if (send_reply(host, r)) ++host.count.syncookies_sent;
}

bool take_cookie(core& host, std::uint32_t listener, std::uint32_t replaced, segment& seg) {
  if (seg.has(flag::syn | flag::rst) || !gate_open(host, host.listeners[listener])) return false;
  const std::uint32_t limit = host.shard.share(host.policy.failed_cookie_limit);
  const bool limited = limit > 0 && host.spent(host.failed_cookie_rate, limit);
  const auto effort = limited ? cookie_effort::least : cookie_effort::full;
  sequence irs = seg.seq - 1;
  auto kept = read_cookie(host, listener, seg, irs, effort);
  if (limited && !kept) {
    ++host.count.cookie_checks_limited;
    return true;
  }
  ++host.count.cookie_checks;
  const bool may_probe = seg.len <= 1 && !seg.has(flag::fin);
  const bool probe = !kept && may_probe;
  if (probe) {
    irs = seg.seq;
    kept = read_cookie(host, listener, seg, irs, effort);
  }
  if (!kept) {
    host.take(host.failed_cookie_rate, limit);
    ++host.count.syncookies_failed;
    return false;
  }
  ++host.count.syncookies_recv;
  const half_open_request request = request_from(host, *kept, listener, seg, irs);
  const std::uint32_t offset = kept->timestamps ? timestamp_offset_behind(host, seg) : 0;
  if (replaced != no_index) drop_half_open(host, replaced);
  finish_cookie(host, request, offset, seg);
  if (probe) answer_probe(host, seg.key);
  return true;
}

}  // namespace runnel::tcp::detail
