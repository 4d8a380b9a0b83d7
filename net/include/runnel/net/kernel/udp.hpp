#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/kernel/detail/datagram_awaiters.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace runnel::net::kernel {

/// How a UDP socket is made. Zero means the kernel's own default.
struct udp_options {
  /// SO_REUSEADDR: several sockets may be bound to one multicast port.
  bool reuse_address = false;
  /// SO_REUSEPORT: several sockets of one user share the port, and the kernel divides datagrams.
  bool reuse_port = false;
  /// IPV6_V6ONLY: a socket on `::` does not take IPv4, too.
  bool v6only = false;
  /// SO_BROADCAST: it may send to broadcast addresses.
  bool broadcast = false;
  /// SO_SNDBUF in bytes, of which the kernel makes twice as much; 0 is its default.
  int send_buffer = 0;
  /// SO_RCVBUF, likewise. What arrives while it is full is lost.
  int receive_buffer = 0;
  /// SO_BINDTODEVICE: the only network device that it uses.
  std::string device{};
};

/// Memory for one datagram of `receive_many`, and what came into it.
struct datagram_slot {
  /// Where it goes; what does not fit is cut off.
  std::span<std::byte> into;
  /// What came, once `receive_many` has given it.
  received_datagram got{};
};

/// One datagram of `send_many`.
struct outgoing_datagram {
  /// What is sent; it must live until the call has completed.
  std::span<const std::byte> bytes;
  /// None on a connected socket.
  endpoint to{};
};

/// A UDP socket of the kernel. One task may receive and one may send at a time; a second one is a
/// checked error. All operations try at once and wait only when the kernel has nothing, or no room.
/// They honour the cancel scope (`errc::cancelled`); a cancelled receive has taken nothing, a
/// cancelled `send_many` says how many went. Memory that an operation was given must live until it
/// has completed. No allocation but one when the socket is made.
///
/// What ICMP says of a datagram comes as the error of a later operation, once, and only on a
/// connected socket: `std::errc::connection_refused` when nobody listens there. It closes nothing.
class udp_socket {
 public:
  /// No socket: it may be assigned to and destroyed.
  udp_socket() noexcept = default;
  udp_socket(udp_socket&&) noexcept = default;
  udp_socket& operator=(udp_socket&&) noexcept = default;
  /// As `close()`; must not happen while something is awaited.
  ~udp_socket() = default;

  /// A socket at this address; port 0 is any free one. `owner` must outlive it. Errors are those of
  /// bind(2), and `errc::not_supported` on a simulated loop.
  static result<udp_socket> bind(loop& owner, const endpoint& at, const udp_options& options = {});

  /// Makes `to` the only peer: others are not heard, `send` goes there. Does not wait. Errors are
  /// those of connect(2).
  result<void> connect(const endpoint& to) noexcept;

  /// Waits until a datagram, or an error, is there; holds no buffer: `result<void>`.
  detail::datagram_readable readable() noexcept { return detail::datagram_readable{checked()}; }
  /// Receives one datagram: `result<received_datagram>`. An empty datagram is one too.
  detail::datagram_receive receive_from(std::span<std::byte> into) noexcept {
    return {checked(), into};
  }
  /// Waits for at least one and takes as many as are there, up to 32 in one system call
  /// (recvmmsg(2)); gives how many slots were filled.
  detail::datagram_receive_many receive_many(std::span<datagram_slot> slots) noexcept {
    return {checked(), slots};
  }
  /// Sends one datagram: `result<std::size_t>`, its size. Beyond what UDP can carry it gives
  /// `std::errc::message_size`.
  detail::datagram_send send_to(std::span<const std::byte> from, const endpoint& to) noexcept {
    return {checked(), from, to};
  }
  /// The same to the peer of a connected socket.
  detail::datagram_send send(std::span<const std::byte> from) noexcept {
    return {checked(), from, {}};
  }
  /// Sends them in order, up to 32 in one system call (sendmmsg(2)); gives how many went. After a
  /// failure behind the first it gives the number, and the next call says why.
  detail::datagram_send_many send_many(std::span<const outgoing_datagram> all) noexcept {
    return {checked(), all};
  }

  /// Pending and later operations fail with `std::errc::bad_file_descriptor`.
  void close() noexcept;
  /// Its own address, asked of the kernel; none when it is closed.
  endpoint local_endpoint() const noexcept;
  /// The socket's descriptor, still owned by this; -1 when it is closed.
  int descriptor() const noexcept;
  /// Whether there is a socket.
  explicit operator bool() const noexcept { return core_ != nullptr; }

 private:
  explicit udp_socket(detail::datagram_core_ptr core) noexcept : core_(std::move(core)) {}
  detail::datagram_core* checked() const noexcept;

  detail::datagram_core_ptr core_;
};

}  // namespace runnel::net::kernel
