#pragma once

#include <array>
#include <cstdint>

#include "congestion.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/tcp.hpp"
#include "slab.hpp"

namespace runnel::tcp::detail {

struct core;
struct connection;

/// What a connection needs while much is in flight or something is amiss, and not before or after:
/// losses and their recovery, the rate of delivery, the congestion control. Plain data in a slab;
/// what survives it is `transmission`.
struct flight {
  /// The slab's free list.
  std::uint32_t next = no_index;

  // ---- the scoreboard's sums
  std::uint32_t sacked_bytes = 0;
  std::uint32_t lost_bytes = 0;
  std::uint32_t resent_bytes = 0;
  /// Without SACK: what duplicates tell that was delivered, a segment each.
  std::uint32_t counted_bytes = 0;
  /// The end of the highest range that was delivered.
  sequence fack;
  /// The blocks of the last acknowledgement, to be passed over when they come again.
  std::array<wire::sack_block, wire::tcp_options::max_sack_blocks> seen_sacks{};
  /// The first range that may have to be sent again; none is when this is none.
  std::uint32_t resend_hint = no_index;

  // ---- recovery (RFC 6675, RFC 6937)
  /// SND.NXT when the window was last reduced.
  sequence high_seq;
  /// SND.UNA when recovery began, while it may be undone.
  sequence undo_marker;
  bool may_undo = false;
  /// Retransmissions that no D-SACK has told of; less than 0 when they cannot be told.
  std::int32_t undo_retrans = 0;
  /// Our timestamp clock at the first retransmission of the recovery.
  std::uint32_t retrans_stamp = 0;
  bool has_retrans_stamp = false;
  std::uint32_t prior_cwnd = 0;
  std::uint32_t prior_ssthresh = 0;
  std::uint32_t prr_delivered = 0;
  std::uint32_t prr_out = 0;
  /// F-RTO (RFC 5682) is under way; one more new segment may go for it.
  bool frto = false;
  bool frto_send_new = false;

  // ---- RACK-TLP (RFC 8985)
  std::uint64_t rack_sent_us = 0;
  sequence rack_end;
  std::uint32_t rack_rtt_us = 0;
  /// SND.NXT when the reordering window was last widened: once a round trip.
  sequence dsack_round;
  bool dsack_in_round = false;
  bool rack_advanced = false;
  sequence tlp_high_seq;
  bool tlp_out = false;
  bool tlp_is_resent = false;

  // ---- delivery rate
  std::uint64_t delivered_bytes = 0;
  std::uint64_t delivered_us = 0;
  std::uint64_t first_sent_us = 0;
  /// Until so much was delivered the application was what limited the rate; 0 is not.
  std::uint64_t app_limited_until = 0;

  std::uint64_t pacing_rate = 0;
  /// When the next packet may leave at that rate.
  std::uint64_t next_send_us = 0;
  congestion control;
};

static_assert(sizeof(flight) <= 384, "a flight block is to stay small");
using flight_slab = slab<flight, 64>;

/// The connection's flight block; a fresh one when it has none, null without memory.
flight* flight_of(core& host, connection& c) noexcept;
/// Nothing is in flight: gives the block back unless it is still of use.
void land(core& host, connection& c) noexcept;
/// The same, at once where slow start has nothing to remember, else after a pause that makes a
/// window start anew.
void land_soon(core& host, connection& c) noexcept;
/// Gives it back; what survives is in the connection already.
void give_back_flight(core& host, connection& c) noexcept;
/// The connection's window for an algorithm to work on, and back.
congestion_window window_of(const core& host, const connection& c) noexcept;
void keep_window(core& host, connection& c, const congestion_window& window) noexcept;
/// Whether what the connection sends keeps to a pace.
bool is_paced(const core& host, const connection& c) noexcept;
/// Brings the pace of its flight up to date with the window and the policy.
void follow_pace(core& host, connection& c) noexcept;

}  // namespace runnel::tcp::detail
