#include <algorithm>

#include "recovery.hpp"

// Losses by count: three duplicates where the peer has no SACK (RFC 5681, RFC 6582), and what lies
// below enough that was selectively acknowledged (RFC 6675) where RACK is off.

namespace runnel::tcp::detail {

namespace {

/// As Linux counts them: small segments are segments, too.
std::uint32_t segments_of(const connection& c, const sent_range& range) noexcept {
  return segments_in(range.size(), c.snd_mss);
}

void mark_first(core& host, connection& c) noexcept {
  const std::uint32_t head = c.sent.head;
  if (head == no_index || host.sent_ranges[head].lost || host.sent_ranges[head].sacked) return;
  split_range(host, c, head, c.snd_mss);
  mark_lost(host, c, head);
}

}  // namespace

void count_duplicate(core& host, connection& c, ack_facts& facts) noexcept {
  flight& f = host.flights[c.flight];
  const std::uint32_t sent = c.in_flight();
  const std::uint32_t most = sent > c.snd_mss ? sent - c.snd_mss : 0;
  const std::uint32_t counted = std::min(f.counted_bytes + c.snd_mss, most);
  if (counted <= f.counted_bytes) return;
  facts.delivered_bytes += counted - f.counted_bytes;
  f.delivered_bytes += counted - f.counted_bytes;
  f.counted_bytes = counted;
}

void newreno_mark_lost(core& host, connection& c, const ack_facts& facts) noexcept {
  const flight& f = host.flights[c.flight];
  const bool enough = c.flow.phase < recovery_phase::recovery &&
                      f.counted_bytes >= std::uint32_t{c.reordering} * c.snd_mss;
  // RFC 6582 §3.2 step 3: an acknowledgement that moves during recovery tells of the next loss.
  if (enough || (c.flow.phase == recovery_phase::recovery && facts.advanced)) mark_first(host, c);
}

void count_losses(core& host, connection& c, const ack_facts& facts) noexcept {
  std::uint32_t above = 0;
  std::uint32_t index = c.sent.tail;
  if (facts.sacked_more || facts.advanced) {
    for (; index != no_index; index = host.sent_ranges[index].prev) {
      const sent_range& range = host.sent_ranges[index];
      if (range.sacked) {
        above += segments_of(c, range);
        continue;
      }
      if (above < c.reordering) continue;
      // Whatever is below what was marked has been marked before, or was sent again since.
      if (range.lost) break;
      if (!range.resent_in_flight) mark_lost(host, c, index);
    }
  }
  // Linux's tcp_force_fast_retransmit: a partial acknowledgement with something delivered well
  // above it.
  const flight& f = host.flights[c.flight];
  const bool partial = c.flow.phase == recovery_phase::recovery && facts.advanced;
  const std::uint32_t far = std::uint32_t{c.reordering} * c.snd_mss;
  if (partial && after(f.fack, c.snd_.una + far)) mark_first(host, c);
}

}  // namespace runnel::tcp::detail
