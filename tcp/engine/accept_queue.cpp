#include <algorithm>

#include "core.hpp"
#include "half_open.hpp"

// From the third segment to `accept`: finished handshakes become connections that wait in their
// listener's accept queue, or meet a full one.

namespace runnel::tcp::detail {

namespace {

/// What a finished request becomes: a connection that waits for `accept`; null without memory. Its
/// place in the table is the caller's.
connection* make_child(core& host, const half_open_entry& request, std::uint32_t window) {
  listener_entry& listener = host.listeners[request.listener];
  connection* c = make_connection(host, request.flow(), host.policies.share(listener.child_policy));
  if (c == nullptr) return nullptr;
  c->rcv_.irs = request.irs;
  c->rcv_.nxt = request.irs + 1;
  c->rcv_.wup = c->rcv_.nxt;
  c->rcv_.wnd = first_window(host, request);
  c->snd_.iss = request.iss;
  c->snd_.una = request.iss + 1;
  c->snd_.nxt = c->snd_.una;
  c->snd_.wl1 = c->rcv_.nxt;
  c->snd_.wl2 = c->snd_.una;
  wire::tcp_options options;
  options.mss = request.peer_mss();
  if (request.timestamps) options.timestamp = wire::tcp_timestamp{request.ts_recent, 0};
  if (request.window_scaled) options.window_scale = request.snd_wscale;
  options.sack_permitted = request.sack_permitted;
  // What its SYN-ACK has said, which the policy may not say any more.
  c->timestamps = request.timestamps;
  c->sack_permitted = request.sack_permitted;
  c->window_scaled = request.window_scaled;
  c->rcv_wscale = request.rcv_wscale;
  negotiate(host, *c, options);
  c->ecn = request.ecn;
  c->snd_.wnd = window << c->snd_wscale;
  c->snd_.max_wnd = std::max<std::uint32_t>(c->snd_.wnd, request.snd_wnd);
  c->listener = request.listener;
  c->in_table = true;
  return c;
}

/// The child enters the accept queue.
void enqueue(core& host, connection& c, std::uint32_t segments_in) {
  listener_entry& listener = host.listeners[c.listener];
  ++host.count.passive_opens;
  ++listener.accepted;
  c.traffic.segs_in = segments_in;
  listener.waiting.push_back(host.connections, c.index);
  listener.waiting_peak = std::max(listener.waiting_peak, ++listener.waiting_count);
  report_listener(host, c.listener);
}

/// The entry turns into a connection; null without memory.
connection* promote(core& host, std::uint32_t index, std::uint32_t window,
                    std::uint32_t segments_in) {
  const half_open_entry& entry = host.half_opens[index];
  connection* c = make_child(host, entry, window);
  if (c == nullptr) {
    ++host.count.listen_drops;
    ++host.listeners[entry.listener].drops.no_memory;
    return nullptr;
  }
  if (entry.retries == 0 && !entry.untimed) {
    // The first SYN-ACK left one time-out before the deadline.
    const std::uint32_t sent_ms = entry.deadline_ms - synack_timeout_ms(0);
    const auto elapsed = static_cast<std::int32_t>(host.ms() - sent_ms);
    sample_rtt(host, *c, static_cast<std::uint32_t>(std::max(elapsed, 1)) * 1000);
  }
  host.table.replace(core::links{host}, entry_ref(entry_kind::half_open, index),
                     entry_ref(entry_kind::connection, c->index), host.flow_hash(c->key));
  free_half_open(host, index);
  enqueue(host, *c, segments_in);
  enter_established(host, *c);
  return c;
}

/// The SYN, and the third segment unless the connection is yet to see and count it.
std::uint32_t segments_before(const segment& seg) noexcept {
  return seg.len > 0 || seg.has(flag::fin) ? 1 : 2;
}

void hand_on(core& host, connection& c, segment& seg) {
  if (seg.len > 0 || seg.has(flag::fin)) on_connection_segment(host, c, seg);
}

bool may_park(const core& host, const listener_entry& listener) noexcept {
  return listener.parked_count < syn_queue_limit(host, listener);
}

/// The entry waits for room from now on, as long as a whole schedule of SYN-ACKs takes.
void park(core& host, std::uint32_t index, std::uint16_t window) {
  half_open_entry& entry = host.half_opens[index];
  listener_entry& listener = host.listeners[entry.listener];
  auto& queues = host.synack_queues;
  queues[synack_queue_of(entry)].remove(host.half_opens, index);
  if (entry.retries > 0) ++listener.young_count;
  entry.retries = 0;
  entry.deadline_ms = host.after_ms(synack_timeout_ms(0));
  queues[0].push_back(host.half_opens, index);
  entry.acknowledged = true;
  entry.parked = true;
  entry.untimed = true;
  entry.snd_wnd = window;
  listener.parked.push_back(host.half_opens, index);
  ++listener.parked_count;
  ++host.count.accept_parked;
}

/// Linux's listen_overflow: the third segment is not heard.
void drop_third(core& host, listener_entry& listener) noexcept {
  ++host.count.listen_drops;
  ++listener.drops.accept_queue_full_acks;
}

void on_full_accept_queue(core& host, std::uint32_t index, const segment& seg) {
  half_open_entry& entry = host.half_opens[index];
  listener_entry& listener = host.listeners[entry.listener];
  ++host.count.listen_overflows;
  switch (setting(host, listener, &listener_policy::overflow)) {
    case accept_overflow::park:
      if (may_park(host, listener)) return park(host, index, seg.window);
      [[fallthrough]];
    case accept_overflow::drop:
      // SYN-ACK comes again in its time, and draws an acknowledgement that may find room.
      entry.acknowledged = true;
      return drop_third(host, listener);
    case accept_overflow::reset:
      drop_third(host, listener);
      // Linux counts AttemptFails only where RST or SYN ends a request.
      ++host.count.embryonic_rsts;
      reset_proven(host, seg);
      return drop_half_open(host, index);
  }
}

/// Nothing else remembers who comes with a cookie: without a place to wait it is told.
void on_full_accept_queue(core& host, const half_open_request& request, bool parkable,
                          const segment& seg) {
  listener_entry& listener = host.listeners[request.listener];
  ++host.count.listen_overflows;
  const accept_overflow policy = setting(host, listener, &listener_policy::cookie_overflow);
  if (policy == accept_overflow::park && parkable && may_park(host, listener)) {
    const std::uint32_t index = insert_half_open(host, request);
    if (index != no_index) return park(host, index, seg.window);
  }
  drop_third(host, listener);
  if (policy != accept_overflow::drop) reset_proven(host, seg);
}

}  // namespace

bool open_with_syn(core& host, const half_open_entry& request, segment& seg, bool gives_cookie) {
  connection* c = make_child(host, request, 0);
  if (c == nullptr) {
    ++host.count.fastopen_passive_fail;
    return false;
  }
  ++host.count.fastopen_passive;
  // The window of a segment with SYN is never scaled (RFC 7323 §2.2).
  c->snd_.wnd = seg.window;
  c->snd_.max_wnd = seg.window;
  c->snd_.wl1 = seg.seq;
  c->fastopen_child = true;
  c->gives_cookie = gives_cookie;
  c->fastopen_listener = request.listener;
  host.listeners[request.listener].fastopen.enter();
  set_state(host, *c, state::syn_received);
  start_congestion_control(*c);
  host.enter(entry_ref(entry_kind::connection, c->index), c->key);
  enqueue(host, *c, 1);
  c->timer = rtx_timer::retransmit;
  c->when.rtx = host.after_ms(synack_timeout_ms(0));
  schedule(host, *c);
  c->syn_due = true;
  want_transmit(host, *c);
  if (seg.len == 0) return true;
  c->traffic.data_segs_in = 1;
  seg.seq += 1;
  seg.flags &= static_cast<std::uint8_t>(~flag::syn);
  take_text(host, *c, seg);
  c->syn_data_acked = c->rcv_.nxt != c->rcv_.irs + 1;
  return true;
}

void finish_handshake(core& host, std::uint32_t index, segment& seg) {
  half_open_entry& entry = host.half_opens[index];
  listener_entry& listener = host.listeners[entry.listener];
  if (entry.parked) {
    entry.snd_wnd = seg.window;
    return;
  }
  const bool bare = seg.seq_len() == 0 && seg.seq == entry.irs + 1;
  if (bare && entry.retries < deferral(host, listener)) {
    entry.acknowledged = true;
    ++host.count.defer_accept_drop;
    return;
  }
  if (accept_queue_full(host, listener)) return on_full_accept_queue(host, index, seg);
  if (connection* c = promote(host, index, seg.window, segments_before(seg)))
    hand_on(host, *c, seg);
}

void finish_cookie(core& host, const half_open_request& request, std::uint32_t timestamp_offset,
                   segment& seg) {
  listener_entry& listener = host.listeners[request.listener];
  if (accept_queue_full(host, listener)) {
    const bool usual = !request.timestamps || timestamp_offset == host.timestamp_offset(seg.key);
    return on_full_accept_queue(host, request, usual, seg);
  }
  connection* c = make_child(host, request, seg.window);
  if (c == nullptr) {
    ++host.count.listen_drops;
    ++listener.drops.no_memory;
    return reset_proven(host, seg);
  }
  if (c->timestamps) c->ts_offset = timestamp_offset;
  host.enter(entry_ref(entry_kind::connection, c->index), c->key);
  enqueue(host, *c, segments_before(seg));
  enter_established(host, *c);
  hand_on(host, *c, seg);
}

void admit_parked(core& host, listener_entry& listener) {
  if (!listener.open) return;
  while (!listener.parked.empty() && !accept_queue_full(host, listener)) {
    const std::uint32_t index = listener.parked.front();
    // What it has sent since then comes again, because nothing of it was acknowledged.
    if (promote(host, index, host.half_opens[index].snd_wnd, 2) == nullptr) {
      reset_parked(host, index);
    }
  }
}

void reset_parked(core& host, std::uint32_t index) {
  const half_open_entry& entry = host.half_opens[index];
  reply r;
  r.key = entry.flow();
  r.flags = flag::rst | flag::ack;
  r.seq = entry.iss + 1;
  r.ack = entry.irs + 1;
  r.ttl = setting(host, host.listeners[entry.listener].policy.connection, &connection_policy::ttl);
  if (send_reply(host, r)) ++host.count.out_rsts;
  drop_half_open(host, index);
}

}  // namespace runnel::tcp::detail
