#include <runnel/wire/plain_tcp.hpp>

#include "fuzz/reassembly_fuzz.hpp"

#include "net/bytes.hpp"

#include <doctest/doctest.h>

using namespace runnel;
using namespace runnel::test;

namespace {

struct example {
  wire::ip_header ip;
  wire::tcp_header tcp;
  byte_string packet;
};

/// A segment of either family, mostly a plain one, with text and sometimes padding behind it.
example some_segment(random_source& random) {
  example made;
  const bool v6 = random.chance(50);
  made.ip.source = v6 ? *net::address::parse("2001:db8::1") : net::address::v4(10, 0, 0, 1);
  made.ip.destination = v6 ? *net::address::parse("2001:db8::2") : net::address::v4(10, 0, 0, 2);
  made.ip.protocol = random.chance(90) ? 6 : 17;
  made.ip.ttl = static_cast<std::uint8_t>(random());
  made.ip.tos = static_cast<std::uint8_t>(random());
  made.ip.dont_fragment = !v6 && random.chance(50);
  made.ip.id = v6 ? 0 : static_cast<std::uint16_t>(random());
  made.ip.flow_label = v6 ? static_cast<std::uint32_t>(random() & 0xfffff) : 0;
  made.tcp.source_port = static_cast<std::uint16_t>(random());
  made.tcp.destination_port = static_cast<std::uint16_t>(random());
  made.tcp.seq = static_cast<std::uint32_t>(random());
  made.tcp.ack = static_cast<std::uint32_t>(random());
  made.tcp.flags = static_cast<std::uint8_t>(random());
  made.tcp.window = static_cast<std::uint16_t>(random());
  if (random.chance(70)) {
    made.tcp.options.timestamp = wire::tcp_timestamp{static_cast<std::uint32_t>(random()),
                                                     static_cast<std::uint32_t>(random())};
  }
  if (random.chance(10)) made.tcp.options.mss = std::uint16_t{1460};
  if (random.chance(10)) made.tcp.options.sack_permitted = true;
  if (random.chance(10)) made.tcp.options.add_sack({1, 2});
  const std::size_t ip_bytes = wire::ip_header_bytes(made.ip);
  const std::size_t header_bytes = ip_bytes + wire::tcp_header_bytes(made.tcp.options);
  made.packet.resize(header_bytes + random.below(80));
  for (std::byte& each : made.packet) each = static_cast<std::byte>(random());
  made.ip.total_length = static_cast<std::uint32_t>(made.packet.size());
  REQUIRE(wire::emit_ip(made.packet, made.ip) == ip_bytes);
  REQUIRE(wire::emit_tcp(std::span(made.packet).subspan(ip_bytes), made.tcp) != 0);
  if (random.chance(20)) made.packet.resize(made.packet.size() + random.below(9));
  return made;
}

bool is_plain(const wire::ip_header& ip, const wire::tcp_header& tcp) {
  wire::tcp_options only;
  only.timestamp = tcp.options.timestamp;
  return ip.carries(wire::ip_protocol::tcp) && !ip.is_fragment() &&
         ip.header_bytes == wire::ip_header_bytes(ip.source.family()) && tcp.options == only &&
         tcp.header_bytes == wire::tcp_header_bytes(only);
}

/// What the view says is what the general readers say.
void check_same(const wire::plain_tcp_view& view, const wire::ip_header& ip,
                const wire::tcp_header& tcp, std::span<const std::byte> segment) {
  CHECK(view.source() == ip.source);
  CHECK(view.destination() == ip.destination);
  CHECK(view.tos() == ip.tos);
  CHECK(view.ip_bytes() == ip.header_bytes);
  CHECK(view.total_length() == ip.total_length);
  CHECK(view.source_port() == tcp.source_port);
  CHECK(view.destination_port() == tcp.destination_port);
  CHECK(view.seq() == tcp.seq);
  CHECK(view.ack() == tcp.ack);
  CHECK(view.flags() == tcp.flags);
  CHECK(view.window() == tcp.window);
  CHECK(view.header_bytes() == ip.header_bytes + tcp.header_bytes);
  CHECK(view.has_timestamp() == tcp.options.timestamp.has_value());
  if (view.has_timestamp()) CHECK(view.timestamp() == *tcp.options.timestamp);
  CHECK(view.segment().data() == segment.data());
  CHECK(view.segment().size() == segment.size());
}

}  // namespace

TEST_CASE("plain segment: read at one go, it says what the general readers say") {
  std::size_t plain = 0;
  std::size_t others = 0;
  random_source random(77);
  for (int i = 0; i < 20'000; ++i) {
    example made = some_segment(random);
    for (std::size_t broken = random.chance(60) ? random.below(4) : 0; broken > 0; --broken) {
      made.packet[random.below(std::min<std::size_t>(made.packet.size(), 76))] =
          static_cast<std::byte>(random());
    }
    if (random.chance(10)) made.packet.resize(random.below(made.packet.size()));
    const byte_string& packet = made.packet;
    const wire::plain_tcp_view view(packet);
    const auto ip = wire::parse_ip(packet);
    if (!ip) {
      CHECK_FALSE(view);
      ++others;
      continue;
    }
    const auto tcp = wire::parse_tcp(ip->payload(packet));
    if (view) {
      ++plain;
      REQUIRE(tcp);
      CHECK(is_plain(*ip, *tcp));
      check_same(view, *ip, *tcp, ip->payload(packet));
    } else {
      ++others;
      // The same options in another order or alignment are not plain.
      if (tcp && is_plain(*ip, *tcp)) CHECK(tcp->options.timestamp.has_value());
    }
  }
  CHECK(plain > 5'000);
  CHECK(others > 5'000);
}

TEST_CASE("plain segment: every one that is plain is read") {
  random_source random(5);
  for (int i = 0; i < 5'000; ++i) {
    const example made = some_segment(random);
    const auto ip = wire::parse_ip(made.packet);
    REQUIRE(ip);
    const auto tcp = wire::parse_tcp(ip->payload(made.packet));
    REQUIRE(tcp);
    CHECK(static_cast<bool>(wire::plain_tcp_view(made.packet)) == is_plain(*ip, *tcp));
  }
}

TEST_CASE("plain segment: nothing outside the packet is read") {
  random_source random(9);
  for (int i = 0; i < 500; ++i) {
    const example made = some_segment(random);
    for (std::size_t size = 0; size < made.packet.size(); ++size) {
      // A copy of its own, so that AddressSanitizer sees the end.
      const byte_string cut(made.packet.begin(),
                            made.packet.begin() + static_cast<std::ptrdiff_t>(size));
      const bool whole = size >= made.ip.total_length;
      if (wire::plain_tcp_view(cut)) CHECK(whole);
    }
  }
}

TEST_CASE("plain segment: written at one go, it is what the general writers write") {
  random_source random(3);
  for (int i = 0; i < 5'000; ++i) {
    example made = some_segment(random);
    made.ip.protocol = 6;
    const auto stamp = made.tcp.options.timestamp;
    made.tcp.options = {};
    made.tcp.options.timestamp = stamp;
    const std::size_t ip_bytes = wire::ip_header_bytes(made.ip);
    const std::size_t size = ip_bytes + wire::tcp_header_bytes(made.tcp.options);
    byte_string expected(size);
    REQUIRE(wire::emit_ip(expected, made.ip) == ip_bytes);
    REQUIRE(wire::emit_tcp(std::span(expected).subspan(ip_bytes), made.tcp) == size - ip_bytes);
    wire::checksum head;
    head.add_pseudo_header(made.ip.source, made.ip.destination, 6,
                           made.ip.total_length - static_cast<std::uint32_t>(ip_bytes));
    wire::checksum whole = head;
    whole.add(std::span(expected).subspan(ip_bytes));

    wire::plain_tcp plain;
    plain.source = made.ip.source;
    plain.destination = made.ip.destination;
    plain.source_port = made.tcp.source_port;
    plain.destination_port = made.tcp.destination_port;
    plain.seq = made.tcp.seq;
    plain.ack = made.tcp.ack;
    plain.window = made.tcp.window;
    plain.flags = made.tcp.flags;
    plain.tos = made.ip.tos;
    plain.ttl = made.ip.ttl;
    plain.dont_fragment = made.ip.dont_fragment;
    plain.id = static_cast<std::uint16_t>(made.ip.id);
    plain.flow_label = made.ip.flow_label;
    plain.total_length = made.ip.total_length;
    plain.has_timestamp = stamp.has_value();
    if (stamp) plain.timestamp = *stamp;
    REQUIRE(wire::plain_tcp_bytes(made.ip.source.family(), stamp.has_value()) == size);
    for (const bool with_header : {false, true}) {
      byte_string written(size);
      wire::checksum sum;
      wire::emit_plain_tcp(written.data(), plain, sum, with_header);
      CHECK(written == expected);
      CHECK(sum.sum() == (with_header ? whole : head).sum());
    }
  }
}
