#include "host_pair.hpp"
#include "raw_peer.hpp"

// The ends of a connection: FIN from either side and from both, half-close, orphans, and the retry
// schedules of what is not answered.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp ESTABLISHED: shutdown says FIN and moves to FIN-WAIT-1") {
  raw_peer peer;
  peer.establish();
  peer.shutdown();
  peer.expect({flags("FA"), seq(1), ack(1), length(0)});
  CHECK(peer.look().state == state::fin_wait_1);
  CHECK(peer.write_error() == error::broken_pipe);
  CHECK(peer.engine().shutdown(peer.socket, peer.now()) == error::none);
  peer.flush();
  peer.expect_nothing();
}

TEST_CASE("tcp S04 ESTABLISHED: FIN moves to CLOSE-WAIT and is acknowledged") {
  raw_peer peer;
  peer.establish();
  peer.send({flags("FA")});
  peer.expect({flags("A"), seq(1), ack(2)});
  CHECK(peer.look().state == state::close_wait);
  CHECK((peer.reported & events::readable) == events::readable);
  CHECK(peer.read_error() == error::none);
}

TEST_CASE("tcp S55 ESTABLISHED: text before FIN is read first, then the end, again and again") {
  raw_peer peer;
  peer.establish();
  peer.send({flags("FPA"), text("last words")});
  peer.run_for(40ms);
  peer.expect({flags("A"), ack(12)});
  CHECK(peer.read() == "last words");
  CHECK(peer.read_error() == error::none);
  CHECK(peer.read_error() == error::none);
}

TEST_CASE("tcp S05 FIN-WAIT-1: the acknowledgement of our FIN moves to FIN-WAIT-2") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_1);
  peer.send({ack(1)});
  CHECK(peer.look().state == state::fin_wait_1);
  peer.send({ack(2)});
  peer.expect_nothing();
  CHECK(peer.look().state == state::fin_wait_2);
}

TEST_CASE("tcp S05 FIN-WAIT-1: the acknowledgement of text alone does not move") {
  raw_peer peer;
  peer.establish();
  peer.write("abc");
  peer.shutdown();
  peer.expect({seq(1), text("abc")});
  peer.expect({flags("FA"), seq(4)});
  peer.send({ack(4)});
  CHECK(peer.look().state == state::fin_wait_1);
  CHECK(peer.look().unacked_bytes == 0);
  peer.send({ack(5)});
  CHECK(peer.look().state == state::fin_wait_2);
}

TEST_CASE("tcp S05 FIN-WAIT-1: FIN that acknowledges ours goes straight to TIME-WAIT") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_1);
  peer.send({ack(2), flags("FA")});
  peer.expect({flags("A"), seq(2), ack(2)});
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.look().ended == end_reason::clean);
}

TEST_CASE("tcp S75 FIN-WAIT-1: FIN alone moves to CLOSING, and its acknowledgement to TIME-WAIT") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_1);
  peer.send({ack(1), flags("FA")});
  peer.expect({flags("A"), seq(2), ack(2)});
  CHECK(peer.look().state == state::closing);
  peer.send({ack(2)});
  peer.expect_nothing();
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.look().ended == end_reason::clean);
}

TEST_CASE("tcp S75 simultaneous close: both sides pass CLOSING and keep TIME-WAIT") {
  connected_pair pair;
  pair.establish();
  pair.close(0);
  pair.close(1);
  pair.drive_for(10ms);
  for (const int side : {0, 1}) {
    CHECK(pair.look(side).ended == end_reason::clean);
    CHECK(pair[side].memory().time_wait == 1);
  }
  CHECK(pair.trace.size() == 4);
}

TEST_CASE(
    "tcp FIN-WAIT-1: text comes with the acknowledgement of our FIN and with the peer's FIN") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_1);
  peer.send({ack(2), flags("FPA"), text("bye")});
  peer.expect({flags("A"), ack(5)});
  CHECK(peer.read() == "bye");
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp S58 FIN-WAIT-2: the other direction stays open for as long as it likes") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_2);
  peer.run_for(1000s);
  CHECK(peer.look().state == state::fin_wait_2);
  peer.send({text("more")});
  CHECK(peer.read() == "more");
  peer.forget();
  peer.send({flags("FA")});
  peer.expect({flags("A"), seq(2), ack(6)});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp S58 CLOSE-WAIT: text goes out") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.write("still here");
  peer.expect({flags("A"), seq(1), ack(2), text("still here")});
  peer.send({});
  CHECK(peer.look().unacked_bytes == 0);
  peer.shutdown();
  peer.expect({flags("FA"), seq(11), ack(2)});
  CHECK(peer.look().state == state::last_ack);
  peer.send({});
  CHECK(peer.look().state == state::closed);
  CHECK(peer.look().ended == end_reason::clean);
  CHECK(peer.engine().memory().time_wait == 0);
}

TEST_CASE("tcp S63 CLOSE-WAIT: only the application leaves it") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.run_for(3000s);
  peer.expect_nothing();
  CHECK(peer.look().state == state::close_wait);
}

TEST_CASE("tcp LAST-ACK: only the acknowledgement of FIN ends it") {
  raw_peer peer;
  bring_to(peer, state::last_ack);
  peer.send({ack(1)});
  CHECK(peer.look().state == state::last_ack);
  peer.send({ack(2)});
  CHECK(peer.look().state == state::closed);
  CHECK(peer.look().ended == end_reason::clean);
  peer.send({ack(2)});
  peer.expect({flags("R"), seq(2)});
}

TEST_CASE("tcp S56 CLOSE-WAIT: close before the delayed acknowledgement merges it into FIN") {
  SUBCASE("in the same turn") {
    raw_peer peer;
    peer.establish();
    peer.send_unanswered({flags("FA")});
    peer.close();
    peer.expect({flags("FA"), seq(1), ack(2)});
    peer.expect_nothing();
  }
  SUBCASE("soon after, when acknowledgements wait for answers") {
    raw_peer peer;
    peer.establish();
    peer.send({text("request")});
    CHECK(peer.read() == "request");
    peer.write("response");
    peer.send({});
    peer.forget();
    peer.send({flags("FA")});
    peer.expect_nothing();
    peer.run_for(30ms);
    peer.close();
    peer.expect({flags("FA"), seq(9), ack(9)});
    peer.expect_nothing();
  }
  SUBCASE("too late") {
    raw_peer peer;
    peer.establish();
    peer.send({text("request")});
    CHECK(peer.read() == "request");
    peer.write("response");
    peer.send({});
    peer.forget();
    peer.mark();
    peer.send({flags("FA")});
    peer.run_for(100ms);
    peer.close();
    CHECK(peer.times() == std::vector<std::int64_t>{40, 100});
  }
}

TEST_CASE("tcp S56 close: a request, its answer with FIN, and FIN back are three segments") {
  connected_pair pair;
  pair.establish();
  pair.send(0, "request");
  pair.drive_for(5ms);
  CHECK(pair.receive(1) == "request");
  pair.clear();
  pair.send(1, "response");
  pair.close(1);
  while (!pair.reported(0, events::readable)) REQUIRE(pair.step());
  CHECK(pair.receive(0) == "response");
  pair.close(0);
  pair.drive_for(100ms);
  CHECK(pair.look(0).ended == end_reason::clean);
  CHECK(pair.look(1).ended == end_reason::clean);
}

TEST_CASE("tcp S57 S62 close: both directions end; text that comes later draws RST") {
  SUBCASE("S62 in FIN-WAIT-1, counted") {
    raw_peer peer;
    peer.establish();
    peer.close();
    peer.expect({flags("FA"), seq(1)});
    peer.send({ack(1), text("late")});
    peer.expect({flags("R"), seq(1)});
    CHECK(peer.look().ended == end_reason::aborted);
    CHECK(peer.count().abort_on_data == 1);
  }
  SUBCASE("S62 in FIN-WAIT-2") {
    raw_peer peer;
    peer.establish();
    peer.close();
    peer.send({ack(2)});
    peer.forget();
    peer.send({text("late")});
    peer.expect({flags("R"), seq(2)});
    CHECK(peer.look().ended == end_reason::aborted);
    CHECK(peer.count().abort_on_data == 0);
  }
  SUBCASE("ahead of a hole too") {
    raw_peer peer;
    peer.establish();
    peer.close();
    peer.forget();
    peer.send({seq(100), ack(1), text("late")});
    peer.expect({flags("R"), seq(1)});
  }
  SUBCASE("but not what was acknowledged before") {
    raw_peer peer;
    peer.establish();
    peer.send({text("old")});
    CHECK(peer.read() == "old");
    peer.close();
    peer.forget();
    peer.send({seq(1), ack(1), text("old")});
    peer.expect({flags("A"), ack(4)});
    CHECK(peer.current() == state::fin_wait_1);
  }
}

TEST_CASE("tcp S67 close: with bytes unread it is RST, and counted") {
  raw_peer peer;
  SUBCASE("ESTABLISHED") {
    peer.establish();
    peer.send({text("unread")});
  }
  SUBCASE("CLOSE-WAIT") {
    peer.establish();
    peer.send({flags("FA"), text("unread")});
  }
  SUBCASE("FIN-WAIT-2") {
    bring_to(peer, state::fin_wait_2);
    peer.send({text("unread")});
  }
  peer.forget();
  const std::uint32_t read_to = peer.peer_next - peer.peer_iss;
  peer.close();
  peer.expect({flags("RA"), ack(read_to)});
  peer.expect_nothing();
  CHECK(peer.count().abort_on_close == 1);
  CHECK(peer.look().ended == end_reason::aborted);
  CHECK(peer.current() == state::closed);
}

TEST_CASE("tcp S64 S65 close: FIN when everything was read") {
  raw_peer peer;
  peer.establish();
  peer.send({text("read")});
  CHECK(peer.read() == "read");
  peer.forget();
  peer.close();
  peer.expect({flags("FA")});
}

TEST_CASE("tcp close: release of an open connection closes it, and the engine ends it alone") {
  raw_peer peer;
  peer.establish();
  peer.write("tail");
  peer.expect({text("tail")});
  peer.engine().release(peer.socket, peer.now());
  peer.flush();
  peer.expect({flags("FA"), seq(5)});
  CHECK(peer.engine().snapshot(peer.socket).error == error::bad_handle);
  CHECK(peer.current() == state::fin_wait_1);
  peer.send({});
  peer.send({flags("FA")});
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.engine().memory().connections == 0);
}

TEST_CASE("tcp S61 FIN-WAIT-2: after close it lasts 60 s; after shutdown it has no timer") {
  raw_peer peer;
  peer.establish();
  peer.shutdown();
  peer.run_for(10ms);
  SUBCASE("close before the acknowledgement") {
    peer.close();
    peer.mark();
    peer.send({ack(2)});
  }
  SUBCASE("close after the acknowledgement") {
    peer.send({ack(2)});
    peer.run_for(500s);
    CHECK(peer.current() == state::fin_wait_2);
    peer.mark();
    peer.close();
  }
  CHECK(peer.run_until_over(100s) == 60s);
  CHECK(peer.look().ended == end_reason::clean);
  peer.forget();
  peer.send({flags("FA")});
  peer.expect({flags("R")});
}

TEST_CASE("tcp S61 FIN-WAIT-2: fin_timeout is the policy's") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.fin_timeout = 2500ms;
  peer.establish(policy);
  peer.close();
  peer.mark();
  peer.send({ack(2)});
  CHECK(peer.run_until_over(100s) == 2500ms);
}

TEST_CASE("tcp S71 CLOSE-WAIT: the repeated FIN draws the acknowledgement again, every time") {
  for (const state in : {state::close_wait, state::last_ack, state::closing}) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    for (int i = 0; i < 5; ++i) {
      peer.send({seq(1), ack(1), flags("FA")});
      peer.expect({flags("A"), ack(2)});
      peer.expect_nothing();
      peer.run_for(50ms);
      peer.forget();
    }
    CHECK(peer.current() == in);
  }
}

TEST_CASE("tcp S102 close: FIN waits behind a closed window and leaves when it opens") {
  raw_peer peer;
  peer.establish();
  peer.send({window(0)});
  peer.write("held back");
  peer.shutdown();
  peer.expect_nothing();
  CHECK(peer.look().state == state::fin_wait_1);
  SUBCASE("all at once") {
    peer.send({window(1000)});
    peer.expect({flags("FPA"), seq(1), text("held back")});
  }
  SUBCASE("S102 FIN stays behind the text") {
    peer.send({window(9)});
    peer.expect({flags("PA"), seq(1), text("held back")});
    peer.expect_nothing();
    peer.send({window(9)});
    peer.expect({flags("FA"), seq(10), length(0)});
  }
}

TEST_CASE("tcp close: what the application is told when everything was acknowledged") {
  raw_peer peer;
  peer.establish();
  peer.write("abc");
  peer.close();
  CHECK(!peer.engine().drained(peer.socket));
  peer.reported = events::none;
  peer.send({});
  CHECK((peer.reported & events::drained) == events::drained);
  CHECK(peer.engine().drained(peer.socket));
  CHECK(peer.look().ended == end_reason::none);
  peer.send({flags("FA")});
  CHECK((peer.reported & events::closed) == events::closed);
}

TEST_CASE("tcp close: bytes that were never acknowledged are told when it ends") {
  raw_peer peer;
  peer.establish();
  peer.write("0123456789");
  peer.send({ack(5)});
  peer.close(close_mode::abort);
  CHECK(peer.look().unacked_bytes == 6);
  CHECK(peer.look().ended == end_reason::aborted);
  CHECK(peer.read_error() == error::connection_aborted);
  CHECK(peer.read_error() == error::none);
  CHECK(peer.write_error() == error::broken_pipe);
}

TEST_CASE("tcp close: FIN ahead of a hole waits for the hole to be filled") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(4), flags("FA"), text("def")});
  peer.expect({flags("A"), ack(1)});
  CHECK(peer.look().state == state::established);
  CHECK(peer.read() == "");
  peer.send({seq(1), text("abc")});
  peer.expect({flags("A"), ack(8)});
  CHECK(peer.look().state == state::close_wait);
  CHECK(peer.read() == "abcdef");
}

TEST_CASE("tcp close: FIN alone ahead of a hole is remembered") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(7), flags("FA")});
  peer.expect({flags("A"), ack(1)});
  CHECK(peer.look().state == state::established);
  peer.send({seq(4), text("def")});
  peer.forget();
  peer.send({seq(1), text("abc")});
  peer.expect({flags("A"), ack(8)});
  CHECK(peer.read() == "abcdef");
  CHECK(peer.look().state == state::close_wait);
}

TEST_CASE("tcp close: text and FIN in every order of three segments end the same way") {
  struct piece {
    std::uint32_t at;
    std::string_view what;
    std::string_view letters;
  };
  std::vector<piece> pieces = {{1, "abc", "A"}, {4, "def", "A"}, {7, "", "FA"}};
  std::vector<int> order = {0, 1, 2};
  do {
    raw_peer peer;
    peer.establish();
    for (const int each : order) {
      const piece& p = pieces[static_cast<std::size_t>(each)];
      peer.send({seq(p.at), text(p.what), flags(p.letters)});
    }
    CHECK(peer.read() == "abcdef");
    CHECK(peer.current() == state::close_wait);
    peer.run_for(40ms);
    CHECK(peer.said().back().tcp.ack == peer.peer_iss + 8);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("tcp close: nothing that follows FIN is taken") {
  for (const state in : {state::close_wait, state::last_ack, state::closing}) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    peer.send({seq(2), ack(1), text("after")});
    peer.send({seq(2), ack(1), flags("FA")});
    CHECK(peer.read() == "");
    CHECK(peer.current() == in);
    CHECK(peer.look().unread_bytes == 0);
  }
}
