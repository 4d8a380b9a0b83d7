#include "dual_host.hpp"
#include "host_pair.hpp"
#include "runnel/tcp/engine/policy_text.hpp"

// What only a host with IPv6 addresses has: listeners of either family or both, the choice of a
// source (RFC 6724), zones (RFC 4007), flow labels (RFC 6437), and what an entry takes.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const net::endpoint near_v4{address_of("10.0.0.1"), 4000};
const net::endpoint near_v6{address_of("fd00::1"), 4000};
const net::endpoint here_v4{address_of("10.0.0.2"), 80};
const net::endpoint here_v6{address_of("fd00::2"), 80};

wire::tcp_header syn() {
  wire::tcp_header tcp;
  tcp.flags = wire::tcp_flag::syn;
  tcp.seq = 7;
  tcp.window = 1000;
  return tcp;
}

/// What the host answers to a SYN from there.
std::string answer_to(dual_host& local, const net::endpoint& from, const net::endpoint& to) {
  local.give_segment(from, to, syn());
  const std::string flags = local.next_segment().flags();
  CHECK(local.answers() == 0);
  return flags;
}

net::address source_towards(dual_host& local, std::string_view to) {
  const auto made = local.engine.connect({address_of(to), 80}, {}, 1, local.now);
  REQUIRE(made);
  const seen_packet seen = local.next_segment();
  CHECK(seen.ip.source.scope_id() == 0);
  return seen.ip.source;
}

}  // namespace

TEST_CASE("ipv6: a half-open entry takes 96 bytes at most, one in TIME-WAIT 72") {
  dual_host local;
  const memory_table held = local.engine.memory();
  CHECK(held.half_open_bytes_v6 <= 96);
  CHECK(held.time_wait_bytes_v6 <= 72);
  CHECK(held.half_open_bytes < held.half_open_bytes_v6);
  CHECK(held.time_wait_bytes < held.time_wait_bytes_v6);
}

TEST_CASE("ipv6: a listener on no address serves both families, and so does one on ::") {
  for (const net::address& on : {net::address(), net::address::any(net::family::v6)}) {
    CAPTURE(on.to_string());
    dual_host local;
    const auto listener = local.engine.listen({on, 80}, {}, 1);
    REQUIRE(listener);
    local.open(near_v4, here_v4);
    local.open(near_v6, here_v6);
    CHECK(local.engine.listener(listener.value).value.accept_queue == 2);
    const auto first = local.engine.accept(listener.value, 1);
    const auto second = local.engine.accept(listener.value, 1);
    CHECK(local.engine.snapshot(first.value).value.remote == near_v4);
    CHECK(local.engine.snapshot(second.value).value.remote == near_v6);
    CHECK(local.engine.snapshot(second.value).value.local == here_v6);
  }
}

TEST_CASE("ipv6: a listener on 0.0.0.0 serves IPv4 alone, one with IPV6_V6ONLY on :: IPv6 alone") {
  dual_host local;
  const auto v4 = net::address::any(net::family::v4);
  const auto v6 = net::address::any(net::family::v6);
  REQUIRE(local.engine.listen({v4, 80}, {}, 1));
  CHECK(answer_to(local, near_v4, here_v4) == "SA");
  CHECK(answer_to(local, near_v6, here_v6) == "RA");
  // As in Linux with net.ipv6.bindv6only = 0, :: wants both.
  CHECK(local.engine.listen({v6, 80}, {}, 1).error == error::address_in_use);
  CHECK(local.engine.listen({{}, 80}, {}, 1).error == error::address_in_use);
  listener_policy only;
  CHECK(set(only, "IPV6_V6ONLY", "1").empty());
  REQUIRE(local.engine.listen({v6, 80}, only, 2));
  CHECK(answer_to(local, near_v6, here_v6) == "SA");
  CHECK(local.engine.listen({v6, 80}, only, 1).error == error::address_in_use);
  CHECK(local.engine.listen({v4, 80}, {}, 1).error == error::address_in_use);

  REQUIRE(local.engine.listen({v6, 81}, only, 2));
  CHECK(answer_to(local, near_v4, {here_v4.address, 81}) == "RA");
  CHECK(local.engine.listen({{}, 81}, {}, 1).error == error::address_in_use);
  CHECK(local.engine.listen({v4, 81}, {}, 1));
}

TEST_CASE("ipv6: net.ipv6.bindv6only is what listeners start from") {
  dual_host local;
  CHECK(local.engine.set("net.ipv6.bindv6only", "1").empty());
  REQUIRE(local.engine.listen({net::address::any(net::family::v6), 80}, {}, 1));
  CHECK(answer_to(local, near_v6, here_v6) == "SA");
  CHECK(answer_to(local, near_v4, here_v4) == "RA");
}

TEST_CASE("ipv6: a listener on an address of its own goes before one on all") {
  dual_host local;
  const auto all = local.engine.listen({{}, 80}, {}, 1);
  const auto one = local.engine.listen(here_v6, {}, 2);
  REQUIRE(one);
  local.open(near_v6, here_v6);
  local.open(near_v4, here_v4);
  CHECK(local.engine.listener(one.value).value.accept_queue == 1);
  CHECK(local.engine.listener(all.value).value.accept_queue == 1);
}

TEST_CASE("RFC 6724: connect takes a source of the destination's scope, then the longest prefix") {
  dual_host local([](host_options& options) {
    options.addresses = {address_of("2001:db8:1::2"), address_of("fe80::2%3"),
                         address_of("2001:db8:2::2"), address_of("fd00::2")};
  });
  CHECK(source_towards(local, "fe80::1%3") == address_of("fe80::2"));
  CHECK(source_towards(local, "fe80::1") == address_of("fe80::2"));
  CHECK(source_towards(local, "2001:db8:1::9") == address_of("2001:db8:1::2"));
  CHECK(source_towards(local, "2001:db8:2::9") == address_of("2001:db8:2::2"));
  CHECK(source_towards(local, "fd00:1::9") == address_of("fd00::2"));
  CHECK(local.engine.connect(near_v4, {}, 1, local.now).error == error::family_not_supported);
  connect_options wanted;
  wanted.local = {address_of("fd00::2"), 0};
  REQUIRE(local.engine.connect({address_of("2001:db8:2::9"), 81}, wanted, 1, local.now));
  CHECK(local.next_segment().ip.source == address_of("fd00::2"));
}

TEST_CASE("RFC 4007: zones name the host's only link, and are not in what it compares") {
  dual_host local([](host_options& options) { options.addresses = {address_of("fe80::2%3")}; });
  const auto listener = local.engine.listen({address_of("fe80::2%3"), 80}, {}, 1);
  REQUIRE(listener);
  local.open({address_of("fe80::1"), 4000}, {address_of("fe80::2"), 80});
  const auto accepted = local.engine.accept(listener.value, 1);
  REQUIRE(accepted);
  const auto seen = local.engine.snapshot(accepted.value).value;
  CHECK(seen.remote == net::endpoint{address_of("fe80::1"), 4000});
  CHECK(seen.local == net::endpoint{address_of("fe80::2"), 80});
  CHECK_THROWS_AS(dual_host([](host_options& options) {
                    options.addresses = {address_of("fe80::2%3"), address_of("fe80::2%4")};
                  }),
                  std::invalid_argument);
}

TEST_CASE("RFC 6437: all packets of a flow have its label, each flow another") {
  dual_host local;
  REQUIRE(local.engine.listen({{}, 80}, {}, 1));
  std::vector<std::uint32_t> labels;
  for (std::uint16_t port = 1000; port < 1050; ++port) {
    const net::endpoint from{near_v6.address, port};
    local.give_segment(from, here_v6, syn());
    const seen_packet answer = local.next_segment();
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::ack;
    tcp.seq = 8;
    tcp.ack = answer.tcp.seq + 1;
    tcp.window = 1000;
    local.give_segment(from, here_v6, tcp, "hello");
    const seen_packet acknowledged = local.next_segment();
    CHECK(acknowledged.ip.flow_label == answer.ip.flow_label);
    tcp.flags = wire::tcp_flag::rst;
    tcp.seq += 1000;
    local.give_segment(from, here_v6, tcp);
    if (local.answers() > 0) labels.push_back(answer.ip.flow_label);
  }
  std::ranges::sort(labels);
  CHECK(labels.size() == 50);
  CHECK(std::ranges::unique(labels).size() <= 1);
  CHECK(labels.back() < 1U << 20);
}

TEST_CASE("RFC 6437: net.ipv6.auto_flowlabels = 0 leaves them out; IPv4 has none") {
  dual_host local;
  REQUIRE(local.engine.listen({{}, 80}, {}, 1));
  local.give_segment(near_v4, here_v4, syn());
  CHECK(local.next_segment().ip.flow_label == 0);
  local.give_segment(near_v6, here_v6, syn());
  CHECK(local.next_segment().ip.flow_label != 0);
  CHECK(local.engine.set("net.ipv6.auto_flowlabels", "0").empty());
  local.give_segment({near_v6.address, 4001}, here_v6, syn());
  CHECK(local.next_segment().ip.flow_label == 0);
}

TEST_CASE("ipv6: what cannot be a host's address, or its link, is refused with a sentence") {
  const auto complaint = [](std::string_view address, std::uint32_t mtu) -> std::string {
    try {
      dual_host local([&](host_options& options) {
        options.addresses = {address_of(address)};
        options.mtu = mtu;
      });
    } catch (const std::invalid_argument& refused) {
      return refused.what();
    }
    return {};
  };
  for (const char* bad : {"::", "ff02::1", "::ffff:10.0.0.1"}) {
    CHECK(complaint(bad, 1500).find("must be a unicast address") != std::string::npos);
  }
  CHECK(complaint("fd00::2", 1279).find("1280") != std::string::npos);
  CHECK(complaint("fd00::2", 1280).empty());
  CHECK(complaint("10.0.0.2", 576).empty());
}

TEST_CASE("ipv6: peers of one /64 share an allowance, as they may be one peer") {
  dual_host local([](host_options& options) { options.policy.reject_limit_per_peer = 5; });
  for (int i = 0; i < 20; ++i) {
    const auto from = address_of("fd00:0:0:7::" + std::to_string(1 + i));
    local.give_segment({from, 1}, here_v6, syn());
  }
  CHECK(local.answers() == 5);
  for (int i = 0; i < 20; ++i) {
    const auto from = address_of("fd00:0:0:" + std::to_string(10 + i) + "::1");
    local.give_segment({from, 1}, here_v6, syn());
  }
  CHECK(local.answers() == 20);
}

TEST_CASE("ipv6: walks show entries of both families and kinds, each once") {
  dual_host local;
  const auto listener = local.engine.listen({{}, 80}, {}, 1);
  for (const auto& [from, to] : {std::pair(near_v4, here_v4), std::pair(near_v6, here_v6)}) {
    local.open(from, to);
    const auto accepted = local.engine.accept(listener.value, 1);
    local.engine.close(accepted.value, local.now);
    local.engine.release(accepted.value, local.now);
    const seen_packet fin = local.next_segment();
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::fin | wire::tcp_flag::ack;
    tcp.seq = 1001;
    tcp.ack = fin.tcp.seq + 1;
    local.give_segment(from, to, tcp);
    local.give_segment({from.address, 5000}, to, syn());
    local.answers();
  }
  using row = std::pair<state, net::endpoint>;
  const auto listed = [&](std::uint32_t step) {
    std::vector<row> all;
    walk_position at;
    const auto visit = [&](const tcp::snapshot& each) {
      all.emplace_back(each.state, each.remote);
    };
    if (step == 0) local.engine.for_each_connection(visit);
    while (step != 0 && local.engine.walk_connections(at, step, visit)) {
    }
    std::ranges::sort(all);
    return all;
  };
  std::vector<row> wanted{{state::time_wait, near_v4},
                          {state::time_wait, near_v6},
                          {state::syn_received, {near_v4.address, 5000}},
                          {state::syn_received, {near_v6.address, 5000}}};
  std::ranges::sort(wanted);
  CHECK(listed(0) == wanted);
  CHECK(listed(1) == wanted);
  CHECK(listed(1000) == wanted);
  CHECK(local.engine.memory().time_wait == 2);
  CHECK(local.engine.memory().time_wait_v6 == 1);
  CHECK(local.engine.memory().half_open == 2);
  CHECK(local.engine.memory().half_open_v6 == 1);
  local.pass(300s);
  CHECK(local.engine.memory().time_wait == 0);
  CHECK(local.engine.memory().half_open == 0);
}
