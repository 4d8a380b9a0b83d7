#include "host_pair.hpp"
#include "raw_peer.hpp"

// TIME-WAIT: what Linux was measured to answer there (S74, S84, S94, S95, S125), and how long it
// lasts.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// TIME-WAIT of a connection with timestamps; the peer's last value was 1000.
void reach_time_wait_with_stamps(raw_peer& peer) {
  peer.establish({}, {mss(1460), stamp(1000)}, {stamp(1000)});
  peer.shutdown();
  peer.send({stamp(1000)});
  peer.send({flags("FA"), stamp(1000)});
  CHECK(peer.current() == state::time_wait);
  peer.forget();
}

/// How long TIME-WAIT lasts from now.
std::chrono::milliseconds time_left(raw_peer& peer) {
  peer.mark();
  return peer.run_until_over(200s);
}

}  // namespace

TEST_CASE("tcp S78 TIME-WAIT: lasts 60 s from the last ACK") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  CHECK(time_left(peer) == 60s);
  peer.expect_nothing();
  CHECK(peer.count().time_waited == 1);
}

TEST_CASE("tcp TIME-WAIT: its length is the connection's policy, and zero means none") {
  raw_peer peer;
  listener_policy policy;
  SUBCASE("short") {
    policy.connection.time_wait = 1500ms;
    peer.establish(policy);
    peer.shutdown();
    peer.send({});
    peer.mark();
    peer.send({flags("FA")});
    CHECK(peer.current() == state::time_wait);
    CHECK(peer.run_until_over(100s) == 1500ms);
  }
  SUBCASE("none") {
    policy.connection.time_wait = 0ms;
    peer.establish(policy);
    peer.shutdown();
    peer.send({});
    peer.forget();
    peer.send({flags("FA")});
    peer.expect({flags("A"), ack(2)});
    CHECK(peer.current() == state::closed);
    CHECK(peer.count().time_wait_overflow == 0);
  }
}

TEST_CASE("tcp TIME-WAIT: many different lengths are never cut short") {
  raw_peer peer;
  struct waiting {
    std::uint16_t port;
    time_point until;
  };
  std::vector<waiting> all;
  // Longer and longer: there are more lengths than queues, and the last ones are the longest.
  for (std::uint16_t i = 0; i < 40; ++i) {
    listener_policy policy;
    policy.connection.time_wait = std::chrono::milliseconds(1000 + 500 * i);
    peer.peer_port = static_cast<std::uint16_t>(1000 + i);
    peer.peer_next = peer.peer_iss;
    peer.establish(policy);
    peer.close();
    peer.send({});
    peer.send({flags("FA")});
    all.push_back({peer.peer_port, peer.now() + *policy.connection.time_wait});
    peer.engine().release(peer.socket, peer.now());
    peer.engine().close_listener(peer.listener, peer.now());
  }
  CHECK(peer.engine().memory().time_wait == 40);
  while (peer.engine().poll_timeout() != time_point::max()) {
    peer.run_for(peer.engine().poll_timeout() - peer.now());
    std::vector<std::uint16_t> left;
    peer.engine().for_each_connection(
        [&](const snapshot& each) { left.push_back(each.remote.port); });
    for (const waiting& each : all) {
      const bool there = std::find(left.begin(), left.end(), each.port) != left.end();
      CHECK((there || each.until <= peer.now()));
    }
  }
}

TEST_CASE("tcp S74 TIME-WAIT: the repeated FIN draws the ACK again and starts the 60 s anew") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  for (const duration wait : {200ms, 400ms, 800ms, 59'000ms}) {
    peer.run_for(wait);
    peer.send({seq(1), flags("FA")});
    peer.expect({flags("A"), seq(2), ack(2), length(0)});
    peer.expect_nothing();
  }
  CHECK(time_left(peer) == 60s);
}

TEST_CASE("tcp S74 close: a lost last ACK costs one repeated FIN") {
  connected_pair pair;
  pair.establish();
  pair.close(0);
  pair.drive_for(10ms);
  int acks = 0;
  pair.filter = [&](const seen_packet& seen) { return seen.from == 1 || ++acks > 1; };
  pair.close(1);
  pair.drive_for(100ms);
  CHECK(pair.server_state() == state::last_ack);
  pair.drive_for(1s);
  CHECK(pair.look(1).ended == end_reason::clean);
  CHECK(pair[0].memory().time_wait == 1);
}

TEST_CASE("tcp S125 TIME-WAIT: text, an old ACK and a bad FIN draw ACK and start the timer anew") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.run_for(30s);
  SUBCASE("old text") {
    peer.send({seq(1), text("old")});
  }
  SUBCASE("new text") {
    peer.send({text("new")});
  }
  SUBCASE("an old ACK") {
    peer.send({seq(1), ack(1)});
  }
  SUBCASE("a FIN with another number") {
    peer.send({seq(50), flags("FA")});
  }
  peer.expect({flags("A"), seq(2), ack(2)});
  peer.expect_nothing();
  CHECK(time_left(peer) == 60s);
}

TEST_CASE(
    "tcp S125 TIME-WAIT: bare ACKs are answered twice a second, so two cannot feed each other") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.mark();
  for (int i = 0; i < 11; ++i) {
    peer.send({seq(1), ack(1)});
    peer.run_for(100ms);
  }
  CHECK(peer.said().size() <= 3);
  CHECK(peer.count().ack_skipped_time_wait >= 8);
}

TEST_CASE("tcp TIME-WAIT: two hosts in it come to rest") {
  connected_pair pair;
  pair.establish();
  pair.close(0);
  pair.close(1);
  pair.drive_for(10ms);
  CHECK(pair[0].memory().time_wait == 1);
  CHECK(pair[1].memory().time_wait == 1);
  const auto& from = pair.trace.front();
  wire::tcp_header stray;
  stray.seq = from.tcp.seq - 1000;
  stray.ack = from.tcp.ack - 1000;
  stray.flags = wire::tcp_flag::ack;
  pair.clear();
  pair.inject(1, {pair.address(0), from.tcp.source_port}, {pair.address(1), 80}, stray);
  pair.drive_for(30s);
  CHECK(pair.trace.size() <= 4);
}

TEST_CASE("tcp TIME-WAIT: the exact bare ACK says nothing and starts the timer anew") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.run_for(30s);
  peer.send({});
  peer.expect_nothing();
  CHECK(time_left(peer) == 60s);
}

TEST_CASE("tcp S95 TIME-WAIT: an exact RST ends it, unless rfc1337") {
  for (const bool rfc1337 : {false, true}) {
    raw_peer peer([&](host_options& options) { options.policy.rfc1337 = rfc1337; });
    bring_to(peer, state::time_wait);
    peer.send({seq(1), flags("R")});
    peer.send({seq(3), flags("R")});
    peer.send({seq(40'000), flags("R")});
    CHECK(peer.current() == state::time_wait);
    peer.send({flags("R")});
    peer.expect_nothing();
    CHECK(peer.current() == (rfc1337 ? state::time_wait : state::closed));
  }
}

TEST_CASE("tcp S84 TIME-WAIT: SYN with a later number opens again, far from the old numbers") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  const std::uint32_t old_next = peer.host_next;
  peer.send({seq(3), flags("S"), mss(1460)});
  peer.expect({flags("SA")});
  CHECK(peer.host_iss == old_next + 65'537);
  CHECK(peer.count().time_wait_reopened == 1);
  CHECK(peer.engine().memory().time_wait == 0);
  CHECK(peer.current() == state::syn_received);
}

TEST_CASE("tcp S84 TIME-WAIT: SYN with an older number but a newer timestamp opens again") {
  raw_peer peer;
  reach_time_wait_with_stamps(peer);
  const std::uint32_t old_next = peer.host_next;
  peer.send({seq(0U - 5000U), flags("S"), mss(1460), stamp(1001)});
  peer.expect({flags("SA"), echo(1001)});
  CHECK(peer.host_iss == old_next + 65'537);
}

TEST_CASE("tcp S84 S113 PAWSTimewait: SYN with an older timestamp draws ACK, whatever its number") {
  raw_peer peer;
  reach_time_wait_with_stamps(peer);
  for (const std::uint32_t number : {0U - 5000U, 5000U}) {
    peer.run_for(1s);
    peer.send({seq(number), flags("S"), mss(1460), stamp(999)});
    peer.expect({flags("A"), seq(2), ack(2), echo(1000)});
  }
  CHECK(peer.count().paws_time_wait == 2);
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp S84 TIME-WAIT: SYN with an older number and no timestamp draws ACK") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.run_for(20s);
  peer.send({seq(0U - 5000U), flags("S"), mss(1460)});
  peer.expect({flags("A"), seq(2), ack(2)});
  CHECK(peer.current() == state::time_wait);
  // It may be new, so it does not keep the old connection alive.
  CHECK(time_left(peer) == 40s);
}

TEST_CASE("tcp S84 TIME-WAIT: SYN for a port where nobody listens any more draws ACK") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.engine().close_listener(peer.listener, peer.now());
  peer.send({seq(3), flags("S")});
  peer.expect({flags("A"), seq(2), ack(2)});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp TIME-WAIT: SYN-ACK does not open again") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.send({seq(3), flags("SA")});
  peer.expect({flags("A"), seq(2), ack(2)});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp TIME-WAIT: PAWS answers old timestamps without believing them") {
  raw_peer peer;
  reach_time_wait_with_stamps(peer);
  peer.send({seq(1), flags("FA"), stamp(900)});
  peer.expect({flags("A"), ack(2), echo(1000)});
  peer.send({stamp(1200)});
  peer.send({seq(1), flags("FA"), stamp(1201)});
  peer.expect({flags("A"), echo(1200)});
}

TEST_CASE("tcp S85 TIME-WAIT: a new connection over the same ports works at once") {
  connected_pair pair;
  connect_options options;
  options.local.port = 5000;
  pair.establish(options);
  pair.close(1);
  pair.drive_for(10ms);
  pair.close(0);
  pair.drive_for(10ms);
  CHECK(pair[1].memory().time_wait == 1);
  pair.release(0);
  pair.release(1);
  pair.connect(options);
  pair.drive_for(10ms);
  pair.accept();
  CHECK(pair.client_state() == state::established);
  CHECK(pair.send(0, "again") == 5);
  pair.drive_for(10ms);
  CHECK(pair.receive(1) == "again");
  CHECK(pair[1].counters().time_wait_reopened == 1);
}

TEST_CASE("tcp S94 TIME-WAIT: beyond max_tw_buckets there is none, and a repeated FIN draws RST") {
  raw_peer peer([](host_options& options) { options.policy.max_tw_buckets = 1; });
  peer.listen();
  for (std::uint16_t port = 1; port <= 2; ++port) {
    peer.peer_port = port;
    peer.send_syn();
    peer.send({});
    peer.accept();
    peer.close();
    peer.send({});
    peer.forget();
    peer.send({flags("FA")});
    peer.expect({flags("A"), ack(2)});
    CHECK(peer.look().ended == end_reason::clean);
    peer.engine().release(peer.socket, peer.now());
  }
  CHECK(peer.engine().memory().time_wait == 1);
  CHECK(peer.count().time_wait_overflow == 1);
  peer.send({seq(1), flags("FA")});
  peer.expect({flags("R"), seq(2)});
}

TEST_CASE("tcp TIME-WAIT: unread bytes can still be read, and the entry holds no buffer") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_2);
  peer.send({text("late news"), flags("FA")});
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.read() == "late news");
  CHECK(peer.engine().memory().buffer_bytes == 0);
  CHECK(peer.read_error() == error::none);
}

TEST_CASE("tcp TIME-WAIT: a thousand entries leave in the order they came") {
  raw_peer peer;
  peer.listen();
  for (std::uint16_t port = 1; port <= 1000; ++port) {
    peer.peer_port = port;
    peer.send_syn();
    peer.send({});
    peer.accept();
    peer.close();
    peer.send({});
    peer.send({flags("FA")});
    peer.forget();
    peer.engine().release(peer.socket, peer.now());
    peer.run_for(10ms);
  }
  CHECK(peer.engine().memory().time_wait == 1000);
  CHECK(peer.engine().memory().connections == 0);
  peer.run_for(50s - 5ms);
  CHECK(peer.engine().memory().time_wait == 1000);
  peer.run_for(5s);
  CHECK(peer.engine().memory().time_wait == 500);
  peer.run_for(5s);
  CHECK(peer.engine().memory().time_wait == 0);
}
