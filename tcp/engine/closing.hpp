#pragma once

#include <cstdint>

#include "connection.hpp"

// A connection's timers, and how it ends.

namespace runnel::tcp::detail {

struct core;

// ---- timers.cpp
// ----------------------------------------------------------------------------------

/// Arms the connection's one timer for the earliest of its deadlines.
void schedule(core& host, connection& c) noexcept;
void on_connection_timer(core& host, connection& c);
void arm_retransmit(core& host, connection& c) noexcept;
void arm_persist(core& host, connection& c) noexcept;
void stop_rtx_timer(connection& c) noexcept;

/// Nobody has answered for as long as the policy bears: it is over.
void give_up(core& host, connection& c);
/// Brings the timer forward to when TCP_USER_TIMEOUT ends a connection that waits for an answer.
void bound_by_user_timeout(core& host, connection& c) noexcept;
/// The owner is gone while a closed window holds text back: orphan_window_timeout counts from here.
void bound_closed_window(core& host, connection& c) noexcept;

// ---- keepalive.cpp
// -------------------------------------------------------------------------------

/// Begins to look after an idle peer, if the policy wants it.
void arm_keepalive(core& host, connection& c) noexcept;
/// The policy has changed: the timer follows it.
void rearm_keepalive(core& host, connection& c) noexcept;
void on_keepalive_timeout(core& host, connection& c);

// ---- close.cpp
// -----------------------------------------------------------------------------------

/// Queues FIN and moves to the state that waits for its acknowledgement.
void say_fin(core& host, connection& c);
void close_connection(core& host, connection& c, close_mode mode, std::uint32_t time_ms);
/// A closed connection has come to FIN-WAIT-2: bounds the wait for the peer's FIN. Where the policy
/// does not wait at all it is reset and counted. False when the connection is over.
bool wait_for_fin(core& host, connection& c, std::uint64_t& when_unwilling);
/// The peer has said FIN first.
void on_peer_fin(core& host, connection& c);
void on_life_timeout(core& host, connection& c);

// ---- orphans.cpp
// ---------------------------------------------------------------------------------

/// The owner is gone. One orphan too many is reset and counted.
void adopt_orphan(core& host, connection& c);
/// Counts an orphan that has nothing left to deliver. False when there are too many, and this one
/// is over.
bool note_quiet(core& host, connection& c);
/// No orphan any more; before its queues are cleared.
void forget_orphan(core& host, connection& c) noexcept;
/// Whether this orphan is one too many, by number or by memory.
bool too_many_orphans(const core& host, const connection& c) noexcept;
void reset_orphan(core& host, connection& c);

}  // namespace runnel::tcp::detail
