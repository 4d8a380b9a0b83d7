#include "host_pair.hpp"
#include "raw_peer.hpp"

// Peers that are gone: keepalive and TCP_USER_TIMEOUT, and that nothing else notices a silent one.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using moments = std::vector<std::int64_t>;

namespace {

listener_policy watched(std::chrono::milliseconds time, std::chrono::milliseconds interval,
                        std::uint8_t probes) {
  listener_policy policy;
  policy.connection.keepalive = true;
  policy.connection.keepalive_time = time;
  policy.connection.keepalive_interval = interval;
  policy.connection.keepalive_probes = probes;
  return policy;
}

connection_policy own_policy(raw_peer& peer) {
  return peer.engine().connection_settings(peer.socket).value;
}

void set(raw_peer& peer, const connection_policy& policy) {
  CHECK(peer.engine().set_policy(peer.socket, policy) == error::none);
  peer.flush();
}

}  // namespace

TEST_CASE("tcp S104 S113 TCPKeepAlive: probes after 2, 3 and 4 s, RST and ETIMEDOUT after 5 s") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.mark();
  peer.run_for(10s);
  const auto said = peer.said();
  CHECK(peer.times() == moments{2000, 3000, 4000, 5000});
  REQUIRE(said.size() == 4);
  peer.said() = said;
  for (int i = 0; i < 3; ++i) peer.expect({flags("A"), seq(0), ack(1), length(0)});
  peer.expect({flags("RA"), seq(1), ack(1), length(0)});
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.read_error() == error::timed_out);
  CHECK(peer.write_error() == error::broken_pipe);
  CHECK(peer.count().keep_alive == 3);
  CHECK(peer.count().abort_on_timeout == 1);
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("tcp S104 keepalive: the defaults find a dead peer after 7875 s") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.keepalive = true;
  peer.establish(policy);
  peer.mark();
  CHECK(peer.run_until_over(9000s) == 7875s);
  CHECK(peer.count().keep_alive == 9);
}

TEST_CASE("tcp S103 keepalive: ten probes are a policy, and take 7950 s") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.keepalive = true;
  policy.connection.keepalive_probes = 10;
  peer.establish(policy);
  peer.mark();
  CHECK(peer.run_until_over(9000s) == 7950s);
  CHECK(peer.count().keep_alive == 10);
}

TEST_CASE("tcp S105 keepalive: whatever arrives starts the time anew") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.mark();
  SUBCASE("an answer to a probe") {
    for (int i = 0; i < 3; ++i) {
      peer.run_for(2s);
      peer.expect({flags("A"), seq(0)});
      peer.expect_nothing();
      peer.send({});
    }
    peer.run_for(5s);
    CHECK(peer.times() == moments{8000, 9000, 10'000, 11'000});
  }
  SUBCASE("an answer to the last probe") {
    peer.run_for(4500ms);
    peer.send({});
    peer.forget();
    peer.run_for(3s);
    CHECK(peer.times() == moments{6500, 7500});
  }
  SUBCASE("text") {
    peer.run_for(1500ms);
    peer.send({text("x")});
    CHECK(peer.read() == "x");
    peer.forget();
    peer.run_for(2100ms);
    CHECK(peer.times() == moments{3500});
  }
  SUBCASE("the acknowledgement of what was sent") {
    peer.run_for(1900ms);
    peer.write("x");
    peer.run_for(50ms);
    peer.send({});
    peer.forget();
    peer.run_for(2500ms);
    CHECK(peer.times() == moments{3950});
  }
  SUBCASE("a duplicate") {
    peer.run_for(1s);
    peer.send({});
    peer.run_for(2s);
    CHECK(peer.times() == moments{3000});
  }
}

TEST_CASE("tcp S105 keepalive: what is on its way is watched by retransmission, not by probes") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.write("unanswered");
  peer.run_for(100s);
  CHECK(peer.count().keep_alive == 0);
  CHECK(peer.look().timer == armed_timer::retransmit);
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp keepalive: behind a closed window the window probes do the work") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.send({window(0)});
  peer.write("held back");
  for (int i = 0; i < 200; ++i) {
    peer.run_for(500ms);
    if (!peer.said().empty()) peer.send({window(0)});
    peer.forget();
  }
  CHECK(peer.count().keep_alive == 0);
  CHECK(peer.count().win_probe > 5);
  CHECK(peer.current() == state::established);
  peer.send({window(1000)});
  peer.forget();
  peer.send({});
  peer.run_for(2s);
  CHECK(peer.count().keep_alive == 1);
}

TEST_CASE("tcp keepalive: every state that may wait for ever is watched") {
  for (const state in : {state::established, state::close_wait, state::fin_wait_2}) {
    CAPTURE(in);
    raw_peer peer([](host_options& options) {
      options.connection.keepalive = true;
      options.connection.keepalive_time = 10s;
      options.connection.keepalive_interval = 1s;
      options.connection.keepalive_probes = 2;
    });
    bring_to(peer, in);
    peer.mark();
    CHECK(peer.run_until_over(20s) == 12s);
    CHECK(peer.look().ended == end_reason::timed_out);
  }
}

TEST_CASE("tcp keepalive: FIN-WAIT-2 of a closed connection has its own end") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.close();
  peer.send({});
  peer.mark();
  peer.forget();
  CHECK(peer.run_until_over(100s) == 60s);
  CHECK(peer.count().keep_alive == 0);
  peer.expect_nothing();
}

TEST_CASE("tcp S59 S107 keepalive: a host that started anew answers with RST") {
  raw_peer peer;
  peer.establish(watched(2s, 1s, 3));
  peer.run_for(2s);
  peer.expect({flags("A"), seq(0), ack(1)});
  peer.send({flags("R"), seq(1)});
  CHECK(peer.look().ended == end_reason::reset);
  CHECK(peer.read_error() == error::connection_reset);
}

TEST_CASE(
    "tcp S70 S107 keepalive: a client that vanishes is found, one that is only quiet is not") {
  connected_pair pair;
  pair.establish({}, watched(60s, 10s, 5));
  pair.drive_for(24h);
  CHECK(pair.server_state() == state::established);
  CHECK(pair[1].counters().keep_alive >= 1439);
  pair.filter = [](const seen_packet&) { return false; };
  const time_point gone = pair.now();
  while (pair.server_state() != state::closed) REQUIRE(pair.step(gone + 200s));
  CHECK(pair.now() - gone <= 110s);
  CHECK(pair.look(1).ended == end_reason::timed_out);
  // Nothing tells the client, which has no keepalive.
  CHECK(pair.client_state() == state::established);
}

TEST_CASE("tcp S107 keepalive: without it a silent peer is never noticed") {
  connected_pair pair;
  pair.establish();
  pair.filter = [](const seen_packet&) { return false; };
  pair.drive_for(1000h);
  CHECK(pair.client_state() == state::established);
  CHECK(pair.server_state() == state::established);
  CHECK(pair.trace.empty());
}

TEST_CASE("tcp keepalive: a change of policy holds at once") {
  raw_peer peer;
  SUBCASE("switched on: from now on") {
    peer.establish();
    peer.run_for(100s);
    peer.mark();
    set(peer, watched(2s, 1s, 3).connection);
    peer.run_for(3s);
    CHECK(peer.times() == moments{2000, 3000});
    CHECK(peer.look().timer == armed_timer::keepalive);
    CHECK(peer.look().timer_retries == 2);
  }
  SUBCASE("switched off") {
    peer.establish(watched(2s, 1s, 3));
    peer.run_for(3s);
    peer.forget();
    connection_policy policy = own_policy(peer);
    policy.keepalive = false;
    set(peer, policy);
    peer.run_for(100s);
    peer.expect_nothing();
    CHECK(peer.current() == state::established);
  }
  SUBCASE("a shorter time counts from the last arrival") {
    peer.establish(watched(7200s, 1s, 3));
    peer.mark();
    peer.run_for(3s);
    connection_policy policy = own_policy(peer);
    policy.keepalive_time = 5s;
    set(peer, policy);
    peer.run_for(3s);
    CHECK(peer.times() == moments{5000, 6000});
  }
  SUBCASE("one that has passed already: now") {
    peer.establish(watched(7200s, 10s, 3));
    peer.mark();
    peer.run_for(30s);
    connection_policy policy = own_policy(peer);
    policy.keepalive_time = 5s;
    set(peer, policy);
    peer.run_for(5s);
    CHECK(peer.times() == moments{30'000});
  }
  SUBCASE("while probes are unanswered: they go on") {
    peer.establish(watched(2s, 1s, 3));
    peer.mark();
    peer.run_for(3500ms);
    peer.forget();
    connection_policy policy = own_policy(peer);
    policy.keepalive_time = 3s;
    set(peer, policy);
    CHECK(peer.run_until_over(100s) == 4500ms);
    CHECK(peer.times() == moments{3500, 4500});
  }
}

TEST_CASE("tcp keepalive: a change of another field, and of the host's defaults") {
  raw_peer peer;
  SUBCASE("something else: nothing") {
    peer.establish(watched(2s, 10s, 3));
    peer.mark();
    peer.run_for(3s);
    CHECK(peer.engine().set_nodelay(peer.socket, true) == error::none);
    peer.run_for(10s);
    CHECK(peer.times() == moments{2000, 12'000});
  }
  SUBCASE("the host's defaults, for those that have set nothing") {
    peer.establish();
    peer.mark();
    peer.run_for(1s);
    connection_policy defaults = watched(2s, 1s, 3).connection;
    CHECK(peer.engine().set_connection_defaults(defaults) == error::none);
    peer.run_for(3s);
    CHECK(peer.times() == moments{3000, 4000});
    defaults.keepalive = false;
    CHECK(peer.engine().set_connection_defaults(defaults) == error::none);
    peer.run_for(100s);
    peer.expect_nothing();
  }
  SUBCASE("the host's defaults do not touch what is set") {
    peer.establish(watched(10s, 1s, 3));
    peer.mark();
    CHECK(peer.engine().set_connection_defaults(watched(2s, 1s, 3).connection) == error::none);
    peer.run_for(10s);
    CHECK(peer.times() == moments{10'000});
  }
}

TEST_CASE("tcp keepalive: the clock's 32 bits of milliseconds may turn over meanwhile") {
  raw_peer peer({}, time_point((std::uint64_t{1} << 32) * 1ms - 1s));
  peer.establish(watched(2s, 1s, 3));
  peer.mark();
  CHECK(peer.run_until_over(10s) == 5s);
}

TEST_CASE("tcp S105 user timeout: text without an answer ends the connection after 1.5 s") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.user_timeout = 1500ms;
  peer.establish(policy);
  peer.mark();
  peer.write("hello");
  CHECK(peer.run_until_over(10s) == 1500ms);
  CHECK(peer.times() == moments{0, 201, 603, 1407});
  CHECK(peer.read_error() == error::timed_out);
  CHECK(peer.count().abort_on_timeout == 1);
}

TEST_CASE("tcp S105 user timeout: only progress moves it") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.user_timeout = 1500ms;
  peer.establish(policy);
  SUBCASE("what is acknowledged starts it anew") {
    peer.write("abc");
    peer.write("def");
    peer.run_for(1s);
    peer.send({ack(4)});
    peer.mark();
    CHECK(peer.run_until_over(10s) == 1500ms);
  }
  SUBCASE("acknowledgements of nothing new do not") {
    peer.write("abc");
    peer.mark();
    for (int i = 0; i < 14; ++i) {
      peer.run_for(100ms);
      peer.send({ack(1)});
    }
    CHECK(peer.run_until_over(10s) == 1500ms);
  }
  SUBCASE("nor does a peer that takes its window back") {
    peer.write("abc");
    peer.mark();
    for (int i = 0; i < 14; ++i) {
      peer.run_for(100ms);
      peer.send({ack(1), window(0)});
    }
    CHECK(peer.run_until_over(10s) == 1500ms);
  }
  SUBCASE("it does not touch an idle connection") {
    peer.run_for(1000s);
    CHECK(peer.current() == state::established);
  }
  SUBCASE("there is one more try, however short it is") {
    connection_policy shorter = own_policy(peer);
    shorter.user_timeout = 1ms;
    set(peer, shorter);
    peer.mark();
    peer.write("abc");
    CHECK(peer.run_until_over(10s) == 202ms);
    CHECK(peer.times() == moments{0, 201});
  }
}

TEST_CASE("tcp S105 user timeout: it takes the place of retries2, also when it is longer") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.user_timeout = 60s;
  policy.connection.retries2 = 3;
  peer.establish(policy);
  peer.mark();
  peer.write("hello");
  CHECK(peer.run_until_over(100s) == 60s);
}

TEST_CASE("tcp user timeout: a change of policy holds at once") {
  raw_peer peer;
  peer.establish();
  peer.write("hello");
  peer.mark();
  peer.run_for(8s);
  connection_policy policy = own_policy(peer);
  SUBCASE("later") {
    policy.user_timeout = 10s;
    set(peer, policy);
    CHECK(peer.run_until_over(100s) == 10s);
  }
  SUBCASE("passed already") {
    policy.user_timeout = 5s;
    set(peer, policy);
    CHECK(peer.run_until_over(100s) == 8s);
  }
}

TEST_CASE("tcp S105 user timeout: a closed window is not borne for longer, though it answers") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.user_timeout = 20s;
  peer.establish(policy);
  peer.send({window(0)});
  peer.write("held back");
  peer.mark();
  while (peer.current() != state::closed && peer.since_mark() < 30s) {
    peer.run_for(100ms);
    if (!peer.said().empty() && peer.current() != state::closed) peer.send({window(0)});
    peer.forget();
  }
  CHECK(peer.since_mark() == 20s);
  CHECK(peer.look().ended == end_reason::timed_out);
}

TEST_CASE("tcp S105 user timeout: with keepalive it takes the place of the number of probes") {
  raw_peer peer;
  listener_policy policy = watched(2s, 1s, 3);
  SUBCASE("more of them") {
    policy.connection.user_timeout = 10s;
    peer.establish(policy);
    peer.mark();
    CHECK(peer.run_until_over(100s) == 10s);
    CHECK(peer.count().keep_alive == 8);
  }
  SUBCASE("fewer, but at least one") {
    policy.connection.user_timeout = 1ms;
    peer.establish(policy);
    peer.mark();
    CHECK(peer.run_until_over(100s) == 3s);
    CHECK(peer.count().keep_alive == 1);
  }
}

TEST_CASE("tcp user timeout: SYN without an answer") {
  raw_peer peer;
  connection_policy policy;
  policy.user_timeout = 2500ms;
  peer.connect(policy);
  peer.mark();
  CHECK(peer.run_until_over(200s) == 2500ms);
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.count().attempt_fails == 1);
}
