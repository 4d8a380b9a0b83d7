#pragma once

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/ip.hpp>

namespace runnel::test {

inline const net::address v6_us = net::address::parse("2001:db8::2").value();
inline const net::address v6_them = net::address::parse("2001:db8::1").value();

/// An IPv6 packet from them to us: the header, and `rest`, which begins with the header that
/// `next` names.
inline byte_string v6_packet(int next, const byte_string& rest,
                             const net::address& destination = v6_us) {
  wire::ip_header ip;
  ip.source = v6_them;
  ip.destination = destination;
  ip.protocol = static_cast<std::uint8_t>(next);
  ip.total_length = static_cast<std::uint32_t>(40 + rest.size());
  byte_string packet(40);
  if (wire::emit_ip(packet, ip) != 40) std::abort();
  packet.insert(packet.end(), rest.begin(), rest.end());
  return packet;
}

/// The strings one after another.
inline byte_string joined(std::initializer_list<byte_string> parts) {
  byte_string all;
  for (const byte_string& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// A hop-by-hop or destination options header: `options` fills it to a multiple of eight.
inline byte_string options_header(int next, const byte_string& options) {
  return joined({bytes_of({next, static_cast<int>((options.size() + 2) / 8) - 1}), options});
}

/// One with nothing but padding.
inline byte_string padding_header(int next) {
  return bytes_of({next, 0, 1, 4, 0, 0, 0, 0});
}

/// A fragment header (RFC 8200 section 4.5).
inline byte_string fragment_header(int next, std::uint16_t offset, bool more,
                                   std::uint32_t id = 0x01020304) {
  byte_string header(8);
  header[0] = static_cast<std::byte>(next);
  wire::store16(&header[2], static_cast<std::uint16_t>(offset | (more ? 1 : 0)));
  wire::store32(&header[4], id);
  return header;
}

/// A TCP header without options, whatever it says.
inline byte_string plain_tcp(std::size_t payload = 0) {
  byte_string segment(20 + payload);
  wire::store16(segment.data(), 80);
  wire::store16(&segment[2], 40000);
  wire::store32(&segment[4], 0xdeadbeef);
  segment[12] = std::byte{0x50};
  return segment;
}

}  // namespace runnel::test
