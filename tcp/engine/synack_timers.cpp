#include <algorithm>

#include "core.hpp"
#include "half_open.hpp"

// The time-outs of half-open entries: Linux's reqsk_timer_handler. Entries whose SYN-ACK has timed
// out equally often wait equally long, so each number of time-outs has a queue.

namespace runnel::tcp::detail {

namespace {

/// Linux's TCP_TIMEOUT_INIT and TCP_RTO_MAX.
constexpr std::uint32_t synack_timeout_first_ms = 1'000;
constexpr std::uint32_t synack_timeout_max_ms = 120'000;

}  // namespace

std::uint32_t synack_timeout_ms(unsigned retries) noexcept {
  return std::min(synack_timeout_first_ms << std::min(retries, 16U), synack_timeout_max_ms);
}

void restart_synack_timer(core& host, std::uint32_t index) noexcept {
  half_open_entry& entry = host.half_opens[index];
  auto& queue = host.synack_queues[synack_queue_of(entry)];
  queue.remove(host.half_opens, index);
  entry.deadline_ms = host.after_ms(synack_timeout_ms(entry.retries));
  queue.push_back(host.half_opens, index);
}

unsigned deferral(const core& host, const listener_entry& listener) noexcept {
  // Linux's secs_to_retrans: as many time-outs as it takes until the period is over.
  const std::int64_t asked = setting(host, listener, &listener_policy::defer_accept).count();
  if (asked <= 0) return 0;
  std::int64_t period = synack_timeout_ms(0);
  unsigned count = 1;
  while (asked > period && count < UINT8_MAX) period += synack_timeout_ms(count++);
  return count;
}

namespace {

/// How many SYN-ACK retransmissions an entry of this listener gets now. Half of the SYN queue is
/// for the young; when the others take more than that, they get fewer.
unsigned retries_now(const core& host, const listener_entry& listener) noexcept {
  unsigned retries = setting(host, listener, &listener_policy::synack_retries);
  const std::uint64_t count = listener.half_open_count;
  if (count * 2 <= std::max(8U, backlog_of(host, listener))) return retries;
  for (std::uint64_t young = std::uint64_t{listener.young_count} * 2; retries > 2 && count >= young;
       young *= 2) {
    --retries;
  }
  return retries;
}

bool is_expired(const core& host, const listener_entry& listener,
                const half_open_entry& entry) noexcept {
  // Who is parked has done everything that was asked of it: no pressure cuts its time short.
  if (entry.parked)
    return entry.retries >= setting(host, listener, &listener_policy::synack_retries);
  if (entry.retries < retries_now(host, listener)) return false;
  return !entry.acknowledged || entry.retries >= deferral(host, listener);
}

void expire(core& host, std::uint32_t index, listener_entry* listener) {
  const half_open_entry& entry = host.half_opens[index];
  if (listener == nullptr) return drop_half_open(host, index);
  if (!entry.parked) {
    ++host.count.timeouts;
    return drop_half_open(host, index);
  }
  ++host.count.accept_park_timeouts;
  ++host.count.listen_drops;
  ++listener->drops.park_timeouts;
  reset_parked(host, index);
}

/// Looks at up to `most` due entries of a queue and drops those that have had their retries, the
/// newest first: whom to drop depends on how many are left. How many stay.
std::size_t drop_expired(core& host, std::size_t level, std::size_t most) {
  auto& queue = host.synack_queues[level];
  std::uint32_t at = no_index;
  std::size_t seen = 0;
  for (std::uint32_t i = queue.front(); i != no_index && seen < most;
       i = host.half_opens[i].links.next) {
    if (!is_due(host.half_opens[i].deadline_ms, host.ms())) break;
    at = i;
    ++seen;
  }
  std::size_t stay = seen;
  while (at != no_index) {
    const half_open_entry& entry = host.half_opens[at];
    const std::uint32_t previous = entry.links.prev;
    listener_entry* listener = listener_of(host, entry);
    if (listener == nullptr || is_expired(host, *listener, entry)) {
      expire(host, at, listener);
      --stay;
    }
    at = previous;
  }
  return stay;
}

void on_synack_timeout(core& host, std::uint32_t index) {
  half_open_entry& entry = host.half_opens[index];
  listener_entry& listener = *listener_of(host, entry);
  const unsigned deferred = deferral(host, listener);
  // While text is waited for, the peer is left alone; the last SYN-ACK makes it acknowledge again,
  // and that is let in.
  const bool silent = deferred > 0 && entry.acknowledged && entry.retries + 1U < deferred;
  if (entry.retries == 0) --listener.young_count;
  host.synack_queues[synack_queue_of(entry)].remove(host.half_opens, index);
  if (entry.retries < UINT8_MAX) ++entry.retries;
  entry.deadline_ms = host.after_ms(synack_timeout_ms(entry.retries));
  host.synack_queues[synack_queue_of(entry)].push_back(host.half_opens, index);
  if (entry.parked) return;
  ++host.count.timeouts;
  if (silent) return;
  entry.untimed = true;
  resend_synack(host, entry);
}

}  // namespace

void expire_half_opens(core& host) {
  // The longest wait first: what times out moves up a queue.
  for (std::size_t level = host.synack_queues.size(); level-- > 0;) {
    const auto& queue = host.synack_queues[level];
    while (!queue.empty() && is_due(host.half_opens[queue.front()].deadline_ms, host.ms())) {
      // Each of them has one thing to say at most.
      const std::size_t room = host.replies.room();
      if (room == 0) return;
      for (std::size_t left = drop_expired(host, level, room); left > 0; --left) {
        on_synack_timeout(host, queue.front());
      }
    }
  }
}

}  // namespace runnel::tcp::detail
