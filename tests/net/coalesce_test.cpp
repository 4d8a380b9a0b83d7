#include "net/v6_packets.hpp"

#include <doctest/doctest.h>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/coalesce.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/tcp.hpp>

#include <algorithm>
#include <functional>
#include <vector>

// Segments that came in a row become super-segments, and nothing else does.

using namespace runnel;
using namespace runnel::test;

namespace {

/// What a segment is made of.
struct recipe {
  bool v6 = false;
  std::uint32_t seq = 1000;
  std::size_t text = 1000;
  wire::tcp_header tcp{};
  wire::ip_header ip{};

  recipe() {
    tcp.source_port = 40'000;
    tcp.destination_port = 80;
    tcp.ack = 77;
    tcp.flags = wire::tcp_flag::ack;
    tcp.window = 500;
    tcp.options.timestamp = wire::tcp_timestamp{5, 6};
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
    ip.dont_fragment = true;
  }
};

/// The text's byte at a number, so that a wrong place shows.
std::byte letter(std::uint32_t number) {
  return static_cast<std::byte>(number * 2654435761U >> 24);
}

byte_string segment_of(recipe from) {
  from.tcp.seq = from.seq;
  from.ip.source = from.v6 ? v6_them : net::address::v4(10, 0, 0, 1);
  from.ip.destination = from.v6 ? v6_us : net::address::v4(10, 0, 0, 2);
  const std::size_t ip_bytes = from.v6 ? 40 : 20;
  const std::size_t tcp_bytes = wire::tcp_header_bytes(from.tcp.options);
  from.ip.total_length = static_cast<std::uint32_t>(ip_bytes + tcp_bytes + from.text);
  byte_string out(from.ip.total_length);
  REQUIRE(wire::emit_ip(out, from.ip) == ip_bytes);
  const auto segment = std::span(out).subspan(ip_bytes);
  wire::emit_tcp(segment, from.tcp);
  for (std::size_t i = 0; i < from.text; ++i) {
    segment[tcp_bytes + i] = letter(from.seq + static_cast<std::uint32_t>(i));
  }
  wire::checksum sum;
  sum.add_pseudo_header(from.ip.source, from.ip.destination, from.ip.protocol,
                        static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  wire::put_tcp_checksum(segment, sum.value());
  return out;
}

struct burst {
  net::packet_pool pool;
  std::vector<net::packet> packets;

  void add(const recipe& what) { packets.push_back(pool.copy_of(segment_of(what))); }
  /// A train of segments, of which the last may be changed.
  void add_train(bool v6, std::size_t count, const std::function<void(recipe&)>& last = {}) {
    recipe each;
    each.v6 = v6;
    for (std::size_t i = 0; i < count; ++i) {
      if (i + 1 == count && last) last(each);
      add(each);
      each.seq += static_cast<std::uint32_t>(each.text);
    }
  }
  /// The sizes that are left.
  std::vector<std::size_t> join() {
    const std::size_t left = wire::coalesce(packets, pool);
    for (std::size_t i = left; i < packets.size(); ++i) CHECK(!packets[i]);
    packets.resize(left);
    std::vector<std::size_t> sizes;
    for (const net::packet& each : packets) sizes.push_back(each.size());
    return sizes;
  }
};

constexpr std::size_t headers(bool v6) {
  return (v6 ? 40U : 20U) + 32U;
}

}  // namespace

TEST_CASE(
    "coalesce: a train becomes one packet with the text of all, which parses, both families") {
  for (const bool v6 : {false, true}) {
    CAPTURE(v6);
    burst it;
    it.add_train(v6, 12);
    CHECK(it.join() == std::vector{headers(v6) + 12'000});
    const net::packet& made = it.packets.front();
    CHECK(made->offload.gso_size == 1000);
    CHECK(made->offload.checksum == net::checksum_state::verified);
    const auto ip = wire::parse_ip(made.bytes());
    REQUIRE(ip);
    CHECK(ip->total_length == made.size());
    const auto tcp = wire::parse_tcp(ip->payload(made.bytes()));
    REQUIRE(tcp);
    CHECK(tcp->seq == 1000);
    CHECK(tcp->ack == 77);
    CHECK(tcp->flags == wire::tcp_flag::ack);
    CHECK(tcp->options.timestamp == wire::tcp_timestamp{5, 6});
    bool same = true;
    const auto text = ip->payload(made.bytes()).subspan(tcp->header_bytes);
    for (std::uint32_t i = 0; i < text.size(); ++i) same = same && text[i] == letter(1000 + i);
    CHECK(same);
  }
}

TEST_CASE("coalesce: a shorter segment and one with PSH end a super-segment and belong to it") {
  for (const bool v6 : {false, true}) {
    burst shorter;
    shorter.add_train(v6, 12, [](recipe& last) { last.text = 1; });
    shorter.add([&] {
      recipe next;
      next.v6 = v6;
      next.seq = 1000 + 11'001;
      return next;
    }());
    CHECK(shorter.join() == std::vector{headers(v6) + 11'001, headers(v6) + 1000});
    burst pushed;
    pushed.add_train(v6, 12, [](recipe& last) { last.tcp.flags |= wire::tcp_flag::psh; });
    CHECK(pushed.join() == std::vector{headers(v6) + 12'000});
    const auto ip = wire::parse_ip(pushed.packets.front().bytes());
    CHECK(wire::parse_tcp(ip->payload(pushed.packets.front().bytes()))->has(wire::tcp_flag::psh));
  }
}

TEST_CASE("coalesce: what could not have been cut from the same packet passes as it is") {
  const std::pair<const char*, std::function<void(recipe&)>> others[] = {
      {"number", [](recipe& r) { ++r.seq; }},
      {"longer", [](recipe& r) { r.text = 1001; }},
      {"no text", [](recipe& r) { r.text = 0; }},
      {"acknowledgement", [](recipe& r) { ++r.tcp.ack; }},
      {"window", [](recipe& r) { ++r.tcp.window; }},
      {"timestamp", [](recipe& r) { r.tcp.options.timestamp->value = 7; }},
      {"echo", [](recipe& r) { r.tcp.options.timestamp->echo = 7; }},
      {"no options", [](recipe& r) { r.tcp.options.timestamp.reset(); }},
      {"port", [](recipe& r) { ++r.tcp.source_port; }},
      {"FIN", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::fin; }},
      {"SYN", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::syn; }},
      {"RST", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::rst; }},
      {"URG", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::urg; }},
      {"ECE", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::ece; }},
      {"CWR", [](recipe& r) { r.tcp.flags |= wire::tcp_flag::cwr; }},
      {"TTL", [](recipe& r) { --r.ip.ttl; }},
      {"CE", [](recipe& r) { r.ip.tos = 3; }},
      {"DSCP", [](recipe& r) { r.ip.tos = 4; }},
  };
  for (const bool v6 : {false, true}) {
    for (const auto& [name, change] : others) {
      CAPTURE(v6);
      CAPTURE(name);
      burst it;
      it.add_train(v6, 13, change);
      const std::size_t last = it.packets.back().size();
      CHECK(it.join() == std::vector{headers(v6) + 12'000, last});
      CHECK(it.packets.back()->offload == net::packet_offload());
    }
  }
  burst labels;
  labels.add_train(true, 13, [](recipe& r) { r.ip.flow_label = 9; });
  CHECK(labels.join().size() == 2);
  burst fragments;
  fragments.add_train(false, 13, [](recipe& r) { r.ip.dont_fragment = false; });
  CHECK(fragments.join().size() == 2);
}

TEST_CASE("coalesce: the order stays, and trains of several flows are joined one by one") {
  burst it;
  it.add_train(false, 12);
  it.add_train(true, 10);
  it.add_train(false, 1);
  it.add_train(false, 15);
  CHECK(it.join() == std::vector<std::size_t>{12'052, 10'072, 1052, 15'052});
}

TEST_CASE("coalesce: no packet exceeds 65,535 bytes, and its block is filled at least by half") {
  for (const bool v6 : {false, true}) {
    for (std::size_t count = 1; count <= 130; ++count) {
      CAPTURE(count);
      burst it;
      it.add_train(v6, count);
      const std::size_t all = it.pool.used_bytes();
      std::size_t text = 0;
      for (const std::size_t size : it.join()) {
        CHECK(size <= 65'535);
        text += size - headers(v6);
      }
      CHECK(text == count * 1000);
      std::size_t alone = 0;
      for (const net::packet& each : it.packets) {
        if (each->offload.gso_size == 0) {
          ++alone;
          continue;
        }
        CHECK(each.size() * 2 + 1200 >= each->truesize());
      }
      CHECK(it.pool.used_bytes() <= all);
      CHECK(alone < 9);
    }
  }
}

TEST_CASE("coalesce: a wrong checksum is not joined and stays wrong, what is before it is joined") {
  for (const bool v6 : {false, true}) {
    burst it;
    it.add_train(v6, 20);
    it.packets[12].bytes()[headers(v6) + 3] ^= std::byte{1};
    const auto sizes = it.join();
    REQUIRE(sizes.size() == 9);
    CHECK(sizes[0] == headers(v6) + 12'000);
    CHECK(it.packets[1]->offload.checksum == net::checksum_state::unverified);
  }
  // IPv4's own checksum, which the joined packet has anew.
  burst header;
  header.add_train(false, 12);
  header.packets[0].bytes()[8] ^= std::byte{1};
  CHECK(header.join().front() == 1052);
}

TEST_CASE("coalesce: who is believed already is not looked at again") {
  burst it;
  it.add_train(false, 12);
  for (const net::packet& each : it.packets) {
    each.bytes()[36] ^= std::byte{1};
    each->offload.checksum = net::checksum_state::verified;
  }
  CHECK(it.join().size() == 1);
}

TEST_CASE("coalesce: super-segments, partial checksums, shared and empty packets pass") {
  burst it;
  it.add_train(false, 12);
  it.packets[5]->offload = {net::checksum_state::partial, 0, 20, 16};
  it.packets[6]->offload = {net::checksum_state::verified, 500, 0, 0};
  it.packets[7] = {};
  CHECK(wire::coalesce(it.packets, it.pool) == 12);
  CHECK(it.packets[5]->offload.checksum == net::checksum_state::partial);
  CHECK(it.packets[6]->offload.gso_size == 500);
  // Others may look at the segments: they stay as they were.
  burst shared;
  shared.add_train(false, 12);
  const std::vector<net::packet> held = shared.packets;
  const byte_string before = copy_of(held[0].bytes());
  CHECK(shared.join().size() == 1);
  CHECK(copy_of(held[0].bytes()) == before);
}

TEST_CASE("coalesce: without memory nothing is joined and nothing is lost") {
  burst it;
  it.add_train(false, 12);
  net::packet_pool none(0);
  CHECK(wire::coalesce(it.packets, none) == 12);
  for (const net::packet& each : it.packets) CHECK(each.size() == 1052);
}

TEST_CASE("coalesce: whatever comes, the bytes of every flow stay in their order") {
  random_source random(seed());
  for (int round = 0; round < 2000; ++round) {
    CAPTURE(round);
    burst it;
    recipe flows[3];
    flows[1].v6 = true;
    flows[2].tcp.source_port = 5;
    std::size_t which = 0;
    for (std::size_t i = 0; i < 64; ++i) {
      if (random.chance(10)) which = random.below(3);
      recipe& now = flows[which];
      if (random.chance(5)) now.text = 1 + random.below(1400);
      recipe out = now;
      if (random.chance(4)) out.tcp.flags |= static_cast<std::uint8_t>(1U << random.below(8));
      if (random.chance(3)) out.seq += static_cast<std::uint32_t>(random.below(3));
      it.add(out);
      now.seq += static_cast<std::uint32_t>(now.text);
      if (random.chance(4)) {
        const auto bytes = it.packets.back().bytes();
        bytes[random.below(bytes.size())] ^= static_cast<std::byte>(1 + random.below(255));
      }
      if (random.chance(2)) it.packets.back()->end -= 1;
    }
    // Texts as they stand in packets that parse and are right, flow by flow.
    const auto texts = [](const std::vector<net::packet>& of) {
      byte_string out[2];
      for (const net::packet& each : of) {
        const auto ip = wire::parse_ip(each.bytes());
        if (!ip) continue;
        const auto payload = ip->payload(each.bytes());
        const auto tcp = wire::parse_tcp(payload);
        if (!tcp) continue;
        if (each->offload.checksum == net::checksum_state::unverified &&
            !wire::tcp_checksum_intact(ip->source, ip->destination, payload)) {
          continue;
        }
        const auto text = payload.subspan(tcp->header_bytes);
        byte_string& to = out[ip->source.is_v6() ? 1 : 0];
        to.insert(to.end(), text.begin(), text.end());
      }
      return std::pair(out[0], out[1]);
    };
    const auto before = texts(it.packets);
    it.join();
    CHECK(texts(it.packets) == before);
  }
}
