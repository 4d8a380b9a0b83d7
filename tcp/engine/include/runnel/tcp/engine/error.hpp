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
  /// ECONNREFUSED: the handshake was answered with RST, or with ICMP port unreachable.
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
  /// ENETUNREACH: ICMP says that no route leads to the peer's network.
  network_unreachable,
  /// EHOSTUNREACH: ICMP says that no route leads to the peer, or that the hop limit was used up.
  host_unreachable,
  /// ENOPROTOOPT: ICMP says that the peer does not serve TCP.
  protocol_not_available,
  /// EPROTO: ICMP says that a header of ours was not understood.
  protocol_error,
  /// EACCES: ICMPv6 says that the way is administratively closed.
  permission_denied,
  /// EOPNOTSUPP: ICMP says that a source route failed.
  not_supported,
};

/// What it means, in lower-case words: "connection reset".
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
    case error::network_unreachable:
      return "network unreachable";
    case error::host_unreachable:
      return "host unreachable";
    case error::protocol_not_available:
      return "protocol not available";
    case error::protocol_error:
      return "protocol error";
    case error::permission_denied:
      return "permission denied";
    case error::not_supported:
      return "operation not supported";
  }
  return "?";
}

/// A value or the reason why there is none.
template <class T>
struct [[nodiscard]] outcome {
  /// What was asked for; counts where there is no error.
  T value{};
  /// Why there is none.
  tcp::error error = tcp::error::none;

  /// Whether there is a value.
  constexpr explicit operator bool() const noexcept { return error == tcp::error::none; }
};

}  // namespace runnel::tcp
