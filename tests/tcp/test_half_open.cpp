#include <set>

#include "raw_peer.hpp"
#include "support/pace.hpp"

// Half-open entries: what they cost, how they end, and what they answer.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t batch = 20'000;

constexpr std::uint32_t rounds = testing::worthwhile(50U);

/// A host whose SYN queue takes a batch, and as many clients: a batch asks, and comes to an end.
struct flood : raw_peer {
  flood()
      : raw_peer([](host_options& options) {
          options.policy.somaxconn = 65535;
          options.policy.max_syn_backlog = 65536;
          options.policy.reject_limit = 0;
        }) {
    open();
  }
  void open() { listen({.backlog = 65535, .syncookies = syncookies::off}); }

  /// SYNs from ports 1 to `batch`, with timestamps; the SYN-ACKs' numbers are kept.
  void ask() {
    first_numbers.assign(batch + 1, 0);
    for (std::uint32_t port = 1; port <= batch; ++port) {
      send_syn({from_port(static_cast<std::uint16_t>(port)), mss(1460), stamp(100)});
      first_numbers[port] = host_iss;
      forget();
    }
    REQUIRE(engine().memory().half_open == batch);
    REQUIRE(engine().listener(listener).value.syn_queue == batch);
  }
  /// What each of them says next.
  void everyone(std::initializer_list<field> says) {
    for (std::uint32_t port = 1; port <= batch; ++port) {
      peer_port = static_cast<std::uint16_t>(port);
      host_iss = first_numbers[port];
      host_next = host_iss + 1;
      peer_next = peer_iss + 1;
      send(says);
      forget();
    }
  }
  /// The listener is empty, and serves.
  void check_fresh() {
    CHECK(engine().memory().half_open == 0);
    CHECK(engine().memory().connections == 0);
    const listener_snapshot seen = engine().listener(listener).value;
    CHECK(seen.syn_queue == 0);
    CHECK(seen.accept_queue == 0);
    CHECK(seen.drops == listener_drops());
    forget();
    peer_port = 60'000;
    send_syn({from_port(60'000)});
    expect({flags("SA"), ack(1)});
    send({seq(1), ack(1)});
    accept();
    engine().close(socket, close_mode::abort, now());
    engine().release(socket, now());
    flush();
    forget();
    // What the first batch took is all that any of them needs.
    if (held_bytes == 0) held_bytes = engine().memory().held_bytes;
    CHECK(engine().memory().held_bytes == held_bytes);
  }

  std::vector<std::uint32_t> first_numbers;
  std::size_t held_bytes = 0;
};

}  // namespace

TEST_CASE("half-open: entries take at most 64 bytes with their share of the index") {
  raw_peer peer;
  CHECK(peer.engine().memory().half_open_bytes <= 64);
}

TEST_CASE(
    "half-open: a million SYNs, each followed by RST, leave nothing and the listener working") {
  flood clients;
  for (std::uint32_t i = 0; i < rounds; ++i) {
    clients.ask();
    clients.everyone({flags("R"), seq(1)});
    clients.check_fresh();
  }
  CHECK(clients.count().embryonic_rsts == std::uint64_t{rounds} * batch);
}

TEST_CASE(
    "a million SYNs that nobody follows up time out, leave nothing and the listener working") {
  flood clients;
  std::uint64_t sent_again = 0;
  for (std::uint32_t i = 0; i < rounds; ++i) {
    clients.ask();
    const time_point until = clients.now() + 64s;
    while (clients.now() < until) {
      clients.run_for(500ms);
      for (const seen_packet& each : clients.said()) sent_again += each.flags() == "SA" ? 1 : 0;
      clients.forget();
    }
    clients.check_fresh();
  }
  // Each of them left, though more are due at once than may wait to be sent.
  CHECK(sent_again == std::uint64_t{rounds} * batch * 5);
  CHECK(clients.count().retrans_segs == sent_again);
  CHECK(clients.count().syn_retrans == sent_again);
}

TEST_CASE("half-open: SYN-ACKs that find no room stay due, and poll_timeout says so") {
  flood clients;
  clients.ask();
  host& engine = clients.engine();
  const time_point due = engine.poll_timeout();
  const auto drained = [&] {
    std::size_t sent = 0;
    while (engine.poll_transmit(due) != nullptr) ++sent;
    return sent;
  };
  std::size_t sent = 0;
  int steps = 0;
  while (engine.poll_timeout() <= due) {
    engine.on_timeout(due);
    // Nothing can be done before what waits has left.
    const std::uint64_t counted = engine.counters().retrans_segs;
    engine.on_timeout(due);
    CHECK(engine.counters().retrans_segs == counted);
    sent += drained();
    CHECK(sent == counted);
    REQUIRE(++steps < 10);
  }
  CHECK(steps > 1);
  CHECK(sent == batch);
}

TEST_CASE("close: a listener with 20,000 connections waiting tells each of them by RST") {
  flood clients;
  clients.ask();
  clients.everyone({seq(1), ack(1)});
  REQUIRE(clients.engine().listener(clients.listener).value.accept_queue == batch);
  clients.engine().close_listener(clients.listener, clients.now());
  const std::uint32_t place = clients.listener.index;
  // The port is free at once.
  clients.open();
  CHECK(clients.listener.index != place);
  clients.engine().set_policy(clients.engine().policy());
  clients.flush();
  CHECK(clients.said().size() == batch);
  std::set<std::uint16_t> told;
  for (const seen_packet& each : clients.said()) {
    if (each.flags() == "RA") told.insert(each.tcp.destination_port);
  }
  CHECK(told.size() == batch);
  CHECK(clients.count().out_rsts == batch);
  clients.check_fresh();
  // Its place is used again.
  CHECK(clients.engine().listen({{}, 81}, {}, 1).value.index == place);
}

TEST_CASE("close: a listener with many parked and waiting tells all of them") {
  flood clients;
  clients.engine().set_listener_policy(clients.listener,
                                       {.backlog = 65535, .overflow = accept_overflow::park});
  clients.ask();
  CHECK(clients.engine().set_backlog(clients.listener, 9'999) == error::none);
  clients.everyone({seq(1), ack(1)});
  const listener_snapshot seen = clients.engine().listener(clients.listener).value;
  REQUIRE(seen.accept_queue == 10'000);
  REQUIRE(seen.parked == 10'000);
  clients.engine().close_listener(clients.listener, clients.now());
  clients.flush();
  CHECK(clients.said().size() == batch);
  CHECK(clients.count().out_rsts == batch);
  CHECK(clients.engine().memory().half_open == 0);
  CHECK(clients.engine().memory().connections == 0);
}

TEST_CASE(
    "half-open: a million SYNs to listeners that close are forgotten, though nobody ever speaks "
    "again") {
  flood clients;
  for (std::uint32_t i = 0; i < rounds; ++i) {
    clients.ask();
    clients.engine().close_listener(clients.listener, clients.now());
    clients.open();
    // The old listener's requests do not count in the new one.
    CHECK(clients.engine().listener(clients.listener).value.syn_queue == 0);
    clients.run_for(1s);
    clients.check_fresh();
  }
  CHECK(clients.count().retrans_segs == 0);
}

TEST_CASE("half-open: a million SYNs with timestamps are finished by ACKs without, as in Linux") {
  flood clients;
  for (std::uint32_t i = 0; i < rounds; ++i) {
    clients.ask();
    clients.everyone({seq(1), ack(1)});
    CHECK(clients.engine().memory().half_open == 0);
    CHECK(clients.engine().listener(clients.listener).value.accept_queue == batch);
    while (const auto taken = clients.engine().accept(clients.listener, 9)) {
      clients.engine().close(taken.value, close_mode::abort, clients.now());
      clients.engine().release(taken.value, clients.now());
      clients.flush();
      clients.forget();
    }
    clients.check_fresh();
  }
  CHECK(clients.count().passive_opens == std::uint64_t{rounds} * (batch + 1));
}

TEST_CASE("S36: by default an abandoned request is kept for 63 s") {
  raw_peer peer;
  peer.listen();
  peer.mark();
  for (std::uint16_t port = 1; port <= 100; ++port) peer.send_syn({from_port(port)});
  peer.run_for(62'999ms);
  CHECK(peer.engine().memory().half_open == 100);
  peer.run_for(1ms);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.said().size() == 600);
}

TEST_CASE("S46: a repeated SYN gets SYN-ACK again, and starts the time-out anew") {
  raw_peer peer;
  peer.listen();
  peer.mark();
  peer.send_syn();
  peer.run_for(900ms);
  peer.send_syn();
  peer.run_for(6s);
  // At 1.9 s the first time-out instead of at 1 s; the next wait is 2 s.
  CHECK(peer.times() == std::vector<std::int64_t>{0, 900, 1900, 3900});
  CHECK(peer.count().syn_retrans == 3);
  CHECK(peer.count().timeouts == 2);
}

TEST_CASE("S46 S113 TCPACKSkippedSynRecv: SYNs that come back to back get one SYN-ACK in 500 ms") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.expect({flags("SA")});
  for (int i = 0; i < 10; ++i) peer.send_syn();
  peer.expect({flags("SA"), seq(0), ack(1)});
  peer.expect_nothing();
  CHECK(peer.count().ack_skipped_syn_recv == 9);
  peer.run_for(500ms);
  peer.send_syn();
  peer.expect({flags("SA")});
}

TEST_CASE("S46: a SYN-ACK that was repeated gives no round-trip time (Karn)") {
  for (const bool repeated : {false, true}) {
    CAPTURE(repeated);
    raw_peer peer;
    peer.listen();
    peer.send_syn();
    peer.run_for(40ms);
    if (repeated) peer.send_syn();
    peer.send({seq(1), ack(1)});
    peer.accept();
    CHECK(peer.look().srtt == (repeated ? 0us : 40'000us));
    peer.forget();
  }
}

TEST_CASE(
    "SYN-RECEIVED: the 64 places of closed listeners are used again once their requests end") {
  raw_peer peer;
  for (std::uint16_t round = 0; round < 1000; ++round) {
    peer.listen();
    REQUIRE(peer.listener.index < 64);
    peer.send_syn({from_port(static_cast<std::uint16_t>(1 + round))});
    peer.forget();
    peer.engine().close_listener(peer.listener, peer.now());
    peer.run_for(20ms);
  }
  peer.run_for(1s);
  CHECK(peer.engine().memory().half_open == 0);
  peer.listen();
}

TEST_CASE("TIME-WAIT: a SYN that reopens it is not counted against a full SYN queue") {
  raw_peer peer;
  peer.listen({.backlog = 0, .syncookies = syncookies::off});
  peer.send_syn();
  peer.forget();
  peer.send({});
  peer.accept();
  peer.shutdown();
  peer.forget();
  peer.send({ack(2), flags("FA")});
  CHECK(peer.current() == state::time_wait);
  peer.forget();
  peer.engine().release(peer.socket, peer.now());
  const std::uint16_t ours = peer.peer_port;
  peer.send_syn({from_port(7)});
  peer.expect({flags("SA")});
  peer.send_syn({from_port(8)});
  peer.expect_nothing();
  CHECK(peer.count().req_q_full_drop == 1);
  peer.peer_iss += 100'000;
  peer.send_syn({from_port(ours)});
  peer.expect({flags("SA")});
  CHECK(peer.count().req_q_full_drop == 1);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 2);
}
