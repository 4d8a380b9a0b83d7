#pragma once

#include "raw_peer.hpp"
#include "runnel/wire/icmp.hpp"

// ICMP errors as a router on the way sends them.

namespace runnel::tcp::test {

inline constexpr auto router = net::address::v4(10, 0, 7, 7);

inline wire::icmp_message unreachable(std::uint8_t code) {
  wire::icmp_message out;
  out.kind = wire::icmp_kind::unreachable;
  out.code = code;
  return out;
}
inline wire::icmp_message too_big(std::uint32_t mtu) {
  wire::icmp_message out;
  out.kind = wire::icmp_kind::packet_too_big;
  out.mtu = mtu;
  return out;
}
inline wire::icmp_message plain(wire::icmp_kind kind, std::uint8_t code = 0) {
  wire::icmp_message out;
  out.kind = kind;
  out.code = code;
  return out;
}

/// A router's word about a segment of the host's to the peer with this number, of `total_length`
/// bytes as a packet.
inline void complain(raw_peer& peer, wire::icmp_message message, std::uint32_t seq,
                     std::uint32_t total_length = 1500) {
  std::array<std::byte, 28> quote{};
  wire::ip_header about;
  about.source = raw_peer::host_address();
  about.destination = raw_peer::peer_address();
  about.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  about.total_length = total_length;
  wire::emit_ip(quote, about);
  const auto put = [&](std::size_t at, std::uint32_t value, int bytes) {
    for (int i = bytes; i-- > 0; value >>= 8) {
      quote[at + static_cast<std::size_t>(i)] = static_cast<std::byte>(value & 0xff);
    }
  };
  put(20, peer.host_port, 2);
  put(22, peer.peer_port, 2);
  put(24, seq, 4);
  message.body = quote;
  wire::ip_header ip;
  ip.source = router;
  ip.destination = raw_peer::host_address();
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
  ip.total_length = static_cast<std::uint32_t>(20 + wire::icmp_bytes(message));
  std::vector<std::byte> packet(ip.total_length);
  wire::emit_ip(packet, ip);
  REQUIRE(wire::emit_icmp(std::span(packet).subspan(20), ip.source, ip.destination, message) > 0);
  net::packet_pool pool;
  peer.engine().on_packet(pool.copy_of(packet), peer.now());
  peer.flush();
}

}  // namespace runnel::tcp::test
