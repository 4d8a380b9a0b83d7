#pragma once

#include "core.hpp"

// How much a connection's owner may write ahead of what the peer has acknowledged.

namespace runnel::tcp::detail {

/// SO_SNDBUF as it is now.
std::uint32_t send_buffer_of(const core& host, const connection& c) noexcept;
/// What its unacknowledged bytes may hold now.
std::uint32_t send_limit(core& host, const connection& c) noexcept;
/// The handshake is done: room for what the first windows need (Linux's tcp_init_buffer_space).
void begin_send_buffer(core& host, connection& c) noexcept;
/// How many bytes TCP_NOTSENT_LOWAT lets in.
std::size_t bytes_wanted(const core& host, const connection& c) noexcept;
/// Whether there is so much room that a writer should be told (Linux's sk_stream_is_writeable).
bool has_send_room(core& host, const connection& c) noexcept;
/// Tells who waits for room, if there is some now, or may be (Linux's tcp_check_space).
void tell_room(core& host, connection& c) noexcept;

}  // namespace runnel::tcp::detail
