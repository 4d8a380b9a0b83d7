#pragma once

#include <cstdint>
#include <string_view>

namespace runnel::tcp {

/// What a command may answer besides success. Each value is one errno, named in its comment; the
/// engine knows no errno, the layer above translates.
enum class error : std::uint8_t {
  none,
  /// EAGAIN: nothing to take or no room now; an event tells when.
  would_block,
  /// EBADF: the handle names nothing any more.
  bad_handle,
  /// EINVAL: an argument or a policy value is out of range, or the command does not fit the socket.
  invalid_argument,
  /// EADDRINUSE: another listener holds the address and port, or the 4-tuple is in use.
  address_in_use,
  /// EADDRNOTAVAIL: not an address of this host, or no free local port is left.
  address_not_available,
  /// EAFNOSUPPORT: no local address of that family.
  family_not_supported,
  /// ENOTCONN: the handshake is not finished.
  not_connected,
  /// ECONNREFUSED: the handshake was answered with RST.
  connection_refused,
  /// ECONNRESET: the peer sent RST.
  connection_reset,
  /// ECONNABORTED: this side sent RST.
  connection_aborted,
  /// EPIPE: this side has said FIN, or the peer's RST was reported already.
  broken_pipe,
  /// ETIMEDOUT: the peer has been silent for as long as the policy allows.
  timed_out,
  /// ENOBUFS: a memory limit of the host is reached.
  no_buffer_space,
};

constexpr std::string_view to_string(error of) noexcept {
  switch (of) {
    case error::none:
      return "none";
    case error::would_block:
      return "would block";
    case error::bad_handle:
      return "bad handle";
    case error::invalid_argument:
      return "invalid argument";
    case error::address_in_use:
      return "address in use";
    case error::address_not_available:
      return "address not available";
    case error::family_not_supported:
      return "address family not supported";
    case error::not_connected:
      return "not connected";
    case error::connection_refused:
      return "connection refused";
    case error::connection_reset:
      return "connection reset";
    case error::connection_aborted:
      return "connection aborted";
    case error::broken_pipe:
      return "broken pipe";
    case error::timed_out:
      return "timed out";
    case error::no_buffer_space:
      return "no buffer space";
  }
  return "?";
}

/// A value or the reason why there is none.
template <class T>
struct [[nodiscard]] outcome {
  T value{};
  tcp::error error = tcp::error::none;

  constexpr explicit operator bool() const noexcept { return error == tcp::error::none; }
};

}  // namespace runnel::tcp
