#pragma once

#include "core.hpp"
#include "flight.hpp"
#include "scoreboard.hpp"

// Loss recovery: what an acknowledgement means for what is lost, and for the window.

namespace runnel::tcp::detail {

// ---- rack.cpp

/// Marks what RACK takes for lost; in how many ms something else may be, 0 for nothing.
std::uint32_t rack_detect_loss(core& host, connection& c) noexcept;
/// Widens the reordering window for a D-SACK.
void rack_adapt(const core& host, connection& c, flight& f, const ack_facts& facts) noexcept;
/// Arms the probe time-out in place of the retransmission time-out where RFC 8985 §7.2 has it.
bool arm_probe(core& host, connection& c) noexcept;
/// The probe time-out.
void send_probe(core& host, connection& c);
void on_probe_ack(core& host, connection& c, flight& f, sequence ack,
                  const ack_facts& facts) noexcept;

// ---- count_losses.cpp

/// Without SACK: one more segment was delivered, as a duplicate tells.
void count_duplicate(core& host, connection& c, ack_facts& facts) noexcept;
/// Without SACK: marks the first segment as lost where duplicates say so.
void newreno_mark_lost(core& host, connection& c, const ack_facts& facts) noexcept;
/// Without RACK: marks what RFC 6675 takes for lost.
void count_losses(core& host, connection& c, const ack_facts& facts) noexcept;

// ---- recovery.cpp

/// Everything that an acknowledgement says of losses: after the scoreboard has taken it in.
void recover(core& host, connection& c, const segment& seg, ack_facts& facts);
/// Reduces the window at once and for all that is in flight (Linux's CWR that ends at once).
void reduce_once(core& host, connection& c) noexcept;
/// Begins fast recovery, where that is not under way.
void enter_recovery(core& host, connection& c, bool for_echo) noexcept;
/// The time that RACK gave a hole is over.
void on_reordering_timeout(core& host, connection& c);

/// Whether RACK tells what is lost, where the peer has SACK.
inline bool loses_by_time(const core& host) noexcept {
  return (host.policy.recovery & recovery_flag::rack) != 0;
}

/// RFC 6582 §4: without SACK, duplicates of the very number where recovery ended may be of what was
/// sent again in vain, and must not begin another one.
inline bool repeats_point(const core& host, const connection& c) noexcept {
  return !c.sack_permitted && c.snd_.una == host.flights[c.flight].high_seq;
}

// ---- undo.cpp

/// Everything up to the recovery point is acknowledged.
bool undo_full(core& host, connection& c, const segment& seg) noexcept;
/// A part of it is; true when nothing else is to be done for losses now.
bool undo_partial(core& host, connection& c, const segment& seg) noexcept;
/// D-SACKs have told of everything that was sent again.
bool undo_by_dsack(core& host, connection& c) noexcept;
/// The same for a time-out; `proven` when F-RTO has shown it.
bool undo_timeout(core& host, connection& c, const segment& seg, bool proven) noexcept;
/// Whether what was sent again need not have been, for all that we know.
bool was_spurious(const core& host, const connection& c, const segment& seg) noexcept;
void begin_undo(core& host, connection& c) noexcept;

}  // namespace runnel::tcp::detail
