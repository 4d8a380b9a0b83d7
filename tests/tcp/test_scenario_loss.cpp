#include <array>

#include "host_pair.hpp"
#include "raw_peer.hpp"

// What is lost in a handshake and in a close, one claim of the list of behaviours at a time; every
// combination is in test_scenario.cpp.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using moments = std::vector<std::int64_t>;

/// Whether waits double, from the second one on, up to `most`.
bool doubles(const moments& at, std::int64_t most = INT64_MAX) {
  for (std::size_t i = 2; i < at.size(); ++i) {
    const std::int64_t before = at[i - 1] - at[i - 2];
    if (at[i] - at[i - 1] != std::min(before * 2, most)) return false;
  }
  return at.size() > 2;
}

bool is_fin(const seen_packet& seen) {
  return (seen.tcp.flags & wire::tcp_flag::fin) != 0;
}

/// Runs on and tells which states this side passed.
std::vector<state> states_of(connected_pair& pair, int side, duration span) {
  std::vector<state> seen;
  const time_point until = pair.now() + span;
  do {
    const state now = pair.state_of(side);
    if (seen.empty() || seen.back() != now) seen.push_back(now);
  } while (pair.step(until));
  pair.drive_until(until);
  return seen;
}

}  // namespace

TEST_CASE("tcp S46 handshake: SYN-ACK lost, both sides send again and the client ends it") {
  connected_pair pair;
  pair.filter = [](const seen_packet& seen) { return seen.from == host_pair::client; };
  pair.listen();
  pair.connect();
  const time_point start = pair.now();
  pair.drive_for(140s);
  CHECK(pair.look(0).ended == end_reason::timed_out);
  moments from[2];
  for (const seen_packet& each : pair.trace) {
    CHECK(each.flags() == (each.from == 0 ? "S" : "SA"));
    from[each.from].push_back((each.at - start) / 1ms);
  }
  // Linear tries first, then doubling; each SYN draws a SYN-ACK besides those of the timer.
  CHECK(from[0] == moments{0, 1000, 2000, 3000, 4000, 5000, 7000, 11'000, 19'000, 35'000, 67'000});
  for (const std::int64_t syn : from[0]) {
    CHECK(std::count(from[1].begin(), from[1].end(), syn + 1) >= 1);
  }
  CHECK(from[1].size() > from[0].size());
}

TEST_CASE("tcp S47c handshake: the third segment lost draws SYN-ACK again, not RST") {
  connected_pair pair;
  bool lost = false;
  pair.filter = [&](const seen_packet& seen) {
    return seen.flags() != "A" || std::exchange(lost, true);
  };
  pair.listen();
  pair.connect();
  const time_point start = pair.now();
  pair.drive_for(5s);
  REQUIRE(pair.trace.size() == 5);
  CHECK(pair.trace[3].flags() == "SA");
  CHECK(pair.trace[3].at - start == 1001ms);
  CHECK(pair.trace[4].flags() == "A");
  CHECK(pair[1].counters().out_rsts == 0);
  pair.accept();
  CHECK(pair.server_state() == state::established);
}

TEST_CASE("tcp S48 RTO: doubles for SYN, SYN-ACK, text and FIN, between 200 ms and 120 s") {
  raw_peer peer([](host_options& options) { options.policy.syn_linear_timeouts = 0; });
  std::int64_t first = 0;
  std::int64_t most = INT64_MAX;
  SUBCASE("SYN") {
    peer.mark();
    peer.connect();
    first = 1000;
  }
  SUBCASE("SYN-ACK") {
    peer.listen();
    peer.mark();
    peer.send_syn();
    first = 1000;
  }
  SUBCASE("text") {
    peer.establish();
    peer.mark();
    peer.write("text");
    first = 201;
    most = 120'000;
  }
  SUBCASE("FIN") {
    peer.establish();
    peer.mark();
    peer.shutdown();
    first = 201;
    most = 120'000;
  }
  peer.run_for(2000s);
  const moments at = peer.times();
  CHECK(at[1] - at[0] == first);
  CHECK(doubles(at, most));
}

TEST_CASE("tcp S48 RTO: fewer retries fail fast on a LAN") {
  raw_peer peer([](host_options& options) {
    options.policy.syn_linear_timeouts = 0;
    options.connection.syn_retries = 2;
  });
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(100s) == 7s);
  CHECK(peer.times() == moments{0, 1000, 3000});
}

TEST_CASE("tcp S59 half-open: a peer that died is found only by sending") {
  connected_pair pair;
  pair.establish();
  // It crashed, and its machine is up again without knowing anything.
  host_options fresh;
  fresh.addresses = {pair.address(1)};
  pair[1] = host(std::move(fresh));
  pair.drive_for(100h);
  CHECK(pair.trace.empty());
  CHECK(pair.client_state() == state::established);
  pair.send(0, "heartbeat");
  pair.drive_for(10ms);
  CHECK(pair.look(0).ended == end_reason::reset);
  CHECK(pair[0].pending_error(pair.client_socket) == error::connection_reset);
}

TEST_CASE("tcp S60 half connection: the third segment withheld, SYN-RECEIVED for 63 s") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  peer.run_for(62'999ms);
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.engine().accept(peer.listener, 3).error == error::would_block);
  peer.run_for(1ms);
  CHECK(peer.current() == state::closed);
}

TEST_CASE("tcp S70 FIN lost for ever: the peer stays ESTABLISHED until it sends") {
  connected_pair pair;
  pair.establish();
  pair.filter = [](const seen_packet& seen) { return seen.from == 1 || !is_fin(seen); };
  pair.close(0);
  pair.drive_for(104s);
  CHECK(pair.look(0).ended == end_reason::timed_out);
  CHECK(pair.server_state() == state::established);
  SUBCASE("it never sends") {
    pair.drive_for(100h);
    CHECK(pair.server_state() == state::established);
  }
  SUBCASE("it sends, and hears RST") {
    pair.send(1, "anyone?");
    pair.drive_for(10ms);
    CHECK(pair.look(1).ended == end_reason::reset);
  }
}

TEST_CASE("tcp S71 ACK of FIN lost: only the repeated FIN draws it again") {
  connected_pair pair;
  pair.establish();
  bool lost = false;
  pair.filter = [&](const seen_packet& seen) {
    return seen.from == 0 || std::exchange(lost, true);
  };
  pair.close(0);
  pair.drive_for(150ms);
  REQUIRE(pair.trace.size() == 2);
  CHECK(pair.client_state() == state::fin_wait_1);
  pair.drive_for(100ms);
  REQUIRE(pair.trace.size() == 4);
  CHECK(pair.trace[2].flags() == "FA");
  CHECK(pair.trace[3].flags() == "A");
  CHECK(pair.client_state() == state::fin_wait_2);
}

TEST_CASE("tcp S72 ACK of FIN lost: the peer's FIN acknowledges too, and there is no CLOSING") {
  connected_pair pair;
  pair.establish();
  bool lost = false;
  pair.filter = [&](const seen_packet& seen) {
    return seen.from == 0 || std::exchange(lost, true);
  };
  pair.close(0);
  pair.drive_for(20ms);
  CHECK(pair.client_state() == state::fin_wait_1);
  pair.close(1);
  CHECK(states_of(pair, 0, 10ms) == std::vector<state>{state::fin_wait_1, state::closed});
  CHECK(pair.look(0).ended == end_reason::clean);
  CHECK(pair[0].memory().time_wait == 1);
}

TEST_CASE("tcp S73 second FIN lost: LAST-ACK sends it again, and the closer waits 60 s at most") {
  connected_pair pair;
  pair.establish();
  pair.close(0);
  pair.drive_for(20ms);
  CHECK(pair.client_state() == state::fin_wait_2);
  pair.filter = [](const seen_packet& seen) { return seen.from == 0 || !is_fin(seen); };
  pair.clear();
  pair.close(1);
  const time_point start = pair.now();
  pair.drive_for(59s);
  CHECK(pair.client_state() == state::fin_wait_2);
  CHECK(pair.server_state() == state::last_ack);
  pair.drive_for(1s);
  CHECK(pair.client_state() == state::closed);
  pair.drive_for(50s);
  CHECK(pair.look(1).ended == end_reason::timed_out);
  moments at;
  for (const seen_packet& each : pair.trace) at.push_back((each.at - start) / 1ms);
  // The tail loss probe comes before the time-outs, which count from it, as for any tail.
  REQUIRE(at.size() == 10);
  at.erase(at.begin());
  CHECK(doubles(at));
}

TEST_CASE(
    "tcp S76 simultaneous close: it is FIN before the ACK of ours that counts, not the clock") {
  connected_pair pair;
  pair.establish();
  SUBCASE("300 ms apart, but the first FIN was lost: CLOSING") {
    bool lost = false;
    pair.filter = [&](const seen_packet& seen) {
      return !is_fin(seen) || std::exchange(lost, true);
    };
    pair.close(0);
    pair.drive_for(100ms);
    pair.close(1);
    CHECK(states_of(pair, 0, 20ms).back() == state::closing);
    pair.drive_for(1s);
    CHECK(pair[0].memory().time_wait == 1);
    CHECK(pair[1].memory().time_wait == 1);
  }
  SUBCASE("2 ms apart, but the first FIN was acknowledged: no CLOSING") {
    pair.close(0);
    pair.drive_for(2ms);
    CHECK(pair.client_state() == state::fin_wait_2);
    pair.close(1);
    pair.drive_for(1s);
    CHECK(pair[0].memory().time_wait == 1);
    CHECK(pair[1].memory().time_wait == 0);
  }
  CHECK(pair.look(0).ended == end_reason::clean);
  CHECK(pair.look(1).ended == end_reason::clean);
}
