#include <runnel/wire/ip.hpp>

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

/// A packet of 24 bytes as another host wrote it.
byte_string foreign_packet() {
  auto bytes = bytes_of({0x45, 0x02, 0x00, 0x18, 0xab, 0xcd, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00,
                         10,   77,   0,    1,    10,   77,   0,    2,    1,    2,    3,    4});
  store16(&bytes[10], checksum_of(std::span(bytes).first(20)));
  return bytes;
}

void repair_checksum(byte_string& packet) {
  store16(&packet[10], 0);
  const std::size_t size = std::size_t{load8(&packet[0])} % 16 * 4;
  store16(&packet[10], checksum_of(std::span(packet).first(size)));
}

}  // namespace

TEST_CASE("ip: a foreign header is read field by field") {
  const auto packet = foreign_packet();
  const auto header = parse_ip(packet);
  REQUIRE(header);
  CHECK(header->source == address::v4(10, 77, 0, 1));
  CHECK(header->destination == address::v4(10, 77, 0, 2));
  CHECK(header->carries(ip_protocol::tcp));
  CHECK(header->ttl == 64);
  CHECK(header->tos == 2);
  CHECK(header->id == 0xabcd);
  CHECK(header->dont_fragment);
  CHECK_FALSE(header->more_fragments);
  CHECK_FALSE(header->is_fragment());
  CHECK(header->header_bytes == 20);
  CHECK(header->total_length == 24);
  CHECK(header->payload(packet).size() == 4);
  CHECK(header->payload(packet).data() == packet.data() + 20);
}

TEST_CASE("ip: what was read is written back byte for byte") {
  const auto packet = foreign_packet();
  byte_string out(20);
  CHECK(emit_ip(out, *parse_ip(packet)) == 20);
  CHECK(out == copy_of(std::span(packet).first(20)));
}

TEST_CASE("ip: what was written is read back") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 2000; ++round) {
    ip_header header;
    header.source = address::v4(static_cast<std::uint32_t>(random()));
    header.destination = address::v4(static_cast<std::uint32_t>(random()));
    header.protocol = static_cast<std::uint8_t>(random());
    header.ttl = static_cast<std::uint8_t>(random());
    header.tos = static_cast<std::uint8_t>(random());
    header.id = static_cast<std::uint16_t>(random());
    header.dont_fragment = random.chance(50);
    header.more_fragments = random.chance(50);
    header.fragment_offset = static_cast<std::uint16_t>(random.below(8192) * 8);
    header.header_bytes = 20;
    header.protocol_at = 9;
    header.total_length = static_cast<std::uint32_t>(20 + random.below(1480));
    byte_string packet(header.total_length);
    REQUIRE(emit_ip(packet, header) == 20);
    const auto again = parse_ip(packet);
    REQUIRE(again);
    REQUIRE(*again == header);
  }
}

TEST_CASE("ip: options are skipped and padding is allowed") {
  auto packet = foreign_packet();
  const auto options = bytes_of({0x94, 0x04, 0x00, 0x00});
  packet.insert(packet.begin() + 20, options.begin(), options.end());
  packet[0] = std::byte{0x46};
  store16(&packet[2], 28);
  repair_checksum(packet);
  packet.resize(packet.size() + 18);
  const auto header = parse_ip(packet);
  REQUIRE(header);
  CHECK(header->header_bytes == 24);
  CHECK(header->payload(packet).size() == 4);
  CHECK(load8(header->payload(packet).data()) == 1);
}

TEST_CASE("ip: a malformed header is refused by its reason") {
  const auto reason = [](auto change) {
    auto packet = foreign_packet();
    change(packet);
    return std::string(to_string(parse_ip(packet).error()));
  };
  CHECK(reason([](byte_string&) {}) == "none");
  CHECK(reason([](byte_string& p) { p.clear(); }) == "too_short");
  CHECK(reason([](byte_string& p) { p[0] = std::byte{0x55}; }) == "bad_version");
  CHECK(reason([](byte_string& p) { p[0] = std::byte{0x60}; }) == "too_short");
  CHECK(reason([](byte_string& p) { p[0] = std::byte{0x44}; }) == "bad_header_length");
  CHECK(reason([](byte_string& p) { p[0] = std::byte{0x4f}; }) == "bad_header_length");
  CHECK(reason([](byte_string& p) { store16(&p[2], 19); }) == "bad_total_length");
  CHECK(reason([](byte_string& p) { store16(&p[2], 25); }) == "bad_total_length");
  CHECK(reason([](byte_string& p) { p[8] = std::byte{63}; }) == "bad_checksum");
}

TEST_CASE("ip: a packet cut at any byte is refused") {
  const auto packet = foreign_packet();
  for (std::size_t size = 0; size < packet.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_ip(copy_of(std::span(packet).first(size))));
  }
}

TEST_CASE("ip: emitting refuses what the header cannot say") {
  ip_header header = *parse_ip(foreign_packet());
  byte_string out(60);
  CHECK(emit_ip(out, header) == 20);
  CHECK(emit_ip(std::span(out).first(19), header) == 0);
  ip_header other = header;
  other.total_length = 65536;
  CHECK(emit_ip(out, other) == 0);
  other = header;
  other.id = 65536;
  CHECK(emit_ip(out, other) == 0);
  other = header;
  other.fragment_offset = 4;
  CHECK(emit_ip(out, other) == 0);
  other = header;
  other.destination = address::parse("::1").value();
  CHECK(emit_ip(out, other) == 0);
}

TEST_CASE("ip: a quoted header may be cut short and carry a stale checksum") {
  auto packet = foreign_packet();
  store16(&packet[2], 1500);
  CHECK(parse_ip(packet).error() == ip_error::bad_total_length);
  const auto header = parse_quoted_ip(packet);
  REQUIRE(header);
  CHECK(header->total_length == 1500);
  CHECK_FALSE(parse_quoted_ip(std::span(packet).first(19)));
}
