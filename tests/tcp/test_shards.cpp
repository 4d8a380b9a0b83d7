#include <algorithm>
#include <set>

#include "packets.hpp"
#include "runnel/wire/icmp.hpp"

// Several hosts that are one together: whose a connection is, which ports each chooses, and that
// nobody answers what is another's.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto ours = test_address(10, 0, 0, 2);
const auto theirs = test_address(10, 0, 0, 1);

/// Shards of one host, driven by hand. Packets go to the shard that the test names, strays to whom
/// they are for.
struct shard_set {
  explicit shard_set(std::uint32_t count, const std::function<void(host_options&)>& adjust = {}) {
    for (std::uint32_t i = 0; i < count; ++i) {
      host_options options;
      options.addresses = {ours, test_address(10, 0, 0, 3)};
      options.keys = keys_from(7);
      options.mtu = test_mtu(1500);
      options.checksum_offload_rx = true;
      options.shard = {i, count};
      if (adjust) adjust(options);
      shards.emplace_back(std::move(options));
    }
  }

  /// What each shard says after this, by shard.
  std::vector<std::vector<seen_packet>> give(std::uint32_t to, net::packet what) {
    shards[to].on_packet(std::move(what), now);
    return settle();
  }
  std::vector<std::vector<seen_packet>> settle() {
    for (bool moved = true; moved;) {
      moved = false;
      for (host& each : shards) {
        stray found;
        while (each.poll_stray(found)) {
          moved = true;
          ++hops;
          shards[found.shard].on_stray(pool.copy_of(found.packet.bytes()), now);
        }
      }
    }
    std::vector<std::vector<seen_packet>> said(shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
      while (const net::tx_packet* out = shards[i].poll_transmit(now)) {
        said[i].push_back(look_at(flatten(pool, *out).bytes(), now, 0, false));
      }
    }
    return said;
  }
  net::packet packet(std::uint16_t from, std::uint16_t to, std::string_view flags,
                     std::uint32_t seq = 1000, std::uint32_t ack = 0) {
    wire::tcp_header tcp;
    tcp.seq = seq;
    tcp.ack = ack;
    tcp.flags = flags_from(flags);
    tcp.window = 65535;
    return make_packet(pool, {theirs, from}, {ours, to}, tcp);
  }
  std::uint32_t owner(std::uint16_t from, std::uint16_t to) const {
    return shards[0].owner_of({ours, to}, {theirs, from});
  }
  void listen(std::uint16_t port) {
    for (host& each : shards) listeners.push_back(each.listen({{}, port}, {}, 1).value);
  }
  std::uint64_t sum(std::uint64_t counters::*member) const {
    std::uint64_t out = 0;
    for (const host& each : shards) out += each.counters().*member;
    return out;
  }

  net::packet_pool pool;
  std::vector<host> shards;
  std::vector<socket_id> listeners;
  std::size_t hops = 0;
  time_point now = time_point(1000s);
};

/// The pieces of a packet, the first of which has 24 bytes of what the packet carries.
std::vector<net::packet> in_pieces(net::packet_pool& pool, const net::packet& whole) {
  const auto ip = *wire::parse_ip(whole.bytes());
  const auto payload = ip.payload(whole.bytes());
  std::vector<net::packet> out;
  for (std::size_t offset = 0; offset < payload.size(); offset += 24) {
    wire::ip_header header = ip;
    header.id = 4711;
    header.dont_fragment = false;
    header.fragment_offset = static_cast<std::uint16_t>(offset);
    header.more_fragments = offset + 24 < payload.size();
    const auto piece = payload.subspan(offset, std::min<std::size_t>(24, payload.size() - offset));
    const std::size_t bytes = wire::ip_header_bytes(header);
    header.total_length = static_cast<std::uint32_t>(bytes + piece.size());
    net::packet made = pool.allocate(header.total_length);
    made.resize(header.total_length);
    wire::emit_ip(made.bytes(), header);
    std::ranges::copy(piece, made.bytes().subspan(bytes).begin());
    out.push_back(std::move(made));
  }
  return out;
}

/// An ICMP error of a router about a segment that we are said to have sent.
net::packet complaint(net::packet_pool& pool, const net::packet& about) {
  wire::icmp_message message;
  const bool v6 = speaks_v6();
  message.kind = wire::icmp_kind::unreachable;
  message.code = v6 ? wire::unreachable_code_v6::port : wire::unreachable_code::port;
  message.body = wire::icmp_quote(about.bytes());
  wire::ip_header ip;
  ip.source = test_address(10, 0, 0, 99);
  ip.destination = ours;
  ip.protocol = static_cast<std::uint8_t>(wire::icmp_protocol(ours.family()));
  const std::size_t header = wire::ip_header_bytes(ip);
  ip.total_length = static_cast<std::uint32_t>(header + wire::icmp_bytes(message));
  net::packet out = pool.allocate(ip.total_length);
  out.resize(ip.total_length);
  wire::emit_ip(out.bytes(), ip);
  wire::emit_icmp(out.bytes().subspan(header), ip.source, ip.destination, message);
  return out;
}

}  // namespace

TEST_CASE("tcp shards: every shard says the same of whose a connection is, and all have some") {
  for (const std::uint32_t count : {1U, 2U, 3U, 7U, 64U, 256U}) {
    CAPTURE(count);
    const shard_set all(count);
    std::vector<std::size_t> passive(count);
    std::vector<std::size_t> active(count);
    for (std::uint16_t i = 0; i < 20'000; ++i) {
      const auto from = static_cast<std::uint16_t>(1024 + i);
      const std::uint32_t owner = all.owner(from, 80);
      ++passive[owner];
      if (i % 500 == 0) {
        for (const host& each : all.shards) {
          CHECK(each.owner_of({ours, 80}, {theirs, from}) == owner);
        }
      }
      const auto local = static_cast<std::uint16_t>(32768 + i);
      const std::uint32_t of_port = all.owner(443, local);
      CHECK(of_port == local % count);
      ++active[of_port];
    }
    const std::size_t even = 20'000 / count;
    CHECK(*std::ranges::min_element(passive) > even / 4);
    CHECK(*std::ranges::max_element(passive) < even * 2);
    CHECK(*std::ranges::max_element(active) <= even + 1);
  }
}

TEST_CASE("tcp shards: half of the SYNs of one link are each shard's, of two") {
  shard_set all(2);
  all.listen(80);
  for (std::uint16_t from = 1024; from < 2048; ++from) {
    all.give(0, all.packet(from, 80, "S"));
  }
  for (host& each : all.shards) CHECK(each.memory().half_open > 400);
  CHECK(all.sum(&counters::out_rsts) == 0);
}

TEST_CASE(
    "tcp shards: connect takes every port of the range once over all shards, and no other's") {
  for (const std::uint32_t count : {2U, 3U}) {
    CAPTURE(count);
    shard_set all(count, [](host_options& options) {
      options.policy.local_port_first = 5001;
      options.policy.local_port_last = 5600;
    });
    std::set<std::uint16_t> seen;
    for (std::uint32_t i = 0; i < count; ++i) {
      host& engine = all.shards[i];
      std::uint64_t worst = 0;
      for (std::uint32_t n = 0; n < 600 / count; ++n) {
        const std::uint64_t before = engine.counters().local_port_probes;
        const auto made = engine.connect({theirs, 80}, {}, 1, all.now);
        REQUIRE(made);
        const std::uint16_t port = engine.snapshot(made.value).value.local.port;
        CHECK(port % count == i);
        CHECK(seen.insert(port).second);
        worst = std::max(worst, engine.counters().local_port_probes - before);
      }
      CHECK(engine.connect({theirs, 80}, {}, 1, all.now).error == error::address_not_available);
      // A map, not a walk, finds the last ones.
      CHECK(worst < 64);
    }
    CHECK(seen.size() == 600);
    CHECK(*seen.begin() == 5001);
    CHECK(*seen.rbegin() == 5600);
  }
}

TEST_CASE("tcp shards: a range that is changed keeps to the shard, and to where all began") {
  shard_set all(4, [](host_options& options) {
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5999;
  });
  host& engine = all.shards[3];
  stack_policy wider = engine.policy();
  wider.local_port_first = 4000;
  wider.local_port_last = 5006;
  CHECK(engine.set_policy(wider) == error::none);
  const auto made = engine.connect({theirs, 80}, {}, 1, all.now);
  REQUIRE(made);
  CHECK(engine.snapshot(made.value).value.local.port == 5003);
  CHECK(engine.connect({theirs, 80}, {}, 1, all.now).error == error::address_not_available);
  wider.local_port_first = 6000;
  wider.local_port_last = 7000;
  CHECK(engine.set_policy(wider) == error::none);
  CHECK(engine.connect({theirs, 80}, {}, 1, all.now).error == error::address_not_available);
  CHECK(engine.listen({{}, 0}, {}, 1).error == error::address_not_available);
}

TEST_CASE("tcp shards: a named port must be the shard's, and a listener's free one is") {
  shard_set all(2);
  connect_options named;
  named.local.port = 40'001;
  CHECK(all.shards[0].connect({theirs, 80}, named, 1, all.now).error ==
        error::address_not_available);
  CHECK(all.shards[1].connect({theirs, 80}, named, 1, all.now));
  named.local.port = 700;
  const std::uint32_t owner = all.owner(80, 700);
  CHECK(all.shards[owner].connect({theirs, 80}, named, 1, all.now));
  CHECK(all.shards[1 - owner].connect({theirs, 80}, named, 1, all.now).error ==
        error::address_not_available);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const auto made = all.shards[i].listen({{}, 0}, {}, 1);
    REQUIRE(made);
    CHECK(all.shards[i].listener(made.value).value.local.port % 2 == i);
  }
}

TEST_CASE(
    "S113 RunnelShardHanded, RunnelShardTaken: a SYN by the wrong link is answered by its owner "
    "alone") {
  shard_set all(3);
  all.listen(80);
  std::size_t strays = 0;
  for (std::uint16_t from = 2000; from < 2100; ++from) {
    const std::uint32_t owner = all.owner(from, 80);
    const std::uint32_t by = from % 3U;
    strays += owner == by ? 0 : 1;
    const auto said = all.give(by, all.packet(from, 80, "S"));
    for (std::uint32_t i = 0; i < 3; ++i) CHECK(said[i].size() == (i == owner ? 1 : 0));
    const auto& synack = said[owner].at(0);
    CHECK(synack.flags() == "SA");
    // The rest by another wrong one.
    all.give((owner + 1) % 3, all.packet(from, 80, "A", 1001, synack.tcp.seq + 1));
  }
  CHECK(strays > 40);
  CHECK(all.hops == strays + 100);
  CHECK(all.sum(&counters::shard_handed) == all.hops);
  CHECK(all.sum(&counters::shard_taken) == all.hops);
  CHECK(all.sum(&counters::shard_dropped) == 0);
  CHECK(all.sum(&counters::passive_opens) == 100);
  CHECK(all.sum(&counters::out_rsts) == 0);
  // Each packet is counted once, where it ended.
  CHECK(all.sum(&counters::in_segs) == 200);
  CHECK(all.sum(speaks_v6() ? &counters::ip6_in_receives : &counters::ip_in_receives) == 200);
}

TEST_CASE("tcp shards: what an active connection is sent comes to it by any link") {
  shard_set all(2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const auto made = all.shards[i].connect({theirs, 80}, {}, 1, all.now);
    REQUIRE(made);
    const auto said = all.settle();
    const auto& syn = said[i].at(0).tcp;
    const auto answer = all.give(1 - i, all.packet(80, syn.source_port, "SA", 500, syn.seq + 1));
    CHECK(answer[1 - i].empty());
    CHECK(answer[i].at(0).flags() == "A");
    CHECK(all.shards[i].snapshot(made.value).value.state == state::established);
    // A port is asked for by who has none; its owner refuses, whoever hears it first.
    const auto refused = all.give(1 - i, all.packet(80, syn.source_port + 2, "A", 1, 1));
    CHECK(refused[1 - i].empty());
    CHECK(refused[i].at(0).flags() == "R");
  }
  CHECK(all.hops == 4);
}

TEST_CASE(
    "tcp shards: a packet that comes as a stray and is not for here is lost, and goes no further") {
  shard_set all(2);
  all.listen(80);
  std::uint16_t from = 2000;
  while (all.owner(from, 80) != 1) ++from;
  all.shards[0].on_stray(all.packet(from, 80, "S"), all.now);
  CHECK(all.settle()[0].empty());
  CHECK(all.hops == 0);
  CHECK(all.sum(&counters::shard_dropped) == 1);
}

TEST_CASE(
    "S113 RunnelShardDropped: more strays than a burst are lost and counted, as by a network "
    "card") {
  shard_set all(2);
  std::uint16_t from = 0;
  for (int given = 0; given < 300; ++from) {
    if (all.owner(from, 80) == 0) continue;
    all.shards[0].on_packet(all.packet(from, 80, "S"), all.now);
    ++given;
  }
  stray found;
  std::size_t got = 0;
  while (all.shards[0].poll_stray(found)) ++got;
  CHECK(got == 256);
  CHECK(all.shards[0].counters().shard_handed == 256);
  CHECK(all.shards[0].counters().shard_dropped == 44);
  all.shards[0].on_stray_lost();
  CHECK(all.shards[0].counters().shard_handed == 255);
  CHECK(all.shards[0].counters().shard_dropped == 45);
  found = {};
}

namespace {

/// A connection that the client has closed first and that is over at both ends, by its owner's link
/// all the while; the server has no TIME-WAIT of it.
void run_to_last_ack(shard_set& all, std::uint16_t from, std::uint32_t owner) {
  const auto opened = all.give(owner, all.packet(from, 80, "S"));
  const std::uint32_t next = opened[owner].at(0).tcp.seq + 1;
  all.give(owner, all.packet(from, 80, "A", 1001, next));
  all.give(owner, all.packet(from, 80, "FA", 1001, next));
  host& mine = all.shards[owner];
  const auto accepted = mine.accept(all.listeners[owner], 2);
  REQUIRE(accepted);
  REQUIRE(mine.snapshot(accepted.value).value.state == state::close_wait);
  mine.release(accepted.value, all.now);
  CHECK(all.settle()[owner].at(0).flags() == "FA");
  all.give(owner, all.packet(from, 80, "A", 1002, next + 1));
  REQUIRE(mine.memory().connections == 0);
  REQUIRE(mine.memory().time_wait == 0);
}

}  // namespace

TEST_CASE(
    "S113 RunnelShardOvertaken: what was handed over while its connection ended is not answered") {
  shard_set all(2);
  all.listen(80);
  const std::uint16_t from = 2000;
  const std::uint32_t owner = all.owner(from, 80);
  run_to_last_ack(all, from, owner);
  const auto late = [&](std::uint32_t by) {
    return all.give(by, all.packet(from, 80, "A", 1001, 1))[owner].size();
  };
  all.now += 199ms;
  CHECK(late(1 - owner) == 0);
  CHECK(all.sum(&counters::shard_overtaken) == 1);
  // A late duplicate by its own link is refused, as on a host of one shard.
  CHECK(late(owner) == 1);
  CHECK(all.sum(&counters::out_rsts) == 1);
  // Whoever still sends is told in the end, by whatever link.
  all.now += 1ms;
  CHECK(late(1 - owner) == 1);
  CHECK(all.sum(&counters::out_rsts) == 2);
  CHECK(all.sum(&counters::shard_overtaken) == 1);
}

TEST_CASE("tcp shards: where a connection has just ended others are refused, and it begins anew") {
  shard_set all(2);
  all.listen(80);
  const std::uint16_t from = 2000;
  const std::uint32_t owner = all.owner(from, 80);
  run_to_last_ack(all, from, owner);
  std::uint16_t other = from + 1;
  while (all.owner(other, 80) != owner) ++other;
  const auto refused = all.give(1 - owner, all.packet(other, 80, "A", 1001, 1));
  CHECK(refused[owner].at(0).flags() == "R");
  const auto anew = all.give(1 - owner, all.packet(from, 80, "S", 9000));
  CHECK(anew[owner].at(0).flags() == "SA");
}

TEST_CASE("tcp shards: a cookie that comes back is taken where a connection has just ended") {
  shard_set all(2);
  for (host& each : all.shards) {
    const listener_policy policy{.syncookies = syncookies::always};
    all.listeners.push_back(each.listen({{}, 80}, policy, 1).value);
  }
  const std::uint16_t from = 2000;
  const std::uint32_t owner = all.owner(from, 80);
  run_to_last_ack(all, from, owner);
  const auto cookie = all.give(owner, all.packet(from, 80, "S", 9000));
  const std::uint32_t next = cookie[owner].at(0).tcp.seq + 1;
  all.give(1 - owner, all.packet(from, 80, "A", 9001, next));
  CHECK(all.sum(&counters::passive_opens) == 2);
  CHECK(all.sum(&counters::shard_overtaken) == 0);
}

TEST_CASE("tcp: a late duplicate after LAST-ACK is refused by a host of one shard") {
  shard_set alone(1);
  alone.listen(80);
  run_to_last_ack(alone, 2000, 0);
  const auto refused = alone.give(0, alone.packet(2000, 80, "A", 1001, 1));
  CHECK(refused[0].at(0).flags() == "R");
}

TEST_CASE("tcp shards: an ICMP error goes to who has the connection that it is about") {
  shard_set all(2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    const auto made = all.shards[i].connect({theirs, 80}, {}, 1, all.now);
    REQUIRE(made);
    const net::tx_packet* out = all.shards[i].poll_transmit(all.now);
    REQUIRE(out != nullptr);
    const net::packet syn = flatten(all.pool, *out);
    const auto said = all.give(1 - i, complaint(all.pool, syn));
    CHECK(said[0].empty());
    CHECK(said[1].empty());
    CHECK(all.shards[i].snapshot(made.value).value.ended == end_reason::refused);
  }
  CHECK(all.hops == 2);
  CHECK(all.sum(speaks_v6() ? &counters::icmp6_in_msgs : &counters::icmp_in_msgs) == 2);
  CHECK(all.sum(speaks_v6() ? &counters::icmp6_in_errors : &counters::icmp_in_errors) == 0);
}

TEST_CASE("tcp shards: pieces of a packet meet at one shard, and the whole goes on to its owner") {
  shard_set all(2);
  all.listen(80);
  std::size_t answered = 0;
  for (std::uint16_t from = 2000; from < 2040; ++from) {
    wire::tcp_header syn;
    syn.seq = 1;
    syn.flags = flags_from("S");
    syn.window = 65535;
    const std::string text(30, 'x');
    const net::packet whole =
        make_packet(all.pool, {theirs, from}, {ours, 80}, syn, bytes_of(text));
    std::uint32_t by = from % 2U;
    std::vector<std::vector<seen_packet>> said;
    for (net::packet& piece : in_pieces(all.pool, whole)) {
      said = all.give(by, std::move(piece));
      by = 1 - by;
    }
    const std::uint32_t owner = all.owner(from, 80);
    CHECK(said[1 - owner].empty());
    answered += said[owner].size();
  }
  CHECK(answered == 40);
  CHECK(all.sum(&counters::shard_dropped) == 0);
  CHECK(all.sum(speaks_v6() ? &counters::reasm6_oks : &counters::reasm_oks) == 40);
}

TEST_CASE("tcp shards: bounds for the whole host are divided") {
  shard_set all(4, [](host_options& options) {
    options.policy.max_tw_buckets = 8;
    options.policy.reject_limit = 40;
    options.policy.reject_limit_per_peer = 2;
    options.policy.memory_limit = std::size_t{4} << 20;
  });
  host& engine = all.shards[0];
  CHECK(engine.share_of(8) == 2);
  CHECK(engine.share_of(2) == 1);
  CHECK(engine.share_of(0) == 0);
  // The policy itself is the host's.
  CHECK(engine.policy().max_tw_buckets == 8);
  std::size_t resets = 0;
  for (std::uint32_t i = 0; i < 200; ++i) {
    const net::endpoint from{test_address(10, 1, 0, static_cast<std::uint8_t>(i)), 9};
    wire::tcp_header tcp;
    tcp.flags = flags_from("A");
    for (int repeat = 0; repeat < 2; ++repeat) {
      for (const auto& said : all.give(0, make_packet(all.pool, from, {ours, 80}, tcp))) {
        resets += said.size();
      }
    }
  }
  CHECK(resets == 40);
}

TEST_CASE("tcp shards: a place that cannot be is refused with a sentence") {
  for (const shard_options bad :
       {shard_options{0, 0}, shard_options{2, 2}, shard_options{0, 257}}) {
    CHECK_THROWS_WITH_AS(shard_set(1, [&](host_options& o) { o.shard = bad; }),
                         doctest::Contains("one of 1 to 256 shards"), std::invalid_argument);
  }
}
