#include <array>

#include "host_pair.hpp"
#include "raw_peer.hpp"

// What a connection is, which states it passes, and what its handshake agrees on and costs.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// The state of the one connection of a host, or of its listener, or CLOSED.
state state_of(host& at) {
  state found = state::closed;
  at.for_each_listener([&](const listener_snapshot&) { found = state::listen; });
  at.for_each_connection([&](const snapshot& each) { found = each.state; });
  return found;
}

/// The states that each side passes, from now on.
struct paths {
  explicit paths(host_pair& of) : pair(of) { note(); }

  void note() {
    for (const int side : {0, 1}) {
      std::vector<state>& path = seen[static_cast<std::size_t>(side)];
      const state now = state_of(pair[side]);
      if (path.empty() || path.back() != now) path.push_back(now);
    }
  }
  void run_for(duration span) {
    note();
    const time_point until = pair.now() + span;
    while (pair.step(until)) note();
    pair.drive_until(until);
  }

  host_pair& pair;
  std::array<std::vector<state>, 2> seen;
};

const std::vector<state> active_end = {state::established, state::fin_wait_1, state::fin_wait_2,
                                       state::time_wait};
const std::vector<state> passive_end = {state::established, state::close_wait, state::last_ack};

std::vector<state> joined(std::vector<state> a, const std::vector<state>& b,
                          const std::vector<state>& c = {}) {
  a.insert(a.end(), b.begin(), b.end());
  a.insert(a.end(), c.begin(), c.end());
  return a;
}

using both_paths = std::array<std::vector<state>, 2>;

/// One connection from beginning to end, closed first by this side.
both_paths lifetime(int first) {
  connected_pair pair;
  paths seen(pair);
  pair.listen();
  pair.connect();
  seen.run_for(20ms);
  pair.accept();
  pair.close(first);
  seen.run_for(20ms);
  pair.close(1 - first);
  seen.run_for(20ms);
  pair[1].close_listener(pair.listener, pair.now());
  seen.run_for(61s);
  return seen.seen;
}

}  // namespace

TEST_CASE("tcp S01 states: the eleven of RFC 9293, of which no tool shows CLOSED") {
  constexpr std::string_view names[] = {"LISTEN",     "SYN-SENT",   "SYN-RECEIVED", "ESTABLISHED",
                                        "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",   "CLOSING",
                                        "LAST-ACK",   "TIME-WAIT",  "CLOSED"};
  for (std::size_t i = 0; i < std::size(names); ++i) {
    const auto each = static_cast<state>(i);
    CAPTURE(each);
    CHECK(rfc_name(each) == names[i]);
    raw_peer peer;
    if (each != state::closed) bring_to(peer, each);
    std::size_t shown = 0;
    peer.engine().for_each_connection([&](const snapshot& seen) {
      CHECK(seen.state == each);
      ++shown;
    });
    const bool is_connection = each != state::listen && each != state::closed;
    CHECK(shown == (is_connection ? 1 : 0));
  }
  CHECK(rfc_name(static_cast<state>(std::size(names))) == "?");
}

TEST_CASE("tcp S02 states: the path of whoever closes first, client or server") {
  const both_paths client_first = lifetime(host_pair::client);
  CHECK(client_first[0] == joined({state::closed, state::syn_sent}, active_end, {state::closed}));
  const both_paths server_first = lifetime(host_pair::server);
  CHECK(server_first[1] ==
        joined({state::closed, state::listen, state::syn_received}, active_end, {state::closed}));
}

TEST_CASE("tcp S03 states: the path of whoever closes second, which leaves no TIME-WAIT") {
  const both_paths client_first = lifetime(host_pair::client);
  CHECK(client_first[1] == joined({state::closed, state::listen, state::syn_received}, passive_end,
                                  {state::listen, state::closed}));
  const both_paths server_first = lifetime(host_pair::server);
  CHECK(server_first[0] == joined({state::closed, state::syn_sent}, passive_end, {state::closed}));
}

TEST_CASE("tcp S06 connection: a unique 4-tuple, and both ends agree on it") {
  connected_pair pair;
  pair.establish();
  const snapshot client = pair.look(0);
  const snapshot server = pair.look(1);
  CHECK(client.local == server.remote);
  CHECK(client.remote == server.local);
  CHECK(client.snd_wnd_bytes == server.rcv_wnd_bytes);
  CHECK(client.rcv_wnd_bytes == server.snd_wnd_bytes);

  // The same tuple again is refused; one that differs in a port alone is another connection.
  connect_options options;
  options.local = client.local;
  CHECK(pair[0].connect(client.remote, options, 5, pair.now()).error == error::address_in_use);
  const auto other = pair[1].listen({{}, 81}, {}, 6).value;
  const auto to_other = pair[0].connect({pair.address(1), 81}, options, 7, pair.now());
  REQUIRE(to_other);
  pair.drive_for(10ms);
  const auto from_other = pair[1].accept(other, 8);
  REQUIRE(from_other);
  pair.send(0, "one");
  CHECK(pair[0].send(to_other.value, bytes_of("two"), pair.now()).value == 3);
  pair.drive_for(10ms);
  CHECK(pair.receive(1) == "one");
  CHECK(receive_all(pair[1], from_other.value, pair.now()) == "two");
  pair[0].release(to_other.value, pair.now());
  pair[1].release(from_other.value, pair.now());
  pair[1].close_listener(other, pair.now());
}

TEST_CASE("tcp S07 connections: the ephemeral range bounds them for one destination only") {
  host_pair pair(1, {}, [](int, host_options& options) {
    options.policy.local_port_first = 40'000;
    options.policy.local_port_last = 40'003;
  });
  for (const std::uint16_t port : {std::uint16_t{80}, std::uint16_t{81}}) {
    for (int i = 0; i < 4; ++i) CHECK(pair[0].connect({pair.address(1), port}, {}, 1, pair.now()));
    CHECK(pair[0].connect({pair.address(1), port}, {}, 1, pair.now()).error ==
          error::address_not_available);
  }
}

TEST_CASE("tcp S07 connections: one listening port holds more of them than there are ports") {
  host_options options;
  options.addresses = {test_address(10, 0, 0, 2)};
  host engine(std::move(options));
  net::packet_pool pool;
  const time_point now(1000s);
  const net::endpoint here{test_address(10, 0, 0, 2), 80};
  const auto listener = engine.listen({{}, 80}, {}, 1).value;
  for (std::uint8_t from = 1; from <= 3; ++from) {
    for (std::uint16_t port = 1; port <= 22'000; ++port) {
      const net::endpoint there{test_address(10, 1, 0, from), port};
      wire::tcp_header tcp;
      tcp.flags = wire::tcp_flag::syn;
      tcp.window = 1000;
      engine.on_packet(make_packet(pool, there, here, tcp), now);
      const net::tx_packet* answer = engine.poll_transmit(now);
      REQUIRE(answer != nullptr);
      const seen_packet seen = look_at(flatten(pool, *answer).bytes(), now, 1, false);
      tcp.flags = wire::tcp_flag::ack;
      tcp.seq = 1;
      tcp.ack = seen.tcp.seq + 1;
      engine.on_packet(make_packet(pool, there, here, tcp), now);
      REQUIRE(engine.accept(listener, 2));
    }
  }
  CHECK(engine.counters().curr_estab == 66'000);
}

TEST_CASE("tcp S11 handshake: the client is ESTABLISHED a segment earlier than the server") {
  connected_pair pair;
  pair.filter = [](const seen_packet& seen) { return seen.flags() != "A"; };
  pair.listen();
  pair.connect();
  pair.drive_for(10ms);
  CHECK(pair.client_state() == state::established);
  CHECK(state_of(pair[1]) == state::syn_received);
  CHECK(pair[1].accept(pair.listener, 3).error == error::would_block);
  pair.filter = nullptr;
  pair.drive_for(2s);
  pair.accept();
  CHECK(pair.server_state() == state::established);
}

TEST_CASE("tcp S12 open: listen makes both queues, connect starts it, accept takes the head") {
  connected_pair pair;
  CHECK(state_of(pair[1]) == state::closed);
  pair.listen();
  CHECK(state_of(pair[1]) == state::listen);
  const auto queues = [&] { return pair[1].listener(pair.listener).value; };
  CHECK(queues().syn_queue + queues().accept_queue == 0);
  CHECK(pair[1].accept(pair.listener, 3).error == error::would_block);
  pair.connect();
  CHECK(pair.client_state() == state::syn_sent);
  while (queues().syn_queue == 0) REQUIRE(pair.step());
  CHECK(queues().accept_queue == 0);
  while (queues().accept_queue == 0) REQUIRE(pair.step());
  CHECK(queues().syn_queue == 0);
  CHECK(pair.reported(1, events::acceptable));
  const auto second = pair[0].connect({pair.address(1), 80}, {}, 4, pair.now());
  pair.drive_for(10ms);
  CHECK(queues().accept_queue == 2);
  pair.accept();
  CHECK(pair.look(1).remote == pair.look(0).local);
  const auto behind = pair[1].accept(pair.listener, 5);
  CHECK(behind);
  CHECK(pair[1].accept(pair.listener, 6).error == error::would_block);
  pair[0].release(second.value, pair.now());
  pair[1].release(behind.value, pair.now());
}

TEST_CASE("tcp S13 handshake: an old SYN is found out by the client, whose RST clears the way") {
  // RFC 9293 3.5, recovery from an old duplicate SYN.
  connected_pair pair;
  pair.listen();
  pair.connect();
  bool first = true;
  pair.filter = [&](const seen_packet&) { return !std::exchange(first, false); };
  pair.flush();
  REQUIRE(pair.trace.size() == 1);
  const std::uint16_t port = pair.trace[0].tcp.source_port;
  wire::tcp_header old;
  old.seq = pair.trace[0].tcp.seq - 123'456;
  old.flags = wire::tcp_flag::syn;
  old.window = 1000;
  pair.clear();
  pair.inject(1, {pair.address(0), port}, {pair.address(1), 80}, old);
  pair.drive_for(10ms);
  REQUIRE(pair.trace.size() == 2);
  CHECK(pair.trace[0].flags() == "SA");
  CHECK(pair.trace[0].tcp.ack == old.seq + 1);
  CHECK(pair.trace[1].flags() == "R");
  CHECK(pair.trace[1].tcp.seq == old.seq + 1);
  CHECK(pair[1].memory().half_open == 0);
  pair.drive_for(2s);
  pair.accept();
  CHECK(pair.client_state() == state::established);
  CHECK(pair.server_state() == state::established);
}

TEST_CASE("tcp S14 handshake: options hold when both sides say them, and only there") {
  const std::uint32_t smaller = small_mtu(1000) - 40 - longer_header();
  for (const int lacking : {-1, 0, 1}) {
    CAPTURE(lacking);
    connected_pair pair(1, {}, [&](int side, host_options& options) {
      options.mtu = side == 0 ? test_mtu(1500) : small_mtu(1000);
      if (side != lacking) return;
      options.policy.timestamps = false;
      options.policy.window_scaling = false;
    });
    pair.listen();
    pair.connect();
    pair.drive_for(20ms);
    pair.accept();
    const bool both = lacking < 0;
    for (const int side : {0, 1}) {
      CAPTURE(side);
      CHECK(pair.look(side).timestamps == both);
      CHECK((pair.look(side).snd_wscale > 0) == both);
      CHECK(pair.look(side).snd_mss == smaller - (both ? 12 : 0));
    }
    REQUIRE(pair.trace.size() == 3);
    CHECK(pair.trace[0].tcp.options.mss == 1460);
    CHECK(pair.trace[1].tcp.options.mss == smaller);
    CHECK(pair.trace[0].tcp.options.timestamp.has_value() == (lacking != 0));
    CHECK(pair.trace[1].tcp.options.timestamp.has_value() == both);
    CHECK(pair.trace[2].tcp.options.timestamp.has_value() == both);
    CHECK(!pair.trace[2].tcp.options.mss.has_value());
    CHECK(!pair.trace[2].tcp.options.window_scale.has_value());
    CHECK(pair.look(0).snd_wnd_bytes >= pair.trace[1].tcp.window);
  }
}

TEST_CASE("tcp S15 handshake: text on the third segment is there when accept is") {
  connected_pair pair;
  pair.listen();
  pair.connect();
  // Written in the turn that reports the connection, before its answer leaves.
  pair.react = [&] {
    if (pair.reported(0, events::connected) && pair.trace.size() == 2) pair.send(0, "GET");
  };
  pair.drive_for(10ms);
  REQUIRE(pair.trace.size() >= 3);
  CHECK(pair.trace[2].flags() == "PA");
  CHECK(pair.trace[2].length == 3);
  pair.react = nullptr;
  pair.accept();
  CHECK(pair.receive(1) == "GET");
}

TEST_CASE("tcp S16 handshake: a request is answered after 2.5 round trips, or 2 on the third") {
  for (const bool on_third : {true, false}) {
    CAPTURE(on_third);
    connected_pair pair(1, {.latency = 50ms});
    constexpr auto round_trip = 100ms;
    const time_point start = pair.now();
    pair.listen();
    pair.connect();
    while (!pair.reported(0, events::connected)) REQUIRE(pair.step());
    CHECK(pair.now() - start == round_trip);
    // Or only once the server is known to be there too.
    if (!on_third) pair.drive_until(start + round_trip * 3 / 2);
    pair.send(0, "GET");
    while (!pair.reported(1, events::acceptable)) REQUIRE(pair.step());
    pair.accept();
    while (pair.look(1).unread_bytes == 0) REQUIRE(pair.step());
    CHECK(pair.receive(1) == "GET");
    pair.send(1, "200");
    while (pair.look(0).unread_bytes == 0) REQUIRE(pair.step());
    CHECK(pair.receive(0) == "200");
    CHECK(pair.now() - start == (on_third ? round_trip * 2 : round_trip * 5 / 2));
  }
}

TEST_CASE("tcp S17 handshake: step 2 costs the server a small entry, step 3 a connection") {
  connected_pair pair;
  pair.filter = [](const seen_packet& seen) { return seen.flags() != "A"; };
  pair.listen();
  pair.connect();
  CHECK(pair[0].memory().connections == 1);
  pair.drive_for(10ms);
  const memory_table half = pair[1].memory();
  CHECK(half.half_open == 1);
  CHECK(half.connections == 0);
  CHECK(half.buffer_bytes == 0);
  CHECK(half.half_open_bytes <= 64);
  CHECK(half.half_open_bytes * 4 < half.connection_bytes);
  pair.filter = nullptr;
  pair.drive_for(2s);
  CHECK(pair[1].memory().half_open == 0);
  CHECK(pair[1].memory().connections == 1);
  pair.accept();
}
