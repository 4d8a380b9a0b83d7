#include <algorithm>

#include "core.hpp"

// Half-open entries: connection requests between their SYN and the third segment. Linux keeps the
// same state in its request sockets; the reactions below are the ones it was seen to have.

namespace runnel::tcp::detail {

namespace {

constexpr std::uint32_t synack_timeout_ms(unsigned retries) noexcept {
  return std::min(rto_initial_ms << retries, rto_max_ms);
}

unsigned queue_of(const half_open_entry_v4& entry, std::size_t queues) noexcept {
  return std::min<unsigned>(entry.retries, static_cast<unsigned>(queues) - 1);
}

listener_entry* listener_of(core& host, const half_open_entry_v4& entry) noexcept {
  listener_entry& listener = host.listeners[entry.listener];
  return listener.open && listener.generation == entry.listener_generation ? &listener : nullptr;
}

void forget(listener_entry& listener, const half_open_entry_v4& entry) noexcept {
  --listener.half_open_count;
  if (entry.retries == 0) --listener.young_count;
}

/// What this listener's children will have as their receive buffer.
std::uint32_t receive_buffer_of(const core& host, const listener_entry& listener) noexcept {
  return setting(host, listener.policy.connection, &connection_policy::receive_buffer);
}

/// The window that a SYN-ACK offers; unscaled, so at most 65,535.
std::uint16_t first_window(std::uint32_t receive_buffer) noexcept {
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(receive_buffer / 2, 65535));
}

/// What the third segment turns the entry into: a connection that waits in the accept queue.
connection* promote(core& host, std::uint32_t index, listener_entry& listener, const segment& seg) {
  const half_open_entry_v4 entry = host.half_opens[index];
  connection* c = make_connection(host, seg.key, host.policies.share(listener.child_policy));
  if (c == nullptr) return nullptr;
  c->rcv_.irs = entry.irs;
  c->rcv_.nxt = entry.irs + 1;
  c->rcv_.wup = c->rcv_.nxt;
  c->rcv_.wnd = first_window(c->receive_buffer);
  c->snd_.iss = entry.iss;
  c->snd_.una = entry.iss + 1;
  c->snd_.nxt = c->snd_.una;
  wire::tcp_options options;
  options.mss = entry.peer_mss();
  if (entry.timestamps) options.timestamp = wire::tcp_timestamp{entry.ts_recent, 0};
  if (entry.window_scaled) options.window_scale = entry.snd_wscale;
  options.sack_permitted = entry.sack_permitted;
  negotiate(host, *c, options);
  c->ecn = entry.ecn;
  c->snd_.wnd = std::uint32_t{seg.window} << c->snd_wscale;
  c->snd_.max_wnd = std::max<std::uint32_t>(c->snd_.wnd, entry.snd_wnd);
  c->snd_.wl1 = seg.seq;
  c->snd_.wl2 = seg.ack;
  if (entry.retries == 0) sample_rtt(*c, std::max(host.ms() - entry.sent_ms, 1U) * 1000);
  c->listener = entry.listener;
  c->in_table = true;
  host.table.replace(core::links{host}, entry_ref(entry_kind::half_open_v4, index),
                     entry_ref(entry_kind::connection, c->index), host.flow_hash(seg.key));
  host.synack_queues[queue_of(entry, host.synack_queues.size())].remove(host.half_opens, index);
  host.half_opens.release(index);
  forget(listener, entry);
  ++host.count.passive_opens;
  ++listener.accepted;
  // The SYN; what comes with the third segment counts it.
  c->traffic.segs_in = seg.len > 0 || seg.has(flag::fin) ? 1 : 2;
  listener.waiting.push_back(host.connections, c->index);
  listener.waiting_peak = std::max(listener.waiting_peak, ++listener.waiting_count);
  report_listener(host, c->listener);
  enter_established(host, *c);
  return c;
}

void drop_half_open(core& host, std::uint32_t index) noexcept {
  half_open_entry_v4& entry = host.half_opens[index];
  host.leave(entry_ref(entry_kind::half_open_v4, index), entry.key.expand());
  free_half_open(host, index);
}

bool matches_sequence(const core& host, const half_open_entry_v4& entry,
                      const listener_entry& listener, const segment& seg) noexcept {
  const sequence expected = entry.irs + 1;
  const std::uint32_t window = first_window(receive_buffer_of(host, listener));
  return in_window(seg.seq, expected, std::max(window, 1U));
}

/// What the entry says of itself in a segment with these flags, without options.
reply reply_of(core& host, const half_open_entry_v4& entry, std::uint8_t flags) {
  const listener_entry& listener = host.listeners[entry.listener];
  reply r;
  r.key = entry.key.expand();
  r.seq = entry.iss;
  r.ack = entry.irs + 1;
  r.flags = flags;
  r.window = first_window(receive_buffer_of(host, listener));
  r.ttl = setting(host, listener.policy.connection, &connection_policy::ttl);
  if (entry.timestamps) {
    r.has_timestamp = true;
    r.tsval = host.ms() + host.timestamp_offset(r.key);
    r.tsecr = entry.ts_recent;
  }
  return r;
}

/// The answer to what is not acceptable (RFC 9293 §3.10.7.4, first check).
void send_half_open_ack(core& host, const half_open_entry_v4& entry) {
  reply r = reply_of(host, entry, flag::ack);
  r.seq += 1;
  r.window = static_cast<std::uint16_t>(r.window >> entry.rcv_wscale);
  send_reply(host, r);
}

/// RST inside the window but not exact (RFC 5961 §3.2).
void challenge(core& host, const half_open_entry_v4& entry) {
  if (!host.take(host.challenge_rate, host.policy.challenge_ack_limit)) return;
  ++host.count.challenge_ack;
  send_half_open_ack(host, entry);
}

}  // namespace

void send_synack(core& host, const half_open_entry_v4& entry) {
  reply r = reply_of(host, entry, flag::syn | flag::ack);
  const connection_policy& child = host.listeners[entry.listener].policy.connection;
  r.mss =
      own_mss(host, setting(host, child, &connection_policy::max_segment), r.key.remote.family());
  if (entry.window_scaled) {
    r.has_window_scale = true;
    r.window_scale = entry.rcv_wscale;
  }
  r.sack_permitted = entry.sack_permitted;
  if (entry.ecn) r.flags |= flag::ece;
  send_reply(host, r);
}

void free_half_open(core& host, std::uint32_t index) noexcept {
  half_open_entry_v4& entry = host.half_opens[index];
  if (listener_entry* listener = listener_of(host, entry)) forget(*listener, entry);
  host.synack_queues[queue_of(entry, host.synack_queues.size())].remove(host.half_opens, index);
  host.half_opens.release(index);
}

/// An entry for the SYN and its first SYN-ACK; null without memory.
bool make_half_open(core& host, std::uint32_t listener_index, const segment& seg, sequence iss) {
  listener_entry& listener = host.listeners[listener_index];
  const std::uint32_t index = host.half_opens.allocate();
  if (index == no_index) return false;
  half_open_entry_v4& entry = host.half_opens[index];
  entry = half_open_entry_v4();
  entry.key = key_v4::from(seg.key);
  const wire::tcp_options& options = *seg.options;
  entry.key.room16 = std::max(options.mss.value_or(default_mss), min_mss);
  entry.irs = seg.seq;
  entry.iss = iss;
  entry.listener = listener_index;
  entry.listener_generation = listener.generation;
  entry.sent_ms = host.ms();
  entry.snd_wnd = seg.window;
  entry.timestamps = host.policy.timestamps && options.timestamp.has_value();
  if (entry.timestamps) entry.ts_recent = options.timestamp->value;
  entry.window_scaled = host.policy.window_scaling && options.window_scale.has_value();
  if (entry.window_scaled) {
    entry.snd_wscale = std::min<std::uint8_t>(*options.window_scale, 14) & 15;
    entry.rcv_wscale = window_scale_for(receive_buffer_of(host, listener)) & 15;
  }
  entry.sack_permitted = host.policy.sack && options.sack_permitted;
  entry.ecn = agrees_on_ecn(host, seg);
  entry.deadline_ms = host.after_ms(synack_timeout_ms(0));
  host.synack_queues[0].push_back(host.half_opens, index);
  host.table.insert(core::links{host}, entry_ref(entry_kind::half_open_v4, index),
                    host.flow_hash(seg.key));
  listener.half_open_peak = std::max(listener.half_open_peak, ++listener.half_open_count);
  ++listener.young_count;
  send_synack(host, entry);
  return true;
}

void on_half_open_segment(core& host, std::uint32_t index, segment& seg) {
  half_open_entry_v4& entry = host.half_opens[index];
  listener_entry* listener = listener_of(host, entry);
  if (listener == nullptr) {
    // The listener was closed since: the request is as unknown as any other.
    drop_half_open(host, index);
    return on_unknown_segment(host, seg, nullptr);
  }
  const bool inside = matches_sequence(host, entry, *listener, seg);
  if (seg.has(flag::rst)) {
    if (seg.seq != entry.irs + 1) return inside ? challenge(host, entry) : void();
    ++host.count.attempt_fails;
    return drop_half_open(host, index);
  }
  if (seg.has(flag::syn) && !seg.has(flag::ack) && seg.seq == entry.irs) {
    if (seg.options->timestamp && entry.timestamps) entry.ts_recent = seg.options->timestamp->value;
    return send_synack(host, entry);
  }
  if (seg.has(flag::ack) && seg.ack != entry.iss + 1) return send_reset_for(host, seg);
  if (!inside) return send_half_open_ack(host, entry);
  if (seg.has(flag::syn)) {
    // Somebody else asks from there, or an old duplicate did: neither can be told from the other.
    ++host.count.attempt_fails;
    send_reset_for(host, seg);
    return drop_half_open(host, index);
  }
  if (!seg.has(flag::ack)) return;
  if (entry.timestamps && seg.options->timestamp) {
    if (static_cast<std::int32_t>(seg.options->timestamp->value - entry.ts_recent) < 0) {
      ++host.count.paws_estab;
      return send_half_open_ack(host, entry);
    }
    if (seg.seq == entry.irs + 1) entry.ts_recent = seg.options->timestamp->value;
  }
  // Linux lets one more in than the backlog says.
  if (listener->waiting_count > backlog_of(host, *listener)) {
    ++host.count.listen_overflows;
    ++host.count.listen_drops;
    ++listener->drops.accept_queue_full_acks;
    entry.acknowledged = true;
    return;
  }
  connection* c = promote(host, index, *listener, seg);
  if (c == nullptr) {
    ++host.count.listen_drops;
    ++listener->drops.no_memory;
    return;
  }
  if (seg.len > 0 || seg.has(flag::fin)) on_connection_segment(host, *c, seg);
}

namespace {

/// How many SYN-ACK retransmissions an entry of this listener gets now: Linux's
/// reqsk_timer_handler. Half of the SYN queue is for the young; when the others take more than
/// that, they get fewer.
unsigned retries_now(const core& host, const listener_entry& listener) noexcept {
  unsigned retries = setting(host, listener, &listener_policy::synack_retries);
  const std::uint64_t count = listener.half_open_count;
  const std::uint32_t backlog = backlog_of(host, listener);
  if (count * 2 <= std::max(8U, backlog)) return retries;
  for (std::uint64_t young = std::uint64_t{listener.young_count} * 2; retries > 2 && count >= young;
       young *= 2) {
    --retries;
  }
  return retries;
}

/// Drops the due entries of a queue that have had their retries, the newest first: whom to drop
/// depends on how many are left.
void drop_expired(core& host, std::size_t level) {
  auto& queue = host.synack_queues[level];
  std::uint32_t at = no_index;
  for (std::uint32_t i = queue.front(); i != no_index; i = host.half_opens[i].links.next) {
    if (!is_due(host.half_opens[i].deadline_ms, host.ms())) break;
    at = i;
  }
  while (at != no_index) {
    const half_open_entry_v4& entry = host.half_opens[at];
    const std::uint32_t previous = entry.links.prev;
    const listener_entry* listener = listener_of(host, entry);
    if (listener == nullptr || entry.retries >= retries_now(host, *listener)) {
      if (listener != nullptr) ++host.count.attempt_fails;
      drop_half_open(host, at);
    }
    at = previous;
  }
}

void retry(core& host, std::uint32_t index) {
  half_open_entry_v4& entry = host.half_opens[index];
  host.synack_queues[queue_of(entry, host.synack_queues.size())].remove(host.half_opens, index);
  if (entry.retries == 0) --listener_of(host, entry)->young_count;
  ++entry.retries;
  const unsigned level = queue_of(entry, host.synack_queues.size());
  entry.deadline_ms = host.after_ms(synack_timeout_ms(level));
  host.synack_queues[level].push_back(host.half_opens, index);
  ++host.count.retrans_segs;
  send_synack(host, entry);
}

}  // namespace

void expire_half_opens(core& host) {
  // The longest wait first: what is sent again moves up a queue.
  for (std::size_t level = host.synack_queues.size(); level-- > 0;) {
    drop_expired(host, level);
    auto& queue = host.synack_queues[level];
    while (!queue.empty() && is_due(host.half_opens[queue.front()].deadline_ms, host.ms())) {
      retry(host, queue.front());
    }
  }
}

}  // namespace runnel::tcp::detail
