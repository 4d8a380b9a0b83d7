#include <algorithm>
#include <span>

#include "host_pair.hpp"
#include "raw_peer.hpp"

// What a finished handshake meets in a full accept queue: `accept_overflow` and its three values.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Clients towards a listener whose SYN queue they fill before the first of them finishes.
struct crowd : raw_peer {
  using raw_peer::raw_peer;

  /// SYNs from ports 1 to `count`; their SYN-ACKs' numbers are kept.
  void ask(std::uint16_t count) {
    for (std::uint16_t port = 1; port <= count; ++port) {
      send_syn({from_port(port)});
      first_numbers.push_back(host_iss);
    }
    forget();
  }
  /// A segment of the client, by default its bare third one.
  void say(std::uint16_t port, std::initializer_list<field> fields = {}) {
    peer_port = port;
    host_iss = first_numbers[port - 1U];
    host_next = host_iss + 1;
    peer_next = peer_iss + 1;
    send(fields);
  }
  /// Accepts who is next and drops the connection; its port.
  std::uint16_t serve() {
    accept();
    const std::uint16_t port = look().remote.port;
    engine().close(socket, close_mode::abort, now());
    engine().release(socket, now());
    flush();
    forget();
    return port;
  }
  listener_snapshot seen() { return engine().listener(listener).value; }
  /// Whose text the host has said something to, in order.
  std::vector<std::uint16_t> answered() {
    std::vector<std::uint16_t> ports;
    for (const seen_packet& each : said()) ports.push_back(each.tcp.destination_port);
    forget();
    return ports;
  }

  std::vector<std::uint32_t> first_numbers;
};

constexpr listener_policy parking{.backlog = 1, .overflow = accept_overflow::park};

}  // namespace

TEST_CASE("S32: with drop, SYN-ACK comes again in its time, and after accept the child completes") {
  crowd clients;
  clients.listen({.backlog = 4, .overflow = accept_overflow::drop});
  clients.mark();
  clients.ask(5);
  CHECK(clients.engine().set_backlog(clients.listener, 3) == error::none);
  for (std::uint16_t port = 1; port <= 5; ++port) clients.say(port);
  clients.expect_nothing();
  CHECK(clients.seen().accept_queue == 4);
  CHECK(clients.seen().syn_queue == 1);
  CHECK(clients.seen().drops == listener_drops{.accept_queue_full_acks = 1});
  CHECK(clients.count().listen_overflows == 1);
  CHECK(clients.count().listen_drops == 1);
  clients.run_for(7s);
  CHECK(clients.times() == std::vector<std::int64_t>{1000, 3000, 7000});
  CHECK(clients.serve() == 1);
  clients.say(5);
  CHECK(clients.current() == state::established);
  CHECK(clients.seen().syn_queue == 0);
}

TEST_CASE("S33: with reset, RST goes to exactly the ones that found the queue full") {
  crowd clients;
  clients.listen({.backlog = 5, .overflow = accept_overflow::reset});
  clients.ask(6);
  CHECK(clients.engine().set_backlog(clients.listener, 1) == error::none);
  for (std::uint16_t port = 1; port <= 6; ++port) {
    CAPTURE(port);
    clients.say(port);
    if (port <= 2) {
      clients.expect_nothing();
    } else {
      clients.expect({flags("R"), seq(1), length(0)});
      clients.expect_nothing();
    }
  }
  CHECK(clients.seen().accept_queue == 2);
  CHECK(clients.seen().syn_queue == 0);
  CHECK(clients.seen().drops == listener_drops{.accept_queue_full_acks = 4});
  CHECK(clients.count().listen_overflows == 4);
  CHECK(clients.count().listen_drops == 4);
  CHECK(clients.count().out_rsts == 4);
  CHECK(clients.count().embryonic_rsts == 4);
  // Linux counts no failed attempt for them.
  CHECK(clients.count().attempt_fails == 0);
}

TEST_CASE(
    "S113 RunnelAcceptParked: finished handshakes wait in order, in silence, and accept lets "
    "them in") {
  crowd clients;
  clients.listen({.backlog = 6, .overflow = accept_overflow::park});
  clients.ask(7);
  CHECK(clients.engine().set_backlog(clients.listener, 2) == error::none);
  constexpr std::uint16_t ports[] = {4, 2, 6, 1, 5, 7};
  const std::span order(ports);
  for (const std::uint16_t port : order) clients.say(port);
  clients.expect_nothing();
  CHECK(clients.seen().accept_queue == 3);
  CHECK(clients.seen().parked == 3);
  // Port 3 is half-open still; who is parked counts too.
  CHECK(clients.seen().syn_queue == 4);
  CHECK(clients.count().listen_overflows == 3);
  CHECK(clients.count().accept_parked == 3);
  CHECK(clients.count().listen_drops == 0);
  clients.run_for(20s);
  CHECK(clients.answered() == std::vector<std::uint16_t>(4, 3));
  CHECK(clients.serve() == 4);
  CHECK(clients.seen().accept_queue == 3);
  CHECK(clients.seen().parked == 2);
  for (const std::uint16_t port : order.subspan(1)) CHECK(clients.serve() == port);
  CHECK(clients.seen().parked == 0);
  CHECK(clients.seen().accept_queue == 0);
  CHECK(clients.count().passive_opens == 6);
}

TEST_CASE("park: what the peer says is not acknowledged until it is let in, and then comes again") {
  crowd clients;
  clients.listen(parking);
  clients.ask(2);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  SUBCASE("text") {
    clients.say(2, {text("hello")});
    clients.say(2, {text("hello")});
    clients.expect_nothing();
    CHECK(clients.serve() == 1);
    clients.accept();
    CHECK(clients.read_error() == error::would_block);
    clients.say(2, {text("hello")});
    clients.expect({flags("A"), ack(6)});
    CHECK(clients.read() == "hello");
  }
  SUBCASE("the window it offers meanwhile is the one it has then") {
    clients.say(2, {window(1000)});
    clients.say(2, {window(3)});
    CHECK(clients.serve() == 1);
    clients.accept();
    CHECK(clients.look().snd_wnd_bytes == 3);
  }
  SUBCASE("text and FIN") {
    clients.say(2, {});
    clients.say(2, {text("bye"), flags("FPA")});
    clients.expect_nothing();
    CHECK(clients.serve() == 1);
    clients.accept();
    clients.say(2, {text("bye"), flags("FPA")});
    clients.run_for(40ms);
    clients.expect({flags("A"), ack(5)});
    CHECK(clients.read() == "bye");
    CHECK(clients.look().state == state::close_wait);
  }
  SUBCASE("nothing at all") {
    clients.say(2);
    CHECK(clients.serve() == 1);
    clients.accept();
    clients.expect_nothing();
    CHECK(clients.look().state == state::established);
    clients.peer_next = clients.peer_iss + 1;
    CHECK(clients.write("server speaks first") == 19);
    clients.expect({flags("PA"), seq(1), ack(1), length(19)});
    clients.say(2, {ack(20)});
  }
  CHECK(clients.seen().parked == 0);
}

TEST_CASE("park: keepalives and stragglers of the peer are answered with where we are") {
  crowd clients;
  clients.listen(parking);
  clients.ask(2);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  clients.say(2);
  CHECK(clients.seen().parked == 1);
  clients.say(2, {seq(0)});
  clients.expect({flags("A"), seq(1), ack(1)});
  clients.say(2, {seq(0)});
  clients.expect_nothing();
  CHECK(clients.count().ack_skipped_syn_recv == 1);
  clients.run_for(500ms);
  // Not a SYN-ACK: the peer has had it.
  clients.send_syn({from_port(2)});
  clients.expect({flags("A"), seq(1), ack(1)});
  CHECK(clients.seen().parked == 1);
}

TEST_CASE("park: RST takes the entry away, also when text went before it") {
  crowd clients;
  clients.listen(parking);
  clients.ask(2);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  clients.say(2, {text("hello")});
  CHECK(clients.seen().parked == 1);
  SUBCASE("exact") {
    clients.say(2, {flags("R")});
  }
  SUBCASE("behind text that was not taken") {
    clients.say(2, {flags("R"), seq(6)});
    clients.expect({flags("A"), seq(1), ack(1)});
    CHECK(clients.seen().parked == 1);
    // The peer knows no such connection any more.
    clients.say(2, {flags("R"), seq(1)});
  }
  SUBCASE("SYN in the window") {
    clients.say(2, {flags("S"), seq(500)});
    clients.expect({flags("RA"), ack(501)});
  }
  clients.expect_nothing();
  CHECK(clients.seen().parked == 0);
  CHECK(clients.seen().syn_queue == 0);
  CHECK(clients.count().embryonic_rsts == 1);
  CHECK(clients.serve() == 1);
  CHECK(clients.engine().accept(clients.listener, 3).error == error::would_block);
}

TEST_CASE(
    "S113 RunnelAcceptParkTimeouts: the longest wait is a whole schedule of SYN-ACKs, and ends "
    "with RST") {
  crowd clients;
  listener_policy policy = parking;
  std::chrono::milliseconds longest = 63s;
  SUBCASE("by default 63 s") {}
  SUBCASE("as synack_retries says") {
    policy.synack_retries = 2;
    longest = 7s;
  }
  clients.listen(policy);
  clients.ask(2);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  // The schedule is the entry's own, from when it was parked.
  clients.run_for(500ms);
  clients.say(2);
  clients.run_for(longest - 1ms);
  clients.expect_nothing();
  CHECK(clients.seen().parked == 1);
  clients.run_for(1ms);
  clients.expect({flags("RA"), seq(1), ack(1), length(0)});
  CHECK(clients.seen().parked == 0);
  CHECK(clients.seen().syn_queue == 0);
  CHECK(clients.seen().drops == listener_drops{.park_timeouts = 1});
  CHECK(clients.count().accept_park_timeouts == 1);
  CHECK(clients.count().listen_drops == 1);
}

TEST_CASE("park: a crowded SYN queue does not cut the wait short") {
  crowd clients;
  clients.listen({.backlog = 8, .overflow = accept_overflow::park});
  clients.ask(9);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  clients.say(2);
  clients.run_for(62'999ms);
  // The others had to make room (S43).
  CHECK(clients.seen().syn_queue == 4);
  CHECK(clients.seen().parked == 1);
}

TEST_CASE("park: beyond its bound the acknowledgement is dropped, and SYN-ACK comes again") {
  crowd clients;
  clients.listen({.backlog = 8, .overflow = accept_overflow::park});
  clients.ask(9);
  CHECK(clients.engine().set_backlog(clients.listener, 2) == error::none);
  for (std::uint16_t port = 1; port <= 9; ++port) clients.say(port);
  CHECK(clients.seen().accept_queue == 3);
  CHECK(clients.seen().parked == 3);
  CHECK(clients.seen().syn_queue_limit == 3);
  CHECK(clients.seen().drops == listener_drops{.accept_queue_full_acks = 3});
  CHECK(clients.count().listen_drops == 3);
  CHECK(clients.count().listen_overflows == 6);
  clients.run_for(1s);
  std::vector<std::uint16_t> again = clients.answered();
  std::sort(again.begin(), again.end());
  CHECK(again == std::vector<std::uint16_t>{7, 8, 9});
}

TEST_CASE("park: a larger backlog, somaxconn or default lets in at once") {
  crowd clients([](host_options& options) { options.policy.somaxconn = 20; });
  clients.listen({.overflow = accept_overflow::park});
  clients.ask(10);
  const auto bound = [&](std::uint32_t somaxconn, std::uint32_t backlog) {
    stack_policy policy = clients.engine().policy();
    policy.somaxconn = somaxconn;
    CHECK(clients.engine().set_policy(policy) == error::none);
    listener_policy defaults = clients.engine().listener_defaults();
    defaults.backlog = backlog;
    CHECK(clients.engine().set_listener_defaults(defaults) == error::none);
  };
  bound(20, 4);
  for (std::uint16_t port = 1; port <= 10; ++port) clients.say(port);
  CHECK(clients.seen().accept_queue == 5);
  CHECK(clients.seen().parked == 5);
  bound(20, 5);
  CHECK(clients.seen().accept_queue == 6);
  bound(6, 20);
  CHECK(clients.seen().accept_queue == 7);
  bound(7, 20);
  CHECK(clients.seen().accept_queue == 8);
  CHECK(clients.engine().set_backlog(clients.listener, 7) == error::none);
  bound(20, 20);
  CHECK(clients.seen().accept_queue == 8);
  CHECK(clients.engine().set_backlog(clients.listener, 8) == error::none);
  CHECK(clients.seen().accept_queue == 9);
  CHECK(clients.engine().set_listener_policy(clients.listener, {.backlog = 9}) == error::none);
  CHECK(clients.seen().accept_queue == 10);
  CHECK(clients.seen().parked == 0);
  for (std::uint16_t port = 1; port <= 10; ++port) CHECK(clients.serve() == port);
}

TEST_CASE("park: closing the listener resets who is parked") {
  crowd clients;
  clients.listen(parking);
  clients.ask(2);
  CHECK(clients.engine().set_backlog(clients.listener, 0) == error::none);
  clients.say(1);
  clients.say(2);
  CHECK(clients.seen().parked == 1);
  clients.engine().close_listener(clients.listener, clients.now());
  clients.flush();
  CHECK(clients.answered() == std::vector<std::uint16_t>{2, 1});
  CHECK(clients.engine().memory().half_open == 0);
  CHECK(clients.engine().memory().connections == 0);
}

TEST_CASE("park: a real client's text arrives whole after the wait") {
  connected_pair pair;
  pair.listen({.backlog = 1, .overflow = accept_overflow::park});
  const auto first = pair[0].connect({pair.address(1), 80}, {}, 7, pair.now());
  pair.connect();
  pair.filter = [&](const seen_packet& seen) {
    if (seen.from == 0 && seen.flags() == "A") pair[1].set_backlog(pair.listener, 0);
    return true;
  };
  pair.drive_for(10ms);
  CHECK(pair[1].listener(pair.listener).value.parked == 1);
  CHECK(pair.client_state() == state::established);
  CHECK(pair.send(0, "said while it was parked") == 24);
  pair.shutdown(0);
  pair.drive_for(5s);
  CHECK(pair.look(0).unacked_bytes >= 24);
  const auto served = pair[1].accept(pair.listener, 9);
  REQUIRE(served);
  pair[1].release(served.value, pair.now());
  pair.accept();
  pair.drive_for(10s);
  CHECK(pair.receive(1) == "said while it was parked");
  CHECK(pair.server_state() == state::close_wait);
  pair[0].release(first.value, pair.now());
}
