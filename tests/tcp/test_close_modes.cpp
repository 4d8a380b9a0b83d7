#include "host_pair.hpp"
#include "raw_peer.hpp"

// Lingering close and peer_first: what arrives is thrown away, TIME-WAIT lands where it was meant
// to, and neither lasts longer than its time.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

listener_policy closes_by(close_mode mode, std::chrono::milliseconds time) {
  listener_policy policy;
  policy.connection.close = mode;
  policy.connection.close_time = time;
  return policy;
}

/// Lets go of the connection: the engine goes on by its policy.
void drop(raw_peer& peer) {
  peer.engine().release(peer.socket, peer.now());
  peer.flush();
}

}  // namespace

TEST_CASE("tcp lingering: FIN at once, and no RST for what still arrives") {
  raw_peer peer;
  listener_policy policy = closes_by(close_mode::lingering, 5s);
  peer.establish(policy);
  peer.write("response");
  peer.forget();
  peer.send({ack(1), text("unread")});
  peer.forget();
  drop(peer);
  peer.expect({flags("FA"), seq(9), ack(7)});
  peer.expect_nothing();
  peer.send({ack(1), text("more")});
  peer.expect({flags("A"), ack(11)});
  peer.send({ack(9), text("and more")});
  peer.expect({flags("A"), ack(19)});
  CHECK(peer.current() == state::fin_wait_1);
  peer.send({});
  CHECK(peer.current() == state::fin_wait_2);
  peer.send({text("still")});
  peer.expect({flags("A"), ack(24)});
  peer.send({flags("FA")});
  peer.expect({flags("A"), ack(25)});
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.count().out_rsts == 0);
  CHECK(peer.count().abort_on_close == 0);
  CHECK(peer.engine().memory().connections == 0);
}

TEST_CASE("tcp lingering: after its time it is like any closed connection") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::lingering, 5s));
  drop(peer);
  peer.send({});
  peer.mark();
  SUBCASE("text draws RST") {
    peer.run_for(4999ms);
    peer.send({text("in time")});
    peer.forget();
    peer.run_for(1ms);
    peer.send({text("late")});
    peer.expect({flags("R")});
    CHECK(peer.current() == state::closed);
  }
  SUBCASE("FIN-WAIT-2 lasts fin_timeout more") {
    CHECK(peer.run_until_over(100s) == 65s);
  }
}

TEST_CASE("tcp lingering: the time holds while our own text is not through") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::lingering, 5s));
  peer.write("response");
  drop(peer);
  peer.run_for(6s);
  peer.forget();
  peer.send({ack(1), text("late")});
  peer.expect({flags("R")});
  CHECK(peer.count().abort_on_data == 1);
}

TEST_CASE("tcp lingering: what is thrown away holds no memory and the window stays open") {
  raw_peer peer;
  listener_policy policy = closes_by(close_mode::lingering, 60s);
  policy.connection.receive_buffer = 16'384;
  peer.establish(policy);
  const std::string block = numbered_text(1000);
  while (peer.look().rcv_wnd_bytes >= 1000) peer.send({text(block)});
  peer.forget();
  drop(peer);
  bool opened = false;
  for (const seen_packet& each : peer.said()) opened = opened || each.tcp.window >= 4000;
  CHECK(opened);
  peer.send({});
  for (int i = 0; i < 1000; ++i) {
    peer.send({text(block)});
    REQUIRE(peer.current() == state::fin_wait_2);
    CHECK(peer.engine().memory().buffer_bytes < 16'384);
  }
  CHECK(peer.count().out_rsts == 0);
}

TEST_CASE("tcp lingering: pieces behind a hole are thrown away in order too") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::lingering, 5s));
  drop(peer);
  peer.send({});
  peer.forget();
  peer.send({seq(4), text("def")});
  peer.expect({flags("A"), ack(1)});
  peer.send({seq(7), flags("FA")});
  peer.forget();
  peer.send({seq(1), text("abc")});
  peer.expect({flags("A"), ack(8)});
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.engine().memory().buffer_bytes == 0);
}

TEST_CASE("tcp lingering: in CLOSE-WAIT there is nothing to linger for") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::lingering, 5s));
  peer.send({flags("FA"), text("unread")});
  peer.forget();
  drop(peer);
  peer.expect({flags("FA")});
  CHECK(peer.current() == state::last_ack);
  peer.send({});
  CHECK(peer.current() == state::closed);
  CHECK(peer.count().abort_on_close == 0);
}

TEST_CASE("tcp peer_first: the peer's FIN is answered, and TIME-WAIT is the peer's") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::peer_first, 2s));
  peer.write("response");
  peer.forget();
  drop(peer);
  peer.expect_nothing();
  CHECK(peer.current() == state::established);
  peer.send({});
  peer.run_for(1s);
  peer.expect_nothing();
  peer.send({flags("FA")});
  peer.expect({flags("FA"), seq(9), ack(2)});
  peer.expect_nothing();
  CHECK(peer.current() == state::last_ack);
  peer.send({});
  CHECK(peer.current() == state::closed);
  CHECK(peer.engine().memory().time_wait == 0);
  CHECK(peer.engine().memory().connections == 0);
}

TEST_CASE("tcp peer_first: FIN that comes with text, and text alone, are taken and thrown away") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::peer_first, 2s));
  peer.send({text("unread")});
  peer.forget();
  drop(peer);
  peer.forget();
  peer.send({text("ignored")});
  peer.expect({flags("A"), ack(14)});
  peer.send({text("bye"), flags("FA")});
  peer.expect({flags("FA"), ack(18)});
  CHECK(peer.count().out_rsts == 0);
}

TEST_CASE("tcp peer_first: after the grace it is closed from here") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::peer_first, 2s));
  peer.mark();
  drop(peer);
  peer.run_for(2s);
  CHECK(peer.times() == std::vector<std::int64_t>{2000});
  CHECK(peer.current() == state::fin_wait_1);
  SUBCASE("and TIME-WAIT stays here") {
    peer.send({});
    peer.send({flags("FA")});
    CHECK(peer.current() == state::time_wait);
  }
  SUBCASE("and text is thrown away for 5 s more, so that no RST overtakes the answer") {
    peer.forget();
    peer.send({text("late")});
    peer.expect({flags("A"), ack(5)});
    peer.run_for(4999ms);
    peer.forget();
    peer.send({text("later")});
    peer.expect({flags("A"), ack(10)});
    peer.run_for(1ms);
    peer.forget();
    peer.send({text("too late")});
    peer.expect({flags("R")});
  }
  SUBCASE("and a peer that says nothing is given up") {
    CHECK(peer.run_until_over(200s) == 2000ms + 102'711ms);
  }
}

TEST_CASE("tcp peer_first: where FIN was said already it lingers") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::peer_first, 2s));
  peer.shutdown();
  peer.send({});
  peer.forget();
  drop(peer);
  peer.send({text("ignored")});
  peer.expect({flags("A")});
  CHECK(peer.current() == state::fin_wait_2);
  peer.mark();
  CHECK(peer.run_until_over(100s) == 65s);
}

TEST_CASE("tcp peer_first: how long it lingers is a policy of its own, whatever the grace was") {
  listener_policy policy = closes_by(close_mode::peer_first, 2s);
  policy.connection.peer_first_linger = 300ms;
  raw_peer peer;
  peer.establish(policy);
  duration grace = 2s;
  SUBCASE("the policy's grace") {
    drop(peer);
  }
  SUBCASE("a shorter one") {
    grace = 10ms;
    CHECK(peer.engine().close(peer.socket, close_mode::peer_first, 10ms, peer.now()) ==
          error::none);
  }
  SUBCASE("a longer one") {
    grace = 60s;
    CHECK(peer.engine().close(peer.socket, close_mode::peer_first, 60s, peer.now()) == error::none);
  }
  peer.run_for(grace - 1ms);
  CHECK(peer.current() == state::established);
  peer.run_for(1ms);
  CHECK(peer.current() == state::fin_wait_1);
  peer.send({});
  peer.mark();
  CHECK(peer.run_until_over(100s) == 300ms + 60s);
}

TEST_CASE("tcp peer_first: without lingering text draws RST as soon as the grace is over") {
  raw_peer peer;
  listener_policy policy = closes_by(close_mode::peer_first, 2s);
  policy.connection.peer_first_linger = 0ms;
  peer.establish(policy);
  drop(peer);
  peer.run_for(1999ms);
  peer.send({text("in time")});
  peer.forget();
  peer.run_for(1ms);
  peer.expect({flags("FA")});
  peer.send({ack(1), text("late")});
  peer.expect({flags("R")});
  CHECK(peer.current() == state::closed);
}

TEST_CASE("tcp peer_first: the owner who waits is told when its own FIN is acknowledged") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::peer_first, 2s));
  CHECK(peer.engine().close(peer.socket, peer.now()) == error::none);
  CHECK(!peer.engine().drained(peer.socket));
  CHECK(peer.write_error() == error::broken_pipe);
  peer.send({flags("FA")});
  CHECK(!peer.engine().drained(peer.socket));
  peer.send({});
  CHECK(any(peer.reported & events::closed));
  CHECK(peer.look().ended == end_reason::clean);
}

TEST_CASE("tcp close modes: with no time at all they are graceful, and throw away what is unread") {
  for (const close_mode mode : {close_mode::lingering, close_mode::peer_first}) {
    raw_peer peer;
    peer.establish(closes_by(mode, 0ms));
    peer.send({text("unread")});
    peer.forget();
    drop(peer);
    peer.expect({flags("FA"), seq(1)});
    peer.send({ack(1), text("late")});
    peer.expect({flags("R")});
  }
}

TEST_CASE("tcp close modes: from SYN-SENT every one of them goes silently") {
  for (int mode = 0; mode < 5; ++mode) {
    raw_peer peer;
    peer.connect();
    peer.forget();
    peer.close(static_cast<close_mode>(mode));
    peer.expect_nothing();
    CHECK(peer.current() == state::closed);
  }
}

TEST_CASE("tcp close modes: from every state and against every peer nothing is left") {
  const state all[] = {state::syn_sent,   state::established, state::fin_wait_1, state::fin_wait_2,
                       state::close_wait, state::closing,     state::last_ack,   state::closed};
  enum class answer { silence, fin, text_and_fin, reset };
  for (const state in : all) {
    for (int mode = 0; mode < 5; ++mode) {
      for (const answer by : {answer::silence, answer::fin, answer::text_and_fin, answer::reset}) {
        CAPTURE(in);
        CAPTURE(mode);
        CAPTURE(static_cast<int>(by));
        raw_peer peer;
        if (in == state::closed) {
          peer.establish();
          peer.send({flags("R")});
        } else {
          bring_to(peer, in);
        }
        peer.close(static_cast<close_mode>(mode));
        drop(peer);
        if (in == state::syn_sent || in == state::closed) continue;
        // What was said before may have been said again.
        if (by == answer::text_and_fin) peer.send({text("x")});
        if (by == answer::fin || by == answer::text_and_fin) peer.send({flags("FA")});
        if (by == answer::reset) peer.send({flags("R")});
        if (by != answer::silence) peer.send({});
        peer.run_for(400s);
        CHECK(peer.engine().memory().connections == 0);
        CHECK(peer.engine().memory().orphans == 0);
        CHECK(peer.current() == state::closed);
      }
    }
  }
}

TEST_CASE("tcp S78 close modes: on which side TIME-WAIT lands") {
  struct {
    close_mode mode;
    bool peer_closes;
    std::size_t here;
    std::size_t there;
  } const cases[] = {
      {close_mode::graceful, true, 1, 0},   {close_mode::linger, true, 1, 0},
      {close_mode::lingering, true, 1, 0},  {close_mode::abort, true, 0, 0},
      {close_mode::peer_first, true, 0, 1}, {close_mode::peer_first, false, 1, 0},
  };
  for (const auto& each : cases) {
    CAPTURE(static_cast<int>(each.mode));
    connected_pair pair;
    pair.establish({}, closes_by(each.mode, 1s));
    pair.send(1, "response");
    pair.release(1);
    pair.drive_for(10ms);
    if (!each.peer_closes) pair.drive_for(2s);
    pair.receive(0);
    pair.close(0);
    pair.drive_for(100ms);
    CHECK(pair[1].memory().time_wait == each.here);
    CHECK(pair[0].memory().time_wait == each.there);
  }
}

TEST_CASE("tcp S58 half-close: text flows towards the closer for hours") {
  connected_pair pair;
  pair.establish();
  pair.shutdown(0);
  pair.drive_for(10ms);
  CHECK(pair.client_state() == state::fin_wait_2);
  CHECK(pair.server_state() == state::close_wait);
  std::string got;
  for (int i = 0; i < 100; ++i) {
    pair.drive_for(5min);
    pair.send(1, "x");
    pair.drive_for(10ms);
    got += pair.receive(0);
  }
  CHECK(got == std::string(100, 'x'));
  CHECK(pair.client_state() == state::fin_wait_2);
  pair.shutdown(1);
  pair.drive_for(10ms);
  CHECK(pair.look(0).ended == end_reason::clean);
  CHECK(pair.look(1).ended == end_reason::clean);
  CHECK(pair[0].memory().time_wait == 1);
  CHECK(pair[1].memory().time_wait == 0);
}

TEST_CASE("S113 TCPACKSkippedFinWait2: answers held back in FIN-WAIT-2 of a closed connection") {
  for (const bool closed : {true, false}) {
    CAPTURE(closed);
    raw_peer peer;
    bring_to(peer, state::fin_wait_2);
    if (closed) peer.close();
    peer.send({seq(0)});
    peer.expect({flags("A")});
    peer.send({seq(0)});
    peer.expect_nothing();
    CHECK(peer.count().ack_skipped_fin_wait_2 == (closed ? 1 : 0));
    CHECK(peer.count().ack_skipped_seq == (closed ? 0 : 1));
  }
}
