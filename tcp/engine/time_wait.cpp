#include <algorithm>

#include "local_ports.hpp"

// TIME-WAIT (RFC 9293 §3.10.7.4, RFC 6191, RFC 1337): small entries that outlive their connection.

namespace runnel::tcp::detail {

namespace {

/// How far the ISN of a reopened connection lies beyond what the old one used: more than any window
/// without scaling, as Linux does it.
constexpr std::uint32_t reopen_distance = 65'535 + 2;

sequence iss_beyond(const time_wait_entry& entry) noexcept {
  return entry.snd_nxt + reopen_distance;
}

/// Linux counts what is to last this long or less apart from the rest.
constexpr std::uint32_t short_wait_ms = 4'000;

/// The queue of this duration; an empty one is taken for a duration that has none. When all are in
/// use, the next longer one serves, for a TIME-WAIT must not be cut short; when none is longer, the
/// longest becomes so.
std::uint8_t queue_for(core& host, std::uint32_t duration_ms) noexcept {
  auto& queues = host.time_wait_queues;
  time_wait_queue* longer = nullptr;
  time_wait_queue* longest = &queues[0];
  time_wait_queue* empty = nullptr;
  for (time_wait_queue& queue : queues) {
    if (queue.duration_ms == duration_ms) return static_cast<std::uint8_t>(&queue - queues.data());
    if (queue.entries.empty()) empty = &queue;
    if (queue.duration_ms > longest->duration_ms) longest = &queue;
    const bool fits = !queue.entries.empty() && queue.duration_ms > duration_ms;
    if (fits && (longer == nullptr || queue.duration_ms < longer->duration_ms)) longer = &queue;
  }
  time_wait_queue* const chosen = empty != nullptr ? empty : longer != nullptr ? longer : longest;
  if (chosen != longer) chosen->duration_ms = duration_ms;
  return static_cast<std::uint8_t>(chosen - queues.data());
}

void start_timer(core& host, std::uint32_t index) noexcept {
  time_wait_entry& entry = host.time_waits[index];
  time_wait_queue& queue = host.time_wait_queues[entry.queue];
  entry.deadline_ms = host.after_ms(queue.duration_ms);
  queue.entries.push_back(host.time_waits, index);
}

void restart_timer(core& host, std::uint32_t index) noexcept {
  time_wait_entry& entry = host.time_waits[index];
  host.time_wait_queues[entry.queue].entries.remove(host.time_waits, index);
  start_timer(host, index);
}

/// Text and FIN are always answered: they come again because an ACK was lost. Anything else twice a
/// second, or two hosts in TIME-WAIT would answer each other for ever.
bool answered_lately(const core& host, time_wait_entry& entry, const segment& seg) noexcept {
  if (seg.seq_len() > 0 && !seg.has(flag::syn)) return false;
  const auto stamp = static_cast<std::uint16_t>(host.now_ms / 8);
  const auto limit = std::min<std::int64_t>(host.policy.invalid_ratelimit.count() / 8, 0x7fff);
  if (static_cast<std::uint16_t>(stamp - entry.answered) < limit) return true;
  entry.answered = stamp;
  return false;
}

void send_time_wait_ack(core& host, time_wait_entry& entry, const segment& seg) {
  if (answered_lately(host, entry, seg)) {
    ++host.count.ack_skipped_time_wait;
    return;
  }
  reply r;
  r.key = entry.flow();
  r.seq = entry.snd_nxt;
  r.ack = entry.rcv_nxt;
  r.flags = flag::ack;
  r.window = entry.key.room16;
  if (entry.timestamps) {
    r.has_timestamp = true;
    r.tsval = host.ms() + host.timestamp_offset(r.key);
    r.tsecr = entry.ts_recent;
  }
  send_reply(host, r);
}

void drop_time_wait(core& host, std::uint32_t index) noexcept {
  host.leave(entry_ref(entry_kind::time_wait, index), host.time_waits[index].flow());
  free_time_wait(host, index);
}

/// The entry whose time is over first, looked for at the head of each queue; `no_index` for none.
std::uint32_t oldest_time_wait(core& host) noexcept {
  std::uint32_t oldest = no_index;
  for (const time_wait_queue& queue : host.time_wait_queues) {
    const std::uint32_t first = queue.entries.front();
    if (first == no_index) continue;
    const std::uint32_t deadline_ms = host.time_waits[first].deadline_ms;
    if (oldest == no_index || is_due(deadline_ms, host.time_waits[oldest].deadline_ms)) {
      oldest = first;
    }
  }
  return oldest;
}

/// Whether there may be one more entry, after making room as the policy says. Two go for one while
/// there are more than a limit that was lowered.
bool make_room(core& host) noexcept {
  const std::size_t limit = host.shard.share(host.policy.max_tw_buckets);
  if (host.time_waits.size() < limit) return true;
  if (host.policy.tw_overflow == tw_overflow::refuse || limit == 0) return false;
  for (int i = 0; i < 2 && host.time_waits.size() >= limit; ++i) {
    drop_time_wait(host, oldest_time_wait(host));
    ++host.count.time_wait_evicted;
  }
  return true;
}

/// A new SYN may take the place of the old connection when nothing of the old one can be mistaken
/// for it: a later sequence number, or a later timestamp (RFC 6191).
bool may_reopen(const time_wait_entry& entry, const segment& seg) noexcept {
  if (after(seg.seq, entry.rcv_nxt)) return true;
  return entry.timestamps && seg.options->timestamp &&
         static_cast<std::int32_t>(seg.options->timestamp->value - entry.ts_recent) > 0;
}

bool paws_rejects(const time_wait_entry& entry, const segment& seg) noexcept {
  return entry.timestamps && seg.options->timestamp && !seg.has(flag::rst) &&
         static_cast<std::int32_t>(seg.options->timestamp->value - entry.ts_recent) < 0;
}

/// What remembers the connection from now on; `no_index` without room.
std::uint32_t insert_time_wait(core& host, connection& c, std::uint32_t duration_ms) {
  if (!make_room(host)) return no_index;
  tailed<time_wait_entry> entry;
  entry.set_flow(c.key);
  entry.key.room16 = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(select_window(host, c) >> c.rcv_wscale, 65535));
  entry.snd_nxt = c.snd_.nxt;
  entry.rcv_nxt = c.rcv_.nxt;
  entry.ts_recent = c.ts_recent;
  entry.timestamps = c.timestamps;
  entry.rcv_wscale = c.rcv_wscale & 15;
  entry.answered = static_cast<std::uint16_t>(host.now_ms / 8 - 0x8000);
  entry.queue = queue_for(host, duration_ms);
  return host.time_waits.insert(entry);
}

}  // namespace

void enter_time_wait(core& host, connection& c) {
  if (c.ack.due || c.ack.delayed || c.ack.duplicates > 0) send_reply(host, ack_reply(host, c));
  if (c.timestamps) remember_host_timestamp(host, c.key.remote, c.ts_recent);
  const auto duration_ms = setting_ms(host, c, &connection_policy::time_wait);
  const std::uint32_t index = duration_ms > 0 ? insert_time_wait(host, c, duration_ms) : no_index;
  if (index == no_index) {
    if (duration_ms > 0) ++host.count.time_wait_overflow;
    return end_connection(host, c, end_reason::clean, error::none);
  }
  start_timer(host, index);
  host.table.replace(core::links{host}, entry_ref(entry_kind::connection, c.index),
                     entry_ref(entry_kind::time_wait, index), host.flow_hash(c.key));
  c.in_table = false;
  note_port_waiting(host, c.key);
  ++(duration_ms <= short_wait_ms ? host.count.tw_killed : host.count.time_waited);
  end_connection(host, c, end_reason::clean, error::none);
}

void free_time_wait(core& host, std::uint32_t index) noexcept {
  const std::uint8_t queue = host.time_waits[index].queue;
  host.time_wait_queues[queue].entries.remove(host.time_waits, index);
  host.time_waits.release(index);
}

void on_time_wait_segment(core& host, std::uint32_t index, segment& seg) {
  time_wait_entry& entry = host.time_waits[index];
  if (paws_rejects(entry, seg)) {
    ++host.count.paws_time_wait;
    restart_timer(host, index);
    return send_time_wait_ack(host, entry, seg);
  }
  if (seg.has(flag::rst)) {
    // RFC 1337: believing it ends the protection early; Linux does so by default.
    if (seg.seq == entry.rcv_nxt && !host.policy.rfc1337) drop_time_wait(host, index);
    return;
  }
  if (seg.has(flag::syn) && !seg.has(flag::ack) && may_reopen(entry, seg)) {
    const sequence iss = iss_beyond(entry);
    std::uint32_t listener = no_index;
    if (find_listener(host, seg.key, listener) != nullptr) {
      drop_time_wait(host, index);
      ++host.count.time_wait_reopened;
      return on_unknown_segment(host, seg, &iss);
    }
  }
  const bool nothing_new = seg.seq == entry.rcv_nxt && seg.seq_len() == 0;
  if (nothing_new && entry.timestamps && seg.options->timestamp) {
    entry.ts_recent = seg.options->timestamp->value;
  }
  // Most likely the peer's FIN again: our last ACK was lost (RFC 9293 §3.10.7.4). A SYN may belong
  // to a connection that is new, so it does not keep the old one.
  if (seg.has(flag::ack)) restart_timer(host, index);
  if (!nothing_new) send_time_wait_ack(host, entry, seg);
}

std::uint32_t time_wait_age_ms(const core& host, const time_wait_entry& entry) noexcept {
  const std::uint32_t lasts_ms = host.time_wait_queues[entry.queue].duration_ms;
  return host.ms() - (entry.deadline_ms - lasts_ms);
}

bool may_recycle(const core& host, const time_wait_entry& entry) noexcept {
  return entry.timestamps && host.policy.timestamps;
}

sequence recycle(core& host, std::uint32_t index) noexcept {
  const sequence iss = iss_beyond(host.time_waits[index]);
  drop_time_wait(host, index);
  ++host.count.tw_recycled;
  return iss;
}

void expire_time_waits(core& host) {
  for (time_wait_queue& queue : host.time_wait_queues) {
    while (!queue.entries.empty() &&
           is_due(host.time_waits[queue.entries.front()].deadline_ms, host.ms())) {
      drop_time_wait(host, queue.entries.front());
    }
  }
}

}  // namespace runnel::tcp::detail
