#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core.hpp"

namespace runnel::tcp::detail {

// Between SYN and `accept`: listen.cpp, half_open.cpp, synack_timers.cpp, accept_queue.cpp.

/// Which of `core::synack_queues` holds the entry.
inline std::size_t synack_queue_of(const half_open_entry& entry) noexcept {
  return std::min<std::size_t>(entry.retries, synack_queue_count - 1);
}
/// How many half-open entries the listener takes before it asks for cookies or drops.
std::uint64_t syn_queue_limit(const core& host, const listener_entry& listener) noexcept;
/// What the listener's SYN asks for, with our first number: an entry that is nowhere yet.
half_open_request request_of(const core& host, std::uint32_t listener, const segment& seg,
                             tcp::sequence iss);
/// Fills in what the SYN-ACK of a request says of our window.
void remember_offers(const core& host, half_open_entry& request) noexcept;
/// Puts the request in the SYN queue and the table; `no_index` without memory.
std::uint32_t insert_half_open(core& host, const half_open_request& request);
/// The SYN-ACK of a request, which need not be in the SYN queue.
reply synack_of(core& host, const half_open_entry& request);
/// Sends it again, and counts that.
void resend_synack(core& host, const half_open_entry& request);
/// Takes the entry out of the SYN queue; whether its place in the table goes too is the caller's.
void free_half_open(core& host, std::uint32_t index) noexcept;
/// Takes it out of both.
void drop_half_open(core& host, std::uint32_t index) noexcept;
/// Its listener; null when that was closed.
listener_entry* listener_of(core& host, const half_open_entry& request) noexcept;
/// What this listener's children will have as their `receive_buffer`.
std::uint32_t receive_buffer_of(const core& host, const listener_entry& listener) noexcept;
/// The window that the SYN-ACK of a request offers; unscaled, so at most 65,535. Where one has left
/// already never less than that one offered, and at most 255 bytes more where the buffer has become
/// smaller since.
std::uint16_t first_window(const core& host, const half_open_entry& request) noexcept;
/// The time-out of the SYN-ACK that was sent again `retries` times.
std::uint32_t synack_timeout_ms(unsigned retries) noexcept;
/// Gives the entry the time-out of its `retries` from now on.
void restart_synack_timer(core& host, std::uint32_t index) noexcept;
/// Runs the time-outs that are due. What would find no room among the replies stays due.
void expire_half_opens(core& host);
/// TCP_DEFER_ACCEPT: up to how many SYN-ACK time-outs a third segment without text is ignored.
unsigned deferral(const core& host, const listener_entry& listener) noexcept;

/// Fast Open: the request becomes a connection with its SYN, whose text it takes, and waits for
/// `accept`. False without memory.
bool open_with_syn(core& host, const half_open_entry& request, segment& seg, bool gives_cookie);
/// The third segment of a half-open entry, found good.
void finish_handshake(core& host, std::uint32_t index, segment& seg);
/// The same for a request without an entry, which a cookie has brought back: a connection, or what
/// `cookie_overflow` says. Parked ones are bounded by the size of the SYN queue; beyond it, or
/// without memory, the answer is RST. `timestamp_offset` is what its timestamps go on with; an
/// entry has no place for one that is not the usual one, so it is not parked then.
void finish_cookie(core& host, const half_open_request& request, std::uint32_t timestamp_offset,
                   segment& seg);
/// Lets parked entries in, first in first out, as long as there is room.
void admit_parked(core& host, listener_entry& listener);
/// Goes on with telling those who wait in the queues of closed listeners, as far as there is room
/// among the replies.
void reset_waiting(core& host);
/// A parked entry has waited too long, or its listener closes: RST.
void reset_parked(core& host, std::uint32_t index);

}  // namespace runnel::tcp::detail
