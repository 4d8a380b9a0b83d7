#pragma once

#include <cstdint>
#include <span>

#include "index_list.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/tcp.hpp"
#include "slab.hpp"

// What is in flight, as ranges of sequence numbers that left together (RFC 6675's scoreboard, with
// the times that RFC 8985 needs). They are as few as possible: what leaves in one turn is one range
// until an acknowledgement tells its parts apart.

namespace runnel::tcp::detail {

struct core;
struct connection;

/// Into how many segments so many bytes are cut. Most are one, which costs no division.
constexpr std::uint32_t segments_in(std::uint32_t bytes, std::uint32_t mss) noexcept {
  if (bytes <= mss) return bytes > 0 ? 1 : 0;
  return (bytes + mss - 1) / mss;
}
/// Whether the last of them is shorter than the others may be.
constexpr bool ends_short(std::uint32_t bytes, std::uint32_t mss) noexcept {
  return bytes < mss ? bytes > 0 : bytes % mss != 0;
}

/// Numbers that left at one time and have one fate. FIN counts as a number, as ever.
struct sent_range {
  /// In the order of numbers; `next` is the slab's free list too.
  std::uint32_t next = no_index;
  std::uint32_t prev = no_index;
  /// In the order of leaving; only what is neither delivered nor lost.
  list_links by_time;
  sequence begin;
  sequence end;
  /// When it last left.
  std::uint64_t sent_us = 0;
  /// What was delivered of the whole connection when it left, when that had been, and when the
  /// first packet of that flight left: for the rate at which it is delivered itself.
  std::uint64_t delivered_bytes = 0;
  std::uint64_t delivered_us = 0;
  std::uint64_t first_sent_us = 0;
  bool app_limited : 1 = false;
  /// The peer holds it (RFC 2018).
  bool sacked : 1 = false;
  bool lost : 1 = false;
  /// It was sent again at some time; and that is in flight now.
  bool resent : 1 = false;
  bool resent_in_flight : 1 = false;

  std::uint32_t size() const noexcept { return distance(begin, end); }
};

using sent_slab = slab<sent_range, 512>;

/// The ranges of one connection, from SND.UNA to SND.NXT without a gap. Plain data.
struct sent_list {
  std::uint32_t head = no_index;
  std::uint32_t tail = no_index;
  index_list<sent_slab, &sent_range::by_time> by_time;
  std::uint32_t count = 0;
};

/// What one acknowledgement told of the scoreboard.
struct ack_facts {
  /// Acknowledged in order.
  std::uint32_t acked_bytes = 0;
  /// Delivered for all that we know now and did not before.
  std::uint32_t delivered_bytes = 0;
  std::uint32_t lost_bytes = 0;
  /// The shortest round trip that it measures, of what was acknowledged in order and of what was
  /// selectively; 0 for none.
  std::uint32_t rtt_us = 0;
  std::uint32_t sack_rtt_us = 0;
  /// In flight before it, and the end of what had been delivered highest.
  std::uint32_t prior_flight = 0;
  sequence prior_fack;
  bool advanced = false;
  bool sacked_more = false;
  /// Something that was never sent again was delivered, from before the last recovery began.
  bool original_delivered = false;
  /// Something that was sent again was acknowledged in order.
  bool resent_acked = false;
  bool resent_lost = false;
  bool duplicate_sack = false;
  /// The D-SACK is about the tail loss probe.
  bool probe_duplicate = false;
  /// A duplicate acknowledgement by RFC 5681 §2.
  bool duplicate = false;
  bool congestion_echo = false;
  /// The range that left last of those delivered.
  std::uint64_t newest_delivered = 0;
  std::uint64_t newest_delivered_us = 0;
  std::uint64_t newest_first_sent_us = 0;
  std::uint64_t newest_sent_us = 0;
  bool newest_app_limited = false;
  bool has_newest = false;
};

/// Bytes that are taken to be on the network (RFC 6675's pipe).
std::uint32_t pipe_of(const core& host, const connection& c) noexcept;

/// Segments that left and are not acknowledged; no more than `most` are counted.
std::uint32_t segments_in_flight(const core& host, const connection& c,
                                 std::uint32_t most) noexcept;

/// What leaves now for the first time, behind everything else. Without memory it joins what left
/// before.
void note_sent(core& host, connection& c, std::uint32_t bytes) noexcept;
/// The first `bytes` of the range leave again now.
void note_resent(core& host, connection& c, std::uint32_t range, std::uint32_t bytes) noexcept;
/// The first range that is lost and not on its way again; `no_index` for none.
std::uint32_t next_to_resend(core& host, connection& c) noexcept;

/// Joins what is lost right behind the range to it, up to a segment, so that small pieces go
/// together.
void join_lost(core& host, connection& c, std::uint32_t range) noexcept;

/// Takes the acknowledgement up to `ack` in, which is not beyond SND.NXT.
void score_ack(core& host, connection& c, sequence ack, ack_facts& facts) noexcept;
/// Takes selective acknowledgements in; `ack` is the segment's. What makes no sense is passed over.
void score_sacks(core& host, connection& c, sequence ack, std::span<const wire::sack_block> blocks,
                 ack_facts& facts) noexcept;

/// It did not arrive, for all that we know.
void mark_lost(core& host, connection& c, std::uint32_t range) noexcept;
/// Takes `mark_lost` back where nothing was sent again for it.
void unmark_lost(core& host, connection& c) noexcept;
/// Forgets what the peer says that it holds: it has taken it back (RFC 2018 §8).
void forget_sacks(core& host, connection& c) noexcept;
/// The same number of a time-out: everything but what arrived counts as lost, except what left
/// less than `spared_us` ago and is not the first.
void mark_all_lost(core& host, connection& c, std::uint64_t spared_us) noexcept;
/// Whatever lies between the two numbers and did not arrive counts as lost.
void mark_lost_between(core& host, connection& c, sequence begin, sequence end) noexcept;
/// Splits the first `bytes` off as a range of their own, if it has more; its index is the same.
/// False without memory.
bool split_range(core& host, connection& c, std::uint32_t range, std::uint32_t bytes) noexcept;
void clear_ranges(core& host, connection& c) noexcept;

}  // namespace runnel::tcp::detail
