#include <runnel/wire/offload.hpp>

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/tcp.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace runnel;
using namespace runnel::test;
using net::checksum_state;
using net::packet_offload;

namespace {

constexpr std::uint8_t udp = 17;

/// A packet with a TCP header and so much text; an IPv6 one where `v6` says so.
byte_string tcp_packet(std::size_t text, bool v6 = false, std::uint8_t flags = 0x10) {
  const std::size_t ip_bytes = v6 ? 40 : 20;
  byte_string packet(ip_bytes + 20 + text, std::byte{'x'});
  if (v6) {
    std::fill_n(packet.begin(), 40, std::byte{0});
    packet[0] = std::byte{0x60};
    packet[6] = std::byte{6};
  } else {
    wire::ip_header ip;
    ip.source = net::address::v4(10, 0, 0, 1);
    ip.destination = net::address::v4(10, 0, 0, 2);
    ip.protocol = 6;
    ip.total_length = static_cast<std::uint32_t>(packet.size());
    wire::emit_ip(packet, ip);
  }
  wire::tcp_header tcp;
  tcp.flags = flags;
  wire::emit_tcp(std::span(packet).subspan(ip_bytes), tcp);
  return packet;
}

struct vnet {
  int flags = 1;
  int gso_type = 1;
  int hdr_len = 40;
  int gso_size = 1000;
  int start = 20;
  int offset = 16;

  byte_string bytes() const {
    return bytes_of({flags, gso_type, hdr_len % 256, hdr_len / 256, gso_size % 256, gso_size / 256,
                     start % 256, start / 256, offset % 256, offset / 256});
  }
};

std::string reading(const vnet& header, const byte_string& packet) {
  const auto facts = wire::parse_vnet(header.bytes(), copy_of(packet));
  return wire::to_string(facts ? wire::vnet_error::none : facts.error());
}

}  // namespace

TEST_CASE("offload: a super-segment of either family is taken with its facts") {
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    const byte_string packet = tcp_packet(5000, v6);
    vnet header;
    header.gso_type = v6 ? 4 : 1;
    header.start = v6 ? 40 : 20;
    for (const int ecn : {0, 0x80}) {
      header.gso_type |= ecn;
      const auto facts = wire::parse_vnet(header.bytes(), packet);
      REQUIRE(facts);
      CHECK(facts->checksum == checksum_state::partial);
      CHECK(facts->gso_size == 1000);
      CHECK(facts->checksum_start == header.start);
      CHECK(facts->checksum_offset == 16);
    }
  }
}

TEST_CASE("offload: a packet without word is unverified, one that was looked at is verified") {
  const byte_string packet = tcp_packet(100);
  auto facts = wire::parse_vnet(vnet{0, 0, 77, 77, 77, 77}.bytes(), packet);
  REQUIRE(facts);
  CHECK(*facts == packet_offload{});
  facts = wire::parse_vnet(vnet{2, 0, 0, 0, 0, 0}.bytes(), packet);
  REQUIRE(facts);
  CHECK(facts->checksum == checksum_state::verified);
  facts = wire::parse_vnet(vnet{2, 1, 40, 50, 0, 0}.bytes(), packet);
  REQUIRE(facts);
  CHECK(facts->gso_size == 50);
  CHECK(facts->checksum == checksum_state::verified);
}

TEST_CASE("offload: a packet that one segment holds is no super-segment") {
  const auto facts = wire::parse_vnet(vnet{}.bytes(), tcp_packet(1000));
  REQUIRE(facts);
  CHECK(facts->gso_size == 0);
}

TEST_CASE("hostile offload: a virtio header of which any field contradicts the packet is refused") {
  const byte_string packet = tcp_packet(5000);
  CHECK(reading({}, packet) == "none");
  CHECK(wire::parse_vnet(std::span(packet).first(9), packet).error() ==
        wire::vnet_error::too_short);
  CHECK(reading({.flags = 5}, packet) == "unknown_flags");
  CHECK(reading({.flags = 0}, packet) == "unvouched");
  for (const int type : {2, 3, 5, 6, 0x80, 0x83, 0x41}) {
    CAPTURE(type);
    CHECK(reading({.gso_type = type}, packet) == "unknown_gso_type");
  }
  CHECK(reading({.gso_type = 4}, packet) == "not_tcp");
  CHECK(reading({.gso_size = 0}, packet) == "bad_gso_size");
  CHECK(reading({.hdr_len = 5041}, packet) == "bad_header_length");
  for (const int start : {0, 19, 21, 24, 5038, 65'535}) {
    CAPTURE(start);
    CHECK(reading({.start = start}, packet) == "bad_checksum_place");
  }
  for (const int offset : {0, 6, 15, 17, 65'535}) {
    CAPTURE(offset);
    CHECK(reading({.offset = offset}, packet) == "bad_checksum_place");
  }
}

TEST_CASE("offload: a virtio header in front of what is no whole segment is refused") {
  byte_string packet = tcp_packet(5000);
  SUBCASE("a datagram") {
    packet[9] = std::byte{udp};
    CHECK(reading({}, packet) == "bad_checksum_place");
    CHECK(reading({.offset = 6}, packet) == "not_tcp");
    CHECK(reading({.gso_type = 0, .offset = 6}, packet) == "none");
  }
  SUBCASE("a fragment") {
    packet[6] = std::byte{0x20};
    CHECK(reading({}, packet) == "bad_checksum_place");
    CHECK(reading({.flags = 2}, packet) == "not_tcp");
  }
  SUBCASE("a TCP header longer than the packet, or none") {
    packet[32] = std::byte{0x40};
    CHECK(reading({}, packet) == "not_tcp");
    packet.resize(60);
    packet[32] = std::byte{0xf0};
    CHECK(reading({}, packet) == "not_tcp");
    packet.resize(39);
    CHECK(reading({.hdr_len = 0}, packet) == "not_tcp");
    packet.resize(37);
    CHECK(reading({.hdr_len = 0}, packet) == "bad_checksum_place");
  }
  SUBCASE("no IP packet") {
    CHECK(reading({}, bytes_of("no packet, whatever it says")) == "bad_checksum_place");
    CHECK(reading({}, {}) == "bad_checksum_place");
    CHECK(reading({.flags = 0, .gso_type = 0}, {}) == "none");
    packet[0] = std::byte{0x4f};
    packet.resize(50);
    CHECK(reading({.start = 60}, packet) == "bad_checksum_place");
  }
}

TEST_CASE("offload: what is written is what is read, with ECN for a segment that says CWR") {
  std::array<std::byte, wire::vnet_header_bytes> out;
  for (const bool v6 : {false, true}) {
    const auto start = static_cast<std::uint16_t>(v6 ? 40 : 20);
    const packet_offload facts{checksum_state::partial, 1448, start, 16};
    const byte_string plain = tcp_packet(9000, v6);
    REQUIRE(wire::emit_vnet(out, facts, std::span(plain).first(start + 20U)));
    CHECK(out[1] == std::byte(v6 ? 4 : 1));
    CHECK(wire::load8(&out[2]) == start + 20);
    auto again = wire::parse_vnet(out, plain);
    REQUIRE(again);
    CHECK(*again == facts);
    const byte_string cwr = tcp_packet(9000, v6, 0x90);
    REQUIRE(wire::emit_vnet(out, facts, cwr));
    CHECK(out[1] == std::byte(v6 ? 0x84 : 0x81));
  }
  REQUIRE(wire::emit_vnet(out, {}, {}));
  CHECK(std::all_of(out.begin(), out.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("offload: a super-segment that nobody could cut is not written") {
  std::array<std::byte, wire::vnet_header_bytes> out;
  const byte_string packet = tcp_packet(9000);
  const packet_offload facts{checksum_state::partial, 1448, 20, 16};
  CHECK_FALSE(wire::emit_vnet(std::span(out).first(9), facts, packet));
  CHECK_FALSE(wire::emit_vnet(out, facts, std::span(packet).first(39)));
  CHECK_FALSE(wire::emit_vnet(out, {checksum_state::unverified, 1448, 20, 16}, packet));
  CHECK_FALSE(wire::emit_vnet(out, {checksum_state::partial, 1448, 19, 16}, packet));
  CHECK_FALSE(wire::emit_vnet(out, facts, bytes_of("neither of the families, but long enough")));
}

TEST_CASE("offload: a partial checksum is completed, wherever the pieces are cut") {
  const auto source = net::address::v4(10, 0, 0, 1);
  const auto destination = net::address::v4(10, 0, 0, 2);
  byte_string packet = tcp_packet(333);
  const auto segment = std::span(packet).subspan(20);
  wire::checksum pseudo;
  pseudo.add_pseudo_header(source, destination, 6, static_cast<std::uint32_t>(segment.size()));
  wire::put_tcp_checksum(segment, pseudo.sum());
  const packet_offload facts{checksum_state::partial, 0, 20, 16};
  const std::span<const std::byte> all = packet;
  for (std::size_t cut = 0; cut <= packet.size(); ++cut) {
    const std::array<std::span<const std::byte>, 2> pieces{all.first(cut), all.subspan(cut)};
    byte_string whole = packet;
    wire::store16(&whole[36], wire::completed_checksum(pieces, facts));
    REQUIRE(wire::tcp_checksum_intact(source, destination, std::span(whole).subspan(20)));
  }
  net::packet_pool pool;
  const net::packet pooled = pool.copy_of(packet);
  pooled->offload = facts;
  wire::complete_checksum(pooled);
  CHECK(pooled->offload == packet_offload{});
  CHECK(wire::tcp_checksum_intact(source, destination, pooled.bytes().subspan(20)));
}
