#include "host_pair.hpp"
#include "raw_peer.hpp"

// What the policies of TIME-WAIT do: its bound, quiet time, tw_recycle; and what is counted.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// One more connection of the peer, from this port, that the host closes first.
void wait_from(raw_peer& peer, std::uint16_t port) {
  peer.peer_port = port;
  peer.peer_next = peer.peer_iss;
  peer.send_syn();
  peer.send({});
  peer.accept();
  peer.close();
  peer.send({});
  peer.send({flags("FA")});
  peer.engine().release(peer.socket, peer.now());
  peer.forget();
}

bool waits(raw_peer& peer, std::uint16_t port) {
  peer.peer_port = port;
  return peer.current() == state::time_wait;
}

std::function<void(host_options&)> bounded(std::uint32_t limit, tw_overflow overflow) {
  return [=](host_options& options) {
    options.policy.max_tw_buckets = limit;
    options.policy.tw_overflow = overflow;
  };
}

}  // namespace

TEST_CASE("tcp S94 TIME-WAIT: the bound is 4 Mi entries, by memory, and Linux's is a field away") {
  const stack_policy policy;
  CHECK(policy.max_tw_buckets == 4U << 20);
  CHECK(policy.tw_overflow == tw_overflow::refuse);
  stack_policy linux_bound;
  linux_bound.max_tw_buckets = 131072;
  CHECK(check(linux_bound).empty());
  // 60 s at Linux's bound.
  CHECK(linux_bound.max_tw_buckets / 60 == 2184);
}

TEST_CASE(
    "tcp S94 S113 RunnelTimeWaitEvicted: with evict_oldest the oldest goes for the newest, and "
    "is counted") {
  raw_peer peer(bounded(3, tw_overflow::evict_oldest));
  peer.listen();
  for (std::uint16_t port = 1; port <= 5; ++port) {
    wait_from(peer, port);
    peer.run_for(1s);
  }
  CHECK(peer.engine().memory().time_wait == 3);
  CHECK(peer.count().time_wait_evicted == 2);
  CHECK(peer.count().time_wait_overflow == 0);
  CHECK(!waits(peer, 1));
  CHECK(!waits(peer, 2));
  CHECK(waits(peer, 3));
  peer.peer_port = 2;
  peer.send({seq(1), flags("FA")});
  peer.expect({flags("R"), seq(2)});
  peer.peer_port = 3;
  peer.send({seq(1), flags("FA")});
  peer.expect({flags("A"), ack(2)});
}

TEST_CASE("tcp TIME-WAIT: it lasts as long as its policy says, whatever lasted longer before") {
  raw_peer peer;
  peer.listen();
  std::uint16_t port = 0;
  for (const auto length : {90s, 5s, 60s, 30s, 31s, 7s}) {
    CAPTURE(length.count());
    connection_policy policy;
    policy.time_wait = length;
    CHECK(peer.engine().set_connection_defaults(policy) == error::none);
    wait_from(peer, ++port);
    CHECK(waits(peer, port));
    peer.run_for(length - 1ms);
    CHECK(waits(peer, port));
    peer.run_for(2ms);
    CHECK(!waits(peer, port));
  }
}

TEST_CASE("tcp S94 TIME-WAIT: the oldest is the one that would leave first, whatever its length") {
  raw_peer peer(bounded(3, tw_overflow::evict_oldest));
  const std::pair<std::uint16_t, std::chrono::seconds> all[] = {{1, 90s}, {2, 20s}, {3, 60s}};
  peer.listen();
  for (const auto& [port, length] : all) {
    connection_policy policy;
    policy.time_wait = length;
    CHECK(peer.engine().set_connection_defaults(policy) == error::none);
    wait_from(peer, port);
  }
  wait_from(peer, 4);
  CHECK(!waits(peer, 2));
  CHECK(waits(peer, 1));
  wait_from(peer, 5);
  CHECK(!waits(peer, 3));
  CHECK(waits(peer, 1));
  // A repeated FIN makes an entry the youngest.
  peer.peer_port = 4;
  peer.run_for(1s);
  peer.send({seq(1), flags("FA")});
  peer.forget();
  wait_from(peer, 6);
  CHECK(waits(peer, 4));
  CHECK(!waits(peer, 5));
}

TEST_CASE("tcp S94 TIME-WAIT: a bound that is lowered is come down to, one of zero allows none") {
  raw_peer peer(bounded(8, tw_overflow::evict_oldest));
  peer.listen();
  for (std::uint16_t port = 1; port <= 8; ++port) wait_from(peer, port);
  stack_policy lower = peer.engine().policy();
  lower.max_tw_buckets = 2;
  CHECK(peer.engine().set_policy(lower) == error::none);
  for (std::uint16_t port = 11; port <= 18; ++port) wait_from(peer, port);
  CHECK(peer.engine().memory().time_wait == 2);
  lower.max_tw_buckets = 0;
  CHECK(peer.engine().set_policy(lower) == error::none);
  wait_from(peer, 21);
  CHECK(peer.engine().memory().time_wait == 2);
  CHECK(peer.count().time_wait_overflow == 1);
}

TEST_CASE(
    "tcp S113 TIME-WAIT: TW counts entries of more than 4 s, TWKilled the shorter ones, as in "
    "Linux") {
  for (const auto& [length, is_short] :
       {std::pair{60'000ms, false}, {4'001ms, false}, {4'000ms, true}, {1ms, true}}) {
    CAPTURE(length);
    raw_peer peer;
    listener_policy policy;
    policy.connection.time_wait = length;
    peer.listen(policy);
    wait_from(peer, 1);
    CHECK(peer.count().time_waited == (is_short ? 0 : 1));
    CHECK(peer.count().tw_killed == (is_short ? 1 : 0));
    // Reopening by a SYN is neither.
    peer.send({seq(5), flags("S")});
    peer.expect({flags("SA")});
    CHECK(peer.count().tw_recycled == 0);
    CHECK(peer.count().time_wait_reopened == 1);
  }
}

TEST_CASE("tcp S87 quiet time: connect holds its SYN back until it is over") {
  raw_peer peer([](host_options& options) { options.policy.quiet_time = 30s; });
  peer.mark();
  peer.connect();
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_sent);
  // A SYN-ACK for it belongs to an earlier life and is told so.
  peer.send({seq(0), ack(5), flags("SA")});
  peer.expect({flags("R"), seq(5)});
  peer.run_for(30s - 1ms);
  peer.expect_nothing();
  peer.run_for(2s);
  CHECK(peer.times() == std::vector<std::int64_t>{30'000, 31'000});
  CHECK(peer.count().syn_retrans == 1);
  peer.send({seq(0), ack(1), flags("SA")});
  peer.expect({flags("A"), seq(1), ack(1)});
}

TEST_CASE("tcp S87 quiet time: connect has all its tries afterwards") {
  raw_peer peer([](host_options& options) { options.policy.quiet_time = 120s; });
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(300s) == 120s + 131s);
  CHECK(peer.said().size() == 11);
}

TEST_CASE(
    "tcp S87 S113 RunnelQuietTimeDrops: a SYN that arrives is dropped in silence and counted") {
  raw_peer peer([](host_options& options) { options.policy.quiet_time = 60s; });
  peer.listen();
  peer.run_for(1s);
  peer.send_syn();
  peer.expect_nothing();
  CHECK(peer.count().quiet_time_drops == 1);
  CHECK(peer.engine().memory().half_open == 0);
  // Nobody's port answers as ever: RST starts no connection.
  peer.host_port = 81;
  peer.send_syn();
  peer.expect({flags("RA")});
  peer.host_port = 80;
  peer.run_for(60s);
  peer.send_syn();
  peer.expect({flags("SA")});
  CHECK(peer.count().quiet_time_drops == 1);
}

TEST_CASE("tcp S87 quiet time: nor does a SYN open simultaneously") {
  raw_peer peer([](host_options& options) { options.policy.quiet_time = 10s; });
  peer.connect();
  peer.send_syn();
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_sent);
  CHECK(peer.count().quiet_time_drops == 1);
}

TEST_CASE("tcp S87 quiet time: by default there is none, as in Linux") {
  CHECK(stack_policy().quiet_time == 0ms);
  raw_peer peer([](host_options&) {}, time_point());
  peer.connect();
  peer.expect({flags("S")});
}

namespace {

/// TIME-WAIT of a connection from this port whose peer's clock shows `tsval`.
void wait_with_stamp(raw_peer& peer, std::uint16_t port, std::uint32_t tsval) {
  peer.peer_port = port;
  peer.peer_next = peer.peer_iss;
  peer.send_syn({mss(1460), stamp(tsval)});
  peer.send({stamp(tsval)});
  peer.accept();
  peer.close();
  peer.send({stamp(tsval)});
  peer.send({flags("FA"), stamp(tsval)});
  peer.engine().release(peer.socket, peer.now());
  peer.forget();
}

}  // namespace

TEST_CASE(
    "tcp S92 S49 S113 RunnelPAWSPassive tw_recycle: UNSAFE, drops the SYN of another client "
    "behind one address") {
  for (const bool recycle : {false, true}) {
    CAPTURE(recycle);
    raw_peer peer([&](host_options& options) { options.policy.tw_recycle = recycle; });
    peer.listen();
    // One client behind the translator, whose clock is far ahead of its neighbour's.
    wait_with_stamp(peer, 1, 5'000'000);
    peer.peer_port = 2;
    peer.send_syn({mss(1460), stamp(1000)});
    if (recycle) {
      peer.expect_nothing();
      CHECK(peer.count().paws_passive == 1);
      // It comes again and again, for a minute.
      peer.run_for(58s);
      peer.send_syn({mss(1460), stamp(59'000)});
      peer.expect_nothing();
      peer.run_for(3s);
      peer.send_syn({mss(1460), stamp(62'000)});
    }
    peer.expect({flags("SA")});
  }
}

TEST_CASE("tcp S92 tw_recycle: who has no timestamps, a newer one, or another address is let in") {
  raw_peer peer([](host_options& options) { options.policy.tw_recycle = true; });
  peer.listen();
  wait_with_stamp(peer, 1, 5000);
  std::uint16_t port = 10;
  for (const std::uint32_t tsval : {4999U, 5000U, 6000U}) {
    peer.peer_port = port++;
    peer.send_syn({mss(1460), stamp(tsval)});
    peer.expect({flags("SA")});
  }
  peer.peer_port = port++;
  peer.send_syn({mss(1460)});
  peer.expect({flags("SA")});
  peer.peer_port = port;
  peer.send_syn({mss(1460), stamp(4998)});
  peer.expect_nothing();
}

TEST_CASE("tcp S92 tw_recycle: what is remembered of hosts is bounded") {
  host_pair pair(1, {}, [](int side, host_options& options) {
    if (side == host_pair::server) options.policy.tw_recycle = true;
    if (side == host_pair::server) return;
    options.addresses.clear();
    for (std::uint32_t i = 0; i < 6000; ++i) {
      options.addresses.push_back(test_address(0x0a100000 + i));
    }
  });
  pair.keep_trace = false;
  listener_policy policy;
  policy.connection.time_wait = 3'600'000ms;
  const auto listener = pair[1].listen({{}, 80}, policy, 1).value;
  for (const net::address& from : pair[0].addresses()) {
    connect_options options;
    options.local.address = from;
    const auto made = pair[0].connect({pair.address(1), 80}, options, 2, pair.now());
    REQUIRE(made);
    pair.drive_for(5ms);
    const auto taken = pair[1].accept(listener, 3);
    REQUIRE(taken);
    pair[1].release(taken.value, pair.now());
    pair.drive_for(5ms);
    pair[0].release(made.value, pair.now());
    pair.drive_for(5ms);
  }
  CHECK(pair[1].memory().time_wait == 6000);
  CHECK(pair[1].counters().paws_passive == 0);
}
