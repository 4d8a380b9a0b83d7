#include <runnel/wire/icmp.hpp>

#include "net/v6_packets.hpp"

#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

ip_header icmp_ip(const address& source = v6_them, const address& destination = v6_us) {
  ip_header ip;
  ip.source = source;
  ip.destination = destination;
  ip.protocol = static_cast<std::uint8_t>(ip_protocol::icmp_v6);
  return ip;
}

byte_string emitted(const icmp_message& message) {
  byte_string out(icmp_bytes(message));
  CHECK(emit_icmp(out, v6_them, v6_us, message) == out.size());
  return out;
}

/// A message of this type with its checksum, from them to us.
byte_string raw(int type, int code, std::initializer_list<int> rest) {
  auto bytes = joined({bytes_of({type, code, 0, 0}), bytes_of(rest)});
  checksum sum;
  sum.add_pseudo_header(v6_them, v6_us, 58, static_cast<std::uint32_t>(bytes.size()));
  sum.add(bytes);
  store16(&bytes[2], sum.value());
  return bytes;
}

}  // namespace

TEST_CASE("icmpv6: the checksum covers the pseudo-header (RFC 4443 section 2.3)") {
  const address from = address::parse("fe80::1").value();
  const address to = address::parse("ff02::1").value();
  const auto body = bytes_of("abcd");
  byte_string out(12);
  icmp_message ping{.kind = icmp_kind::echo_request, .identifier = 0x1234, .sequence = 1};
  ping.body = body;
  CHECK(emit_icmp(out, from, to, ping) == 12);
  // Word by word: the addresses, the length, the next header, then the message.
  std::uint32_t sum = 0xfe80 + 0x0001 + 0xff02 + 0x0001 + 0x000c + 0x003a + 0x8000 + 0x1234 +
                      0x0001 + 0x6162 + 0x6364;
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  CHECK(load16(&out[2]) == (~sum & 0xffff));
  CHECK(parse_icmp(icmp_ip(from, to), out));
  CHECK(parse_icmp(icmp_ip(from, v6_us), out).error() == icmp_error::bad_checksum);
}

TEST_CASE("icmpv6: echo is read and answered") {
  const auto bytes = raw(128, 0, {0x12, 0x34, 0, 5, 'h', 'i'});
  const auto message = parse_icmp(icmp_ip(), bytes);
  REQUIRE(message);
  CHECK(message->kind == icmp_kind::echo_request);
  CHECK(message->identifier == 0x1234);
  CHECK(message->sequence == 5);
  CHECK(std::ranges::equal(message->body, bytes_of("hi")));
  CHECK(emitted(*message) == bytes);
  icmp_message reply = *message;
  reply.kind = icmp_kind::echo_reply;
  CHECK(emitted(reply) == raw(129, 0, {0x12, 0x34, 0, 5, 'h', 'i'}));
  CHECK(parse_icmp(icmp_ip(), emitted(reply))->kind == icmp_kind::echo_reply);
}

TEST_CASE("icmpv6: errors say what their type and code say, both ways") {
  for (int code = 0; code <= 6; ++code) {
    const auto bytes = raw(1, code, {0, 0, 0, 0, 'q'});
    const auto message = parse_icmp(icmp_ip(), bytes);
    REQUIRE(message);
    CHECK(message->kind == icmp_kind::unreachable);
    CHECK(message->code == code);
    CHECK(message->is_error());
    CHECK(emitted(*message) == bytes);
  }
  const auto big = raw(2, 0, {0, 1, 0x86, 0xa0});
  CHECK(parse_icmp(icmp_ip(), big)->kind == icmp_kind::packet_too_big);
  CHECK(parse_icmp(icmp_ip(), big)->mtu == 100'000);
  CHECK(emitted(*parse_icmp(icmp_ip(), big)) == big);

  const auto late = raw(3, time_exceeded_code::in_reassembly, {0, 0, 0, 0});
  CHECK(parse_icmp(icmp_ip(), late)->kind == icmp_kind::time_exceeded);
  CHECK(parse_icmp(icmp_ip(), late)->code == 1);
  CHECK(emitted(*parse_icmp(icmp_ip(), late)) == late);

  const auto problem = raw(4, parameter_code::next_header, {0, 0, 4, 0xd2});
  CHECK(parse_icmp(icmp_ip(), problem)->kind == icmp_kind::parameter_problem);
  CHECK(parse_icmp(icmp_ip(), problem)->code == 1);
  CHECK(parse_icmp(icmp_ip(), problem)->pointer == 1234);
  CHECK(emitted(*parse_icmp(icmp_ip(), problem)) == problem);
}

TEST_CASE("icmpv6: neighbour discovery and what is unknown is other") {
  for (const int type : {5, 100, 127, 130, 133, 134, 135, 136, 137, 143, 255}) {
    CAPTURE(type);
    const auto message = parse_icmp(icmp_ip(), raw(type, 0, {0, 0, 0, 0}));
    REQUIRE(message);
    CHECK(message->kind == icmp_kind::other);
    CHECK_FALSE(message->is_error());
  }
}

TEST_CASE("icmpv6: malformed messages are refused by their reason") {
  const auto good = raw(128, 0, {0, 1, 0, 2});
  for (std::size_t size = 0; size < good.size(); ++size) {
    CHECK(parse_icmp(icmp_ip(), copy_of(std::span(good).first(size))).error() ==
          icmp_error::too_short);
  }
  auto bad = good;
  bad[5] ^= std::byte{4};
  CHECK(parse_icmp(icmp_ip(), bad).error() == icmp_error::bad_checksum);
  // Each family has its own.
  ip_header ip = icmp_ip();
  ip.protocol = static_cast<std::uint8_t>(ip_protocol::icmp);
  CHECK(parse_icmp(ip, good).error() == icmp_error::not_icmp);
  ip = icmp_ip(address::v4(10, 0, 0, 1), address::v4(10, 0, 0, 2));
  CHECK(parse_icmp(ip, good).error() == icmp_error::not_icmp);
  CHECK(parse_icmp(ip_header{}, good).error() == icmp_error::not_icmp);
}

TEST_CASE("icmpv6: emitting refuses what cannot be said") {
  byte_string out(100);
  icmp_message message{.kind = icmp_kind::packet_too_big, .mtu = 1 << 20};
  CHECK(emit_icmp(out, v6_us, v6_them, message) == 8);
  CHECK(emit_icmp(std::span(out).first(7), v6_us, v6_them, message) == 0);
  CHECK(emit_icmp(out, v6_us, address::v4(1), message) == 0);
  CHECK(emit_icmp(out, address{}, address{}, message) == 0);
  CHECK(emit_icmp(out, v6_us, v6_them, {.kind = icmp_kind::other}) == 0);
}

TEST_CASE("icmpv6: a quote keeps the error within 1280 bytes") {
  CHECK(icmp_quote(v6_packet(6, plain_tcp(4))).size() == 64);
  CHECK(icmp_quote(v6_packet(6, plain_tcp(1400))).size() == 1232);
  auto padded = v6_packet(6, plain_tcp());
  padded.resize(100);
  CHECK(icmp_quote(padded).size() == 60);
}

TEST_CASE("icmpv6: the quoted packet is found behind its extension headers") {
  const auto packet = v6_packet(0, joined({padding_header(44), fragment_header(60, 0, true),
                                           padding_header(6), plain_tcp(1000)}));
  const auto body = copy_of(std::span(packet).first(72));
  const auto quote = parse_quote(body);
  REQUIRE(quote);
  CHECK(quote->ip.source == v6_them);
  CHECK(quote->has_transport);
  CHECK(quote->source_port == 80);
  CHECK(quote->destination_port == 40000);
  CHECK(quote->seq == 0xdeadbeef);
  CHECK_FALSE(parse_quote(std::span(body).first(71))->has_transport);
  CHECK_FALSE(parse_quote(std::span(body).first(50))->has_transport);
  const auto later = v6_packet(44, joined({fragment_header(6, 64, true), plain_tcp()}));
  CHECK_FALSE(parse_quote(later)->has_transport);
}

TEST_CASE("icmp: no error is sent about errors, later fragments, or what went to many") {
  const auto v6 = [](int type) { return v6_packet(58, bytes_of({type, 0, 0, 0, 0, 0, 0, 0})); };
  CHECK(may_report_on(v6(128)));
  CHECK(may_report_on(v6(135)));
  CHECK_FALSE(may_report_on(v6(1)));
  CHECK_FALSE(may_report_on(v6(137)));
  CHECK_FALSE(may_report_on(v6_packet(58, {})));
  CHECK_FALSE(may_report_on(v6_packet(44, joined({fragment_header(6, 8, true), plain_tcp()}))));
  CHECK(may_report_on(v6_packet(44, joined({fragment_header(6, 0, true), plain_tcp()}))));
  const auto to_group = v6_packet(6, plain_tcp(), address::parse("ff0e::1").value());
  CHECK_FALSE(may_report_on(to_group));
  CHECK(may_report_on(to_group, true));

  const auto v4 = [](address from, address to, int protocol, int type) {
    ip_header ip;
    ip.source = from;
    ip.destination = to;
    ip.protocol = static_cast<std::uint8_t>(protocol);
    ip.total_length = 28;
    byte_string packet(28);
    CHECK(emit_ip(packet, ip) == 20);
    packet[20] = static_cast<std::byte>(type);
    return packet;
  };
  const address a = address::v4(10, 0, 0, 1);
  const address b = address::v4(10, 0, 0, 2);
  CHECK(may_report_on(v4(a, b, 6, 3)));
  CHECK(may_report_on(v4(a, b, 1, 8)));
  for (const int type : {3, 4, 5, 11, 12}) CHECK_FALSE(may_report_on(v4(a, b, 1, type)));
  CHECK_FALSE(may_report_on(v4(a, address::v4(224, 0, 0, 1), 6, 0), true));
  CHECK_FALSE(may_report_on(v4(a, address::v4(0xffffffff), 6, 0)));
  CHECK_FALSE(may_report_on(v4(address::v4(0), b, 6, 0)));
  CHECK_FALSE(may_report_on(bytes_of("no packet")));
}
