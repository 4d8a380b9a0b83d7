#pragma once

#include "core.hpp"

namespace runnel::tcp::detail {

/// A segment of a connection as it is to look on the wire.
struct outgoing {
  tcp::sequence seq;
  std::uint32_t length = 0;
  std::uint8_t flags = 0;
  /// Not scaled yet.
  std::uint32_t window = 0;
  /// New text of a connection with ECN (RFC 3168 §6.1.5: nothing else is).
  bool carries_ect = false;
  /// The Fast Open option, empty to ask for a cookie; only of SYN and SYN-ACK.
  const std::optional<std::span<const std::byte>>* fastopen = nullptr;
  /// It asks whether the path carries its size: nobody may cut it.
  bool mtu_probe = false;
  /// Told back: it had room for what is held ahead of a hole.
  bool told_sacks = false;
};

/// What tells an IPv4 packet to this peer from others where routers, or we, fragment it (RFC 6864
/// §4.1), and the `packets - 1` behind it. To a stranger it says nothing of packets to others.
std::uint16_t next_ip_id(core& host, const net::address& peer, std::uint32_t packets) noexcept;

/// Writes the headers into the scratch and points `host.transmit` at them and at the text. Shortens
/// `out` where the text lies in more pieces than a packet may have.
void emit_segment(core& host, connection& c, outgoing& out);

}  // namespace runnel::tcp::detail
