#pragma once

#include "net/v6_packets.hpp"

#include <runnel/wire/ip.hpp>
#include <runnel/wire/packet.hpp>
#include <runnel/wire/reassembly.hpp>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <vector>

namespace runnel::test {

/// A whole packet of one family that carries `payload`.
inline byte_string whole_packet(net::family family, const byte_string& payload, int protocol = 17) {
  wire::ip_header ip;
  const bool v6 = family == net::family::v6;
  ip.source = v6 ? v6_them : net::address::v4(10, 77, 0, 1);
  ip.destination = v6 ? v6_us : net::address::v4(10, 77, 0, 2);
  ip.protocol = static_cast<std::uint8_t>(protocol);
  byte_string packet(wire::ip_header_bytes(family));
  ip.total_length = static_cast<std::uint32_t>(packet.size() + payload.size());
  if (wire::emit_ip(packet, ip) != packet.size()) throw std::logic_error("no header");
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

/// What a test says of a fragment; the rest is that of `whole_packet`.
struct fragment_of {
  net::family family = net::family::v4;
  std::uint16_t offset = 0;
  bool more = true;
  std::uint32_t id = 7;
  int protocol = 17;
  int tos = 0;
  std::uint32_t host = 1;
};

/// A fragment with this payload.
inline byte_string fragment(const fragment_of& what, const byte_string& payload) {
  wire::ip_header ip;
  const bool v6 = what.family == net::family::v6;
  ip.source = net::address::v4(0x0a4d0000 + what.host);
  ip.destination = net::address::v4(10, 77, 0, 2);
  if (v6) {
    std::array<std::uint8_t, 16> raw{0x20, 1, 0x0d, 0xb8};
    for (std::size_t i = 0; i < 4; ++i) {
      raw[15 - i] = static_cast<std::uint8_t>(what.host >> (8 * i));
    }
    ip.source = net::address::v6(raw);
    ip.destination = v6_us;
  }
  ip.protocol = static_cast<std::uint8_t>(what.protocol);
  ip.tos = static_cast<std::uint8_t>(what.tos);
  ip.id = what.id;
  ip.fragment_offset = what.offset;
  ip.more_fragments = what.more;
  byte_string packet(wire::ip_header_bytes(ip));
  ip.total_length = static_cast<std::uint32_t>(packet.size() + payload.size());
  if (wire::emit_ip(packet, ip) != packet.size()) throw std::logic_error("no fragment header");
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

/// All fragments of a payload, each of `size` bytes at most.
inline std::vector<byte_string> fragments(fragment_of what, const byte_string& payload,
                                          std::size_t size) {
  std::vector<byte_string> all;
  for (std::size_t at = 0; at < payload.size(); at += size) {
    const std::size_t length = std::min(size, payload.size() - at);
    what.offset = static_cast<std::uint16_t>(at);
    what.more = at + length < payload.size();
    all.push_back(fragment(what, copy_of(std::span(payload).subspan(at, length))));
  }
  return all;
}

/// A reassembler with its pool and a clock.
struct reassembly_bench {
  net::packet_pool pool;
  wire::reassembler under_test;
  time_point now{};

  explicit reassembly_bench(const wire::reassembly_policy& policy = {}) : under_test(policy) {}

  wire::reassembly_result give(const byte_string& packet) {
    const auto ip = wire::parse_ip(packet);
    if (!ip) throw std::logic_error(wire::to_string(ip.error()));
    return under_test.on_fragment(pool.copy_of(packet), *ip, now);
  }
  std::string verdict(const byte_string& packet) { return to_string(give(packet).verdict); }
};

}  // namespace runnel::test
