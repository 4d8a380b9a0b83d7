#include "host_pair.hpp"
#include "raw_peer.hpp"

// The accept queue, and the SYN queue under pressure. How long the SYN queue is, is in
// test_queues_sizes.cpp.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// One client of many towards the fixture's listener.
void handshake_from(raw_peer& peer, std::uint16_t port) {
  peer.peer_port = port;
  peer.send_syn();
  if (peer.said().empty()) return;
  peer.send({from_port(port)});
  peer.forget();
}

}  // namespace

TEST_CASE("tcp S24 accept queue: backlog 0, 1 and 5 hold 1, 2 and 6") {
  for (const std::uint32_t backlog : {0U, 1U, 5U}) {
    raw_peer peer;
    peer.listen({.backlog = backlog});
    for (std::uint16_t port = 1; port <= 20; ++port) handshake_from(peer, port);
    const listener_snapshot seen = peer.engine().listener(peer.listener).value;
    CHECK(seen.accept_queue == backlog + 1);
    CHECK(seen.accept_queue_peak == backlog + 1);
    CHECK(seen.backlog == backlog);
  }
}

TEST_CASE("tcp S24 accept queue: somaxconn bounds the backlog") {
  raw_peer peer([](host_options& options) { options.policy.somaxconn = 3; });
  peer.listen({.backlog = 100});
  for (std::uint16_t port = 1; port <= 20; ++port) handshake_from(peer, port);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 4);
  CHECK(peer.engine().listener(peer.listener).value.backlog == 3);
}

TEST_CASE("tcp S30 accept queue: any SYN is dropped while it is full") {
  raw_peer peer;
  peer.listen({.backlog = 0});
  handshake_from(peer, 1);
  peer.send_syn({from_port(2)});
  peer.expect_nothing();
  CHECK(peer.count().listen_overflows == 1);
  CHECK(peer.count().listen_drops == 1);
  CHECK(peer.engine().memory().half_open == 0);
}

TEST_CASE("tcp S32 accept queue: the third segment is dropped when it is full, and counts later") {
  raw_peer peer;
  peer.listen({.backlog = 1});
  handshake_from(peer, 1);
  peer.mark();
  peer.send_syn({from_port(3)});
  const std::uint32_t third_iss = peer.host_iss;
  handshake_from(peer, 2);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 2);
  peer.forget();
  peer.host_iss = third_iss;
  peer.peer_port = 3;
  peer.send({ack(1)});
  peer.expect_nothing();
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.count().listen_overflows == 1);
  CHECK(peer.count().listen_drops == 1);
  peer.run_for(7s);
  CHECK(peer.times() == std::vector<std::int64_t>{1000, 3000, 7000});
  peer.accept();
  peer.close(close_mode::abort);
  peer.engine().release(peer.socket, peer.now());
  peer.send({ack(1)});
  CHECK(peer.current() == state::established);
  peer.accept();
  CHECK(peer.look().remote.port == 2);
  peer.close(close_mode::abort);
  peer.engine().release(peer.socket, peer.now());
  peer.accept();
  CHECK(peer.look().remote.port == 3);
}

TEST_CASE("tcp S126 accept queue: another backlog holds at once") {
  raw_peer peer;
  peer.listen({.backlog = 0});
  handshake_from(peer, 1);
  handshake_from(peer, 2);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  CHECK(peer.engine().set_backlog(peer.listener, 2) == error::none);
  for (std::uint16_t port = 3; port < 9; ++port) handshake_from(peer, port);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 3);
  CHECK(peer.engine().set_backlog(peer.listener, 0) == error::none);
  handshake_from(peer, 10);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 3);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue_peak == 3);
}

TEST_CASE("tcp accept queue: first in, first out, one event however many wait") {
  raw_peer peer;
  peer.listen();
  for (std::uint16_t port = 1; port <= 3; ++port) {
    peer.send_syn({from_port(port)});
    peer.send_unanswered({from_port(port)});
  }
  socket_event happened;
  REQUIRE(peer.engine().poll_event(happened));
  CHECK(happened.what == events::acceptable);
  CHECK(happened.token == 1);
  CHECK(happened.socket == peer.listener);
  CHECK(!peer.engine().poll_event(happened));
  for (std::uint16_t port = 1; port <= 3; ++port) {
    peer.accept();
    CHECK(peer.look().remote.port == port);
    peer.engine().release(peer.socket, peer.now());
  }
  CHECK(peer.engine().accept(peer.listener, 1).error == error::would_block);
}

TEST_CASE("tcp S43 SYN queue: over half full, the newer requests get two retries only") {
  raw_peer peer;
  peer.listen({.backlog = 20});
  peer.mark();
  for (std::uint16_t port = 1; port <= 18; ++port) peer.send_syn({from_port(port)});
  peer.run_for(70s);
  CHECK(peer.engine().memory().half_open == 0);
  for (std::uint16_t port = 1; port <= 18; ++port) {
    CAPTURE(port);
    std::vector<std::int64_t> at;
    for (const seen_packet& each : peer.said()) {
      if (each.tcp.destination_port == port) at.push_back((each.at - time_point(1000s)) / 1ms);
    }
    if (port <= 10) {
      CHECK(at == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000});
    } else {
      CHECK(at == std::vector<std::int64_t>{0, 1000, 3000});
    }
  }
}

TEST_CASE("tcp S43 SYN queue: at most half full, every request gets all its retries") {
  raw_peer peer;
  peer.listen({.backlog = 20});
  for (std::uint16_t port = 1; port <= 10; ++port) peer.send_syn({from_port(port)});
  peer.run_for(62'900ms);
  CHECK(peer.said().size() == 60);
  CHECK(peer.engine().memory().half_open == 10);
}

TEST_CASE("tcp S43 SYN queue: old requests make room for young ones under pressure") {
  raw_peer peer;
  peer.listen({.backlog = 20});
  for (std::uint16_t port = 1; port <= 12; ++port) {
    peer.send_syn({from_port(port)});
    peer.run_for(10ms);
  }
  peer.run_for(10s);
  // Two retries were over at 7 s: the oldest were dropped until half of the queue was free.
  CHECK(peer.engine().memory().half_open == 10);
  std::size_t of_the_first = 0;
  for (const seen_packet& each : peer.said()) of_the_first += each.tcp.destination_port == 1;
  CHECK(of_the_first == 3);
}

TEST_CASE("tcp SYN queue: requests of every kind of end leave nothing") {
  raw_peer peer;
  peer.listen();
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    peer.peer_port = static_cast<std::uint16_t>(1 + random() % 500);
    switch (random() % 6) {
      case 0:
      case 1:
        peer.send_syn();
        break;
      case 2:
        peer.send({seq(1), flags("R")});
        break;
      case 3:
        peer.send({seq(1), ack(1)});
        break;
      case 4:
        peer.send({seq(static_cast<std::uint32_t>(random() % 70'000)), flags("S")});
        break;
      case 5:
        peer.run_for(std::chrono::milliseconds(random() % 200));
        if (const auto taken = peer.engine().accept(peer.listener, 3)) {
          peer.engine().close(taken.value, close_mode::abort, peer.now());
          peer.engine().release(taken.value, peer.now());
        }
        break;
    }
    peer.forget();
    const listener_snapshot seen = peer.engine().listener(peer.listener).value;
    REQUIRE(seen.syn_queue == peer.engine().memory().half_open);
  }
  peer.run_for(120s);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 0);
}

TEST_CASE("tcp SYN queue: a flood is bounded, and a client gets in again after it") {
  raw_peer peer;
  peer.listen({.backlog = 100, .syncookies = syncookies::off});
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    peer.send_unanswered({from_port(static_cast<std::uint16_t>(1 + i)), seq(0), flags("S")});
    REQUIRE(peer.engine().memory().half_open <= 101);
  }
  peer.flush();
  CHECK(peer.said().size() == 101);
  peer.forget();
  peer.run_for(70s);
  CHECK(peer.engine().memory().half_open == 0);
  handshake_from(peer, 40'000);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
}

TEST_CASE("tcp listener: one that takes the place of a closed one is reported once") {
  raw_peer peer;
  peer.listen();
  for (std::uint16_t i = 0; i < 5; ++i) {
    if (i > 0) {
      peer.engine().close_listener(peer.listener, peer.now());
      peer.listen();
    }
    peer.peer_port = static_cast<std::uint16_t>(40'000 + i);
    peer.peer_next = peer.peer_iss;
    wire::tcp_header ask;
    net::packet_pool pool;
    ask.seq = peer.peer_iss;
    ask.flags = wire::tcp_flag::syn;
    const auto give = [&] {
      peer.engine().on_packet(
          make_packet(pool, {peer.peer_address(), peer.peer_port}, {peer.host_address(), 80}, ask),
          peer.now());
    };
    give();
    while (const net::tx_packet* out = peer.engine().poll_transmit(peer.now())) {
      const net::packet flat = flatten(pool, *out);
      const seen_packet seen = look_at(flat.bytes(), peer.now(), 1, false);
      if (seen.flags() == "SA") ask.ack = seen.tcp.seq + 1;
    }
    ask.seq += 1;
    ask.flags = wire::tcp_flag::ack;
    give();
  }
  std::size_t reports = 0;
  socket_event happened;
  while (peer.engine().poll_event(happened)) {
    if (happened.what == events::acceptable) ++reports;
  }
  CHECK(reports == 1);
}

TEST_CASE("tcp S19 accept queue: the final ACK moves the entry there from the SYN queue") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 1);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 0);
  peer.send({});
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 0);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  peer.accept();
}
