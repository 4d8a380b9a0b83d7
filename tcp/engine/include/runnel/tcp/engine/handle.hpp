#pragma once

#include <cstdint>

namespace runnel::tcp {

/// Names a listener or a connection of one host. A handle whose socket is gone is recognised by its
/// generation and answered with `error::bad_handle`; it never reaches another socket.
struct socket_id {
  /// Its place in the host's table.
  std::uint32_t index = UINT32_MAX;
  /// Which of the sockets that had this place it is.
  std::uint32_t generation = 0;

  /// Whether it was ever given by a host; not whether the socket is still there.
  constexpr explicit operator bool() const noexcept { return index != UINT32_MAX; }
  friend constexpr bool operator==(socket_id, socket_id) noexcept = default;
};

/// What has happened to a socket since it was last reported, as bits.
enum class events : std::uint8_t {
  none = 0,
  /// There are bytes to receive, or their end, or an error to be told by `receive`.
  readable = 1,
  /// `send` will take bytes, or tell an error.
  writable = 2,
  /// The handshake of `connect` is finished.
  connected = 4,
  /// Everything sent, and FIN where it was sent, has been acknowledged.
  drained = 8,
  /// The connection is over; `snapshot` says how.
  closed = 16,
  /// A listener has a connection to accept.
  acceptable = 32,
  /// What `close` waits for with `close_mode::linger` is not there within `close_time`.
  close_time_over = 64,
};

/// Both.
constexpr events operator|(events a, events b) noexcept {
  return static_cast<events>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
/// What is in both.
constexpr events operator&(events a, events b) noexcept {
  return static_cast<events>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
/// Adds `b` to `a`.
constexpr events& operator|=(events& a, events b) noexcept {
  return a = a | b;
}
/// Whether there is a bit in it.
constexpr bool any(events of) noexcept {
  return of != events::none;
}

/// One report of `host::poll_event`.
struct socket_event {
  /// What the caller gave with `listen`, `accept` or `connect`.
  std::uint64_t token = 0;
  /// Whom it is about.
  socket_id socket;
  /// What has happened since the last report, all of it.
  events what = events::none;
};

}  // namespace runnel::tcp
