#include <runnel/wire/icmp.hpp>

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/tcp.hpp>

#include <doctest/doctest.h>

#include <algorithm>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

const address us = address::v4(10, 77, 0, 2);
const address them = address::v4(10, 77, 0, 1);

ip_header icmp_ip() {
  ip_header ip;
  ip.source = them;
  ip.destination = us;
  ip.protocol = static_cast<std::uint8_t>(ip_protocol::icmp);
  return ip;
}

/// A packet of ours that someone complains about.
byte_string tcp_packet(std::size_t payload) {
  tcp_header tcp;
  tcp.source_port = 80;
  tcp.destination_port = 40000;
  tcp.seq = 0xdeadbeef;
  byte_string packet(40 + payload);
  ip_header ip;
  ip.source = us;
  ip.destination = them;
  ip.protocol = static_cast<std::uint8_t>(ip_protocol::tcp);
  ip.total_length = static_cast<std::uint32_t>(packet.size());
  CHECK(emit_ip(packet, ip) == 20);
  CHECK(emit_tcp(std::span(packet).subspan(20), tcp) == 20);
  return packet;
}

byte_string emitted(const icmp_message& message) {
  byte_string out(icmp_bytes(message));
  CHECK(emit_icmp(out, us, them, message) == out.size());
  return out;
}

}  // namespace

TEST_CASE("icmp: an echo request as ping sends it") {
  auto bytes = bytes_of({8, 0, 0, 0, 0x12, 0x34, 0, 5, 'p', 'i', 'n', 'g', '!'});
  store16(&bytes[2], checksum_of(bytes));
  const auto message = parse_icmp(icmp_ip(), bytes);
  REQUIRE(message);
  CHECK(message->kind == icmp_kind::echo_request);
  CHECK_FALSE(message->is_error());
  CHECK(message->identifier == 0x1234);
  CHECK(message->sequence == 5);
  CHECK(std::ranges::equal(message->body, bytes_of("ping!")));
  CHECK(emitted(*message) == bytes);

  icmp_message reply = *message;
  reply.kind = icmp_kind::echo_reply;
  CHECK(emit_icmp(bytes, us, them, reply) == bytes.size());
  const auto again = parse_icmp(icmp_ip(), bytes);
  REQUIRE(again);
  CHECK(again->kind == icmp_kind::echo_reply);
  CHECK(std::ranges::equal(again->body, bytes_of("ping!")));
}

TEST_CASE("icmp: errors carry the quote and what their kind says") {
  const auto offending = tcp_packet(100);
  icmp_message error;
  error.kind = icmp_kind::unreachable;
  error.code = unreachable_code::port;
  error.body = icmp_quote(offending);
  auto bytes = emitted(error);
  CHECK(load8(&bytes[0]) == 3);
  CHECK(load8(&bytes[1]) == 3);
  auto read = parse_icmp(icmp_ip(), bytes);
  REQUIRE(read);
  CHECK(read->kind == icmp_kind::unreachable);
  CHECK(read->code == unreachable_code::port);
  CHECK(read->is_error());
  const auto quote = parse_quote(read->body);
  REQUIRE(quote);
  CHECK(quote->ip.source == us);
  CHECK(quote->ip.destination == them);
  CHECK(quote->has_transport);
  CHECK(quote->source_port == 80);
  CHECK(quote->destination_port == 40000);
  CHECK(quote->seq == 0xdeadbeef);

  error.kind = icmp_kind::packet_too_big;
  error.mtu = 1280;
  bytes = emitted(error);
  CHECK(load8(&bytes[0]) == 3);
  CHECK(load8(&bytes[1]) == 4);
  read = parse_icmp(icmp_ip(), bytes);
  CHECK(read->kind == icmp_kind::packet_too_big);
  CHECK(read->mtu == 1280);

  error.kind = icmp_kind::time_exceeded;
  error.code = 1;
  read = parse_icmp(icmp_ip(), bytes = emitted(error));
  CHECK(read->kind == icmp_kind::time_exceeded);
  CHECK(read->code == 1);

  error.kind = icmp_kind::parameter_problem;
  error.pointer = 9;
  read = parse_icmp(icmp_ip(), bytes = emitted(error));
  CHECK(read->kind == icmp_kind::parameter_problem);
  CHECK(read->pointer == 9);
}

TEST_CASE("icmp: a quote keeps the error within 576 bytes") {
  const auto small = tcp_packet(4);
  CHECK(icmp_quote(small).size() == small.size());
  CHECK(icmp_quote(tcp_packet(1400)).size() == 548);
  auto padded = tcp_packet(0);
  padded.resize(60);
  CHECK(icmp_quote(padded).size() == 40);
  CHECK(icmp_quote(bytes_of("no packet")).empty());
}

TEST_CASE("icmp: a quote without ports says so") {
  const auto whole = tcp_packet(0);
  CHECK(parse_quote(std::span(whole).first(28))->has_transport);
  CHECK_FALSE(parse_quote(std::span(whole).first(27))->has_transport);
  CHECK_FALSE(parse_quote(std::span(whole).first(20))->has_transport);
  CHECK(parse_quote(std::span(whole).first(19)).error() == ip_error::too_short);
  auto fragment = whole;
  store16(&fragment[6], 100);
  CHECK_FALSE(parse_quote(fragment)->has_transport);
  auto other = whole;
  other[9] = std::byte{47};
  CHECK_FALSE(parse_quote(other)->has_transport);
}

TEST_CASE("icmp: malformed messages are refused by their reason") {
  const auto good = emitted({.kind = icmp_kind::echo_request, .identifier = 1});
  CHECK(parse_icmp(icmp_ip(), good));
  for (std::size_t size = 0; size < good.size(); ++size) {
    CHECK(parse_icmp(icmp_ip(), copy_of(std::span(good).first(size))).error() ==
          icmp_error::too_short);
  }
  auto bad = good;
  bad[4] ^= std::byte{1};
  CHECK(parse_icmp(icmp_ip(), bad).error() == icmp_error::bad_checksum);
  ip_header ip = icmp_ip();
  ip.protocol = 6;
  CHECK(parse_icmp(ip, good).error() == icmp_error::not_icmp);
  CHECK(std::string(to_string(icmp_error::not_icmp)) == "not_icmp");
}

TEST_CASE("icmp: emitting refuses what cannot be said") {
  byte_string out(100);
  icmp_message message{.kind = icmp_kind::echo_request};
  CHECK(emit_icmp(std::span(out).first(7), us, them, message) == 0);
  CHECK(emit_icmp(out, us, address::parse("::1").value(), message) == 0);
  message.kind = icmp_kind::other;
  CHECK(emit_icmp(out, us, them, message) == 0);
  message = {.kind = icmp_kind::packet_too_big, .mtu = 65536};
  CHECK(emit_icmp(out, us, them, message) == 0);
  message = {.kind = icmp_kind::parameter_problem, .pointer = 256};
  CHECK(emit_icmp(out, us, them, message) == 0);
}
