#include <runnel/wire/icmp.hpp>
#include <runnel/wire/ip.hpp>

#include "net/v6_packets.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

constexpr int hop_by_hop = 0;
constexpr int tcp = 6;
constexpr int routing = 43;
constexpr int fragment = 44;
constexpr int no_next = 59;
constexpr int options = 60;

/// What reading a packet gives: a reason, and the problem that is owed as "code@pointer".
std::string verdict(const byte_string& packet) {
  const auto header = parse_ip(copy_of(packet));
  std::string text = to_string(header.error());
  if (header) return text;
  if (const auto problem = problem_of(packet)) {
    CHECK(problem->kind == icmp_kind::parameter_problem);
    CHECK_FALSE(problem->body.empty());
    text += " " + std::to_string(problem->code) + "@" + std::to_string(problem->pointer);
  }
  return text;
}

byte_string routing_header(int next, int type, int segments_left) {
  return joined({bytes_of({next, 2, type, segments_left}), byte_string(20)});
}

}  // namespace

TEST_CASE("ipv6: a foreign header is read field by field") {
  auto packet = bytes_of({0x6a, 0xb1, 0x23, 0x45, 0, 4, 6, 0x3f, 0x20, 1, 0x0d, 0xb8, 0, 0, 0,
                          0,    0,    0,    0,    0, 0, 0, 0,    1,    0, 0,    0,    0, 0, 0,
                          0,    0,    0,    0,    0, 0, 0, 0,    0,    1, 1,    2,    3, 4});
  const auto header = parse_ip(packet);
  REQUIRE(header);
  CHECK(header->source.to_string() == "2001:db8::1");
  CHECK(header->destination.to_string() == "::1");
  CHECK(header->tos == 0xab);
  CHECK(header->flow_label == 0x12345);
  CHECK(header->carries(ip_protocol::tcp));
  CHECK(header->protocol_at == 6);
  CHECK(header->ttl == 63);
  CHECK(header->id == 0);
  CHECK_FALSE(header->is_fragment());
  CHECK(header->header_bytes == 40);
  CHECK(header->total_length == 44);
  CHECK(header->payload(packet).data() == packet.data() + 40);

  byte_string out(40);
  CHECK(emit_ip(out, *header) == 40);
  CHECK(out == copy_of(std::span(packet).first(40)));
  packet.resize(60);
  CHECK(parse_ip(packet)->payload(packet).size() == 4);
}

TEST_CASE("ipv6: what was written is read back") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 2000; ++round) {
    ip_header header;
    const auto from = random.bytes(16);
    const auto to = random.bytes(16);
    const auto raw = [](const byte_string& bytes) {
      return std::span<const std::uint8_t, 16>(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                               16);
    };
    header.source = address::v6(raw(from));
    header.destination = address::v6(raw(to));
    header.protocol = tcp;
    header.ttl = static_cast<std::uint8_t>(random());
    header.tos = static_cast<std::uint8_t>(random());
    header.flow_label = static_cast<std::uint32_t>(random() & 0xfffff);
    header.more_fragments = random.chance(50);
    header.fragment_offset = static_cast<std::uint16_t>(random.below(2) * random.below(8192) * 8);
    if (header.is_fragment()) header.id = static_cast<std::uint32_t>(random());
    header.header_bytes = static_cast<std::uint16_t>(ip_header_bytes(header));
    header.protocol_at = header.is_fragment() ? 40 : 6;
    header.total_length = static_cast<std::uint32_t>(header.header_bytes + 20 + random.below(1400));
    byte_string packet(header.total_length);
    REQUIRE(emit_ip(packet, header) == header.header_bytes);
    const auto again = parse_ip(packet);
    REQUIRE(again);
    REQUIRE(*again == header);
  }
}

TEST_CASE("ipv6: extension headers are passed over (RFC 8200 section 4)") {
  const auto segment = plain_tcp(4);
  const auto packet =
      v6_packet(hop_by_hop, joined({padding_header(options), padding_header(routing),
                                    routing_header(options, 4, 0), padding_header(tcp), segment}));
  const auto header = parse_ip(packet);
  REQUIRE(header);
  CHECK(header->carries(ip_protocol::tcp));
  CHECK(header->header_bytes == 40 + 8 + 8 + 24 + 8);
  CHECK(header->protocol_at == 40 + 8 + 8 + 24);
  CHECK(header->payload(packet).size() == 24);

  // What is unknown, and what ends the chain, is the payload's business.
  CHECK(parse_ip(v6_packet(50, byte_string(8)))->protocol == 50);
  CHECK(parse_ip(v6_packet(no_next, {}))->carries(ip_protocol::no_next_header));
  CHECK(parse_ip(v6_packet(options, padding_header(no_next)))->payload_bytes() == 0);
}

TEST_CASE("ipv6: a fragment ends its header at the fragment header") {
  const auto first =
      v6_packet(options, joined({padding_header(fragment), fragment_header(options, 0, true),
                                 padding_header(tcp), plain_tcp(4)}));
  auto header = parse_ip(first);
  REQUIRE(header);
  CHECK(header->is_fragment());
  CHECK(header->more_fragments);
  CHECK(header->id == 0x01020304);
  CHECK(header->header_bytes == 56);
  CHECK(header->protocol == options);
  CHECK(header->payload_bytes() == 32);

  const auto last =
      v6_packet(fragment, joined({fragment_header(tcp, 1232, false), byte_string(3)}));
  header = parse_ip(last);
  REQUIRE(header);
  CHECK(header->is_fragment());
  CHECK(header->fragment_offset == 1232);
  CHECK_FALSE(header->more_fragments);
  CHECK(header->payload_bytes() == 3);
}

TEST_CASE("ipv6: a fragment header on a whole packet is passed over (RFC 6946)") {
  const auto packet = v6_packet(
      fragment, joined({fragment_header(options, 0, false), padding_header(tcp), plain_tcp()}));
  const auto header = parse_ip(packet);
  REQUIRE(header);
  CHECK_FALSE(header->is_fragment());
  CHECK(header->carries(ip_protocol::tcp));
  CHECK(header->header_bytes == 56);
}

TEST_CASE("ipv6: malformed headers are refused by their reason") {
  const auto good = v6_packet(tcp, plain_tcp());
  CHECK(verdict(good) == "none");
  CHECK_FALSE(problem_of(good));
  CHECK(verdict(copy_of(std::span(good).first(39))) == "too_short");
  CHECK(verdict(copy_of(std::span(good).first(59))) == "bad_total_length");
  // An extension header that is cut, or claims more than there is.
  CHECK(verdict(v6_packet(options, byte_string(7))) == "bad_header_length");
  CHECK(verdict(v6_packet(options, bytes_of({6, 1, 1, 4, 0, 0, 0, 0}))) == "bad_header_length");
  CHECK(verdict(v6_packet(fragment, byte_string(7))) == "bad_header_length");
  CHECK(verdict(v6_packet(options, options_header(tcp, bytes_of({1, 5, 0, 0, 0, 0})))) ==
        "bad_option_length");
  CHECK(verdict(v6_packet(options, options_header(tcp, bytes_of({1, 3, 0, 0, 0, 5})))) ==
        "bad_option_length");
}

TEST_CASE("ipv6: jumbograms are refused (RFC 2675)") {
  const auto jumbo = options_header(tcp, bytes_of({0xc2, 4, 0, 1, 0, 0}));
  CHECK(verdict(v6_packet(hop_by_hop, joined({jumbo, plain_tcp()}))) == "jumbogram 2@42");
  auto zero = v6_packet(hop_by_hop, joined({jumbo, plain_tcp()}));
  store16(&zero[4], 0);
  CHECK(verdict(zero) == "jumbogram 2@42");
  zero = v6_packet(hop_by_hop, joined({padding_header(tcp), plain_tcp()}));
  store16(&zero[4], 0);
  CHECK(verdict(zero) == "jumbogram 0@4");
  zero.resize(40);
  CHECK(verdict(zero) == "jumbogram 0@4");
}

TEST_CASE("ipv6: a hop-by-hop header stands first or is an unknown one") {
  CHECK(verdict(v6_packet(options, joined({padding_header(hop_by_hop), padding_header(tcp),
                                           plain_tcp()}))) == "misplaced_hop_by_hop 1@40");
}

TEST_CASE("ipv6: an unknown option says itself what becomes of the packet (RFC 8200 4.2)") {
  const auto with = [](int type, const address& to = v6_us) {
    return verdict(v6_packet(
        options, joined({options_header(tcp, bytes_of({1, 0, type, 2, 0, 0})), plain_tcp()}), to));
  };
  const address group = address::parse("ff02::1").value();
  CHECK(with(0x05) == "none");
  CHECK(with(0x3e) == "none");
  CHECK(with(0x45) == "unknown_option");
  CHECK(with(0x85) == "unknown_option 2@44");
  CHECK(with(0xc5) == "unknown_option 2@44");
  CHECK(with(0x85, group) == "unknown_option 2@44");
  CHECK(with(0xc5, group) == "unknown_option");
}

TEST_CASE("ipv6: a routing header counts only when it leads nowhere (RFC 5095)") {
  const auto with = [](int type, int left) {
    return verdict(v6_packet(routing, joined({routing_header(tcp, type, left), plain_tcp()})));
  };
  for (const int type : {0, 2, 3, 4, 99}) {
    CAPTURE(type);
    CHECK(with(type, 0) == "none");
    CHECK(with(type, 1) == "source_routed 0@42");
  }
}

TEST_CASE("ipv6: number and length of extension headers are bounded") {
  const auto chain = [](std::size_t count) {
    byte_string rest;
    for (std::size_t i = 0; i < count; ++i) {
      rest = joined({padding_header(rest.empty() ? tcp : options), rest});
    }
    return v6_packet(count == 0 ? tcp : options, joined({rest, plain_tcp()}));
  };
  CHECK(verdict(chain(max_extension_headers)) == "none");
  CHECK(verdict(chain(max_extension_headers + 1)) == "too_many_extensions 8@104");

  const auto of_bytes = [](std::size_t bytes) {
    byte_string filler = bytes_of({0x1e, 0});
    for (std::size_t left = bytes - 4; left > 0;) {
      const std::size_t size = std::min<std::size_t>(left, 255);
      filler =
          joined({filler, bytes_of({0x1e, static_cast<int>(size - 2)}), byte_string(size - 2)});
      left -= size;
    }
    return v6_packet(options, joined({options_header(tcp, filler), plain_tcp()}));
  };
  CHECK(verdict(of_bytes(1240)) == "none");
  CHECK(verdict(of_bytes(1248)) == "extensions_too_long 7@1280");
}

TEST_CASE("ipv6: number of options and padding are bounded") {
  const auto with = [](const byte_string& body) {
    return verdict(v6_packet(options, joined({options_header(tcp, body), plain_tcp()})));
  };
  byte_string many;
  for (int i = 0; i < 8; ++i) many = joined({many, bytes_of({0x1e, 0})});
  CHECK(with(joined({many, bytes_of({0, 0, 0, 0, 0, 0})})) == "none");
  CHECK(with(joined({many, bytes_of({0x1e, 0, 0, 0, 0, 0})})) == "too_many_options 9@58");
  CHECK(with(bytes_of({0, 0, 0, 0, 0, 0, 0, 0x1e, 5, 0, 0, 0, 0, 0})) == "none");
  CHECK(with(bytes_of({0, 0, 0, 0, 0, 0, 0, 0, 0x1e, 4, 0, 0, 0, 0})) == "too_many_options 9@49");
}

TEST_CASE("ipv6: the first fragment holds the whole chain (RFC 7112)") {
  const auto first = [](int next, const byte_string& rest) {
    return verdict(v6_packet(fragment, joined({fragment_header(next, 0, true), rest})));
  };
  CHECK(first(tcp, plain_tcp(4)) == "none");
  CHECK(first(tcp, byte_string(16)) == "incomplete_chain 3@0");
  auto with_options = plain_tcp(4);
  with_options[12] = std::byte{0x70};
  CHECK(first(tcp, with_options) == "incomplete_chain 3@0");
  CHECK(first(options, padding_header(tcp)) == "incomplete_chain 3@0");
  CHECK(first(options, bytes_of({6, 1, 1, 4, 0, 0, 0, 0})) == "incomplete_chain 3@0");
  CHECK(first(options, {}) == "incomplete_chain 3@0");
  CHECK(first(17, byte_string(7)) == "incomplete_chain 3@0");
  CHECK(first(17, byte_string(8)) == "none");
  CHECK(first(50, {}) == "none");
  CHECK(first(fragment, joined({fragment_header(tcp, 0, true), plain_tcp()})) ==
        "repeated_fragment");
}

TEST_CASE("ipv6: no problem is reported to nobody, to many, or about an error") {
  const auto bad = joined({routing_header(tcp, 0, 1), plain_tcp()});
  CHECK(problem_of(v6_packet(routing, bad)));
  CHECK_FALSE(problem_of(v6_packet(routing, bad, address::parse("ff02::1").value())));
  auto from_any = v6_packet(routing, bad);
  std::fill(from_any.begin() + 8, from_any.begin() + 24, std::byte{0});
  CHECK_FALSE(problem_of(from_any));
  auto from_group = v6_packet(routing, bad);
  from_group[8] = std::byte{0xff};
  CHECK_FALSE(problem_of(from_group));
  const auto about = [](int type) {
    return problem_of(v6_packet(
        routing, joined({routing_header(58, 0, 1), bytes_of({type, 0, 0, 0, 0, 0, 0, 0})})));
  };
  CHECK(about(128));
  CHECK_FALSE(about(1));
  CHECK_FALSE(about(127));
  CHECK_FALSE(about(137));
}

TEST_CASE("ipv6: a packet cut at any byte is refused") {
  const auto packet = v6_packet(
      hop_by_hop, joined({padding_header(fragment), fragment_header(tcp, 0, true), plain_tcp(4)}));
  CHECK(verdict(packet) == "none");
  for (std::size_t size = 0; size < packet.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_ip(copy_of(std::span(packet).first(size))));
  }
}

TEST_CASE("ipv6: emitting refuses what the header cannot say") {
  const ip_header header = *parse_ip(v6_packet(tcp, plain_tcp()));
  byte_string out(60);
  CHECK(emit_ip(out, header) == 40);
  CHECK(emit_ip(std::span(out).first(39), header) == 0);
  ip_header other = header;
  other.total_length = 65575;
  CHECK(emit_ip(out, other) == 40);
  other.total_length = 65576;
  CHECK(emit_ip(out, other) == 0);
  other.total_length = 39;
  CHECK(emit_ip(out, other) == 0);
  other = header;
  other.flow_label = 1 << 20;
  CHECK(emit_ip(out, other) == 0);
  other = header;
  other.fragment_offset = 12;
  CHECK(emit_ip(out, other) == 0);
  other.fragment_offset = 16;
  CHECK(emit_ip(out, other) == 48);
  CHECK(emit_ip(std::span(out).first(47), other) == 0);
  other = header;
  other.destination = address::v4(10, 0, 0, 1);
  CHECK(emit_ip(out, other) == 0);
  CHECK(emit_ip(out, ip_header{}) == 0);
}

TEST_CASE("ipv6: a quoted header is read as far as the quote goes") {
  const auto packet =
      v6_packet(options, joined({padding_header(fragment), fragment_header(options, 0, true),
                                 padding_header(tcp), plain_tcp(100)}));
  const auto quoted = [&](std::size_t size) {
    return parse_quoted_ip(copy_of(std::span(packet).first(size)));
  };
  CHECK(quoted(39).error() == ip_error::too_short);
  for (std::size_t size = 40; size < packet.size(); ++size) {
    CAPTURE(size);
    const auto header = quoted(size);
    REQUIRE(header);
    CHECK(header->total_length == packet.size());
    CHECK(header->header_bytes <= size);
    CHECK(header->protocol == (size < 48 ? 60 : size < 56 ? 44 : size < 64 ? 60 : 6));
    CHECK(header->is_fragment() == (size >= 56));
  }
  // What is behind a later fragment's header is no header.
  const auto later = v6_packet(
      fragment, joined({fragment_header(options, 8, true), padding_header(tcp), plain_tcp()}));
  CHECK(parse_quoted_ip(later)->header_bytes == 48);
}
