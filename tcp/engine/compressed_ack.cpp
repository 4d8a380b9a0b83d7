#include <algorithm>

#include "core.hpp"

// Duplicate acknowledgements that go as one (Linux's tcp_comp_sack_*). Three tell of a hole; what
// the others add is more text that has arrived, which the last of them tells for all.

namespace runnel::tcp::detail {

namespace {

/// RFC 5681 §3.2.
constexpr std::uint8_t duplicate_threshold = 3;

/// The first tick after the delay, or where that is later than the slack allows, the last one
/// before. It may be now; then nothing waits.
std::uint64_t end_of_waiting(const core& host, const connection& c,
                             const receive_tuning& t) noexcept {
  std::uint64_t rtt_us = t.rtt_us();
  if (c.flow.srtt_us != 0) rtt_us = std::min<std::uint64_t>(rtt_us, c.flow.srtt_us);
  const std::uint64_t end =
      host.now_ns() + std::min<std::uint64_t>(host.policy.comp_sack_delay_ns, rtt_us * 1000 / 20);
  return std::min((end + fine_tick_ns - 1) / fine_tick_ns,
                  (end + host.policy.comp_sack_slack_ns) / fine_tick_ns);
}

}  // namespace

bool compress_ack(core& host, connection& c) noexcept {
  if (!c.sack_permitted) return false;
  receive_tuning* t = tuning_of(host, c);
  if (t == nullptr || t->waiting >= host.policy.comp_sack_nr) return false;
  if (t->hole != c.rcv_.nxt) {
    t->hole = c.rcv_.nxt;
    t->told = 0;
  }
  if (t->told < duplicate_threshold) {
    ++t->told;
    return false;
  }
  if (t->waiting == 0) {
    t->until = end_of_waiting(host, c, *t);
    if (t->until <= host.fine_now()) return false;
    wake_tuning(host, *t, t->until);
  }
  ++t->waiting;
  return true;
}

void release_compressed(core& host, connection& c, receive_tuning& t) noexcept {
  // One of them is sent.
  --t.waiting;
  owe_duplicate(host, c);
}

void note_acknowledged(core& host, connection& c) noexcept {
  if (c.tuning == no_index) return;
  receive_tuning& t = host.receive_tunings[c.tuning];
  host.count.ack_compressed += t.waiting;
  t.waiting = 0;
}

}  // namespace runnel::tcp::detail
