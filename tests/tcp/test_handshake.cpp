#include "host_pair.hpp"
#include "raw_peer.hpp"

// CLOSED, LISTEN and SYN-RECEIVED of a passive open (RFC 9293 3.10.7.1, 3.10.7.2, 3.10.7.4), as
// Linux was measured to behave.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp CLOSED: SYN to a port where nobody listens draws RST with its number") {
  raw_peer peer;
  peer.send_syn();
  peer.expect({flags("RA"), seq(0), ack(1), window(0), length(0)});
  peer.expect_nothing();
  CHECK(peer.count().out_rsts == 1);
}

TEST_CASE("tcp CLOSED: ACK draws RST at the number it acknowledges") {
  raw_peer peer;
  peer.send({seq(1), ack(5000)});
  peer.expect({flags("R"), seq(5000), length(0)});
  peer.send({seq(1), ack(7000), flags("FA"), text("data")});
  peer.expect({flags("R"), seq(7000)});
}

TEST_CASE("tcp CLOSED: a segment without ACK draws RST that acknowledges all of it") {
  raw_peer peer;
  peer.send({seq(1), flags("F"), text("data")});
  peer.expect({flags("RA"), seq(0), ack(6)});
}

TEST_CASE("tcp CLOSED: RST is never answered") {
  raw_peer peer;
  peer.send({seq(1), flags("R")});
  peer.send({seq(1), ack(9), flags("RA")});
  peer.expect_nothing();
}

TEST_CASE("tcp LISTEN: SYN draws SYN-ACK and a half-open entry") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.expect({flags("SA"), seq(0), ack(1), mss(1460), has_stamp(false), length(0)});
  peer.expect_nothing();
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue == 1);
  CHECK(peer.engine().memory().half_open == 1);
}

TEST_CASE("tcp LISTEN: what is no request is answered as in CLOSED or dropped") {
  raw_peer peer;
  peer.listen();
  peer.send({seq(1), ack(77)});
  peer.expect({flags("R"), seq(77)});
  peer.send({seq(1), ack(78), flags("SA")});
  peer.expect({flags("R"), seq(78)});
  for (const char* silent : {"R", "RA", "SF", "", "F", "P"}) {
    CAPTURE(silent);
    peer.send({seq(1), flags(silent)});
    peer.expect_nothing();
  }
  CHECK(peer.engine().memory().half_open == 0);
}

TEST_CASE("tcp S15 LISTEN: text on SYN is not acknowledged and comes again") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({mss(1460), text("hello")});
  peer.expect({flags("SA"), ack(1)});
  peer.send({seq(1), text("hello")});
  peer.accept();
  CHECK(peer.read() == "hello");
}

TEST_CASE("tcp LISTEN: SYN-ACK offers only what SYN offered") {
  raw_peer peer;
  peer.listen();
  SUBCASE("nothing") {
    peer.send_syn({});
    peer.expect({flags("SA"), mss(1460), has_stamp(false), window(64240)});
    CHECK(peer.count().out_segs == 1);
  }
  SUBCASE("window scaling") {
    peer.send_syn({mss(1460), scale(7)});
    peer.expect({flags("SA"), scale(10), has_stamp(false)});
  }
  SUBCASE("timestamps, echoed") {
    peer.send_syn({mss(1460), stamp(12345)});
    peer.expect({flags("SA"), echo(12345)});
  }
}

TEST_CASE("tcp SYN-RECEIVED: the third segment makes a connection that waits for accept") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.forget();
  peer.send({});
  peer.expect_nothing();
  CHECK(peer.current() == state::established);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  peer.accept();
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 0);
  CHECK(peer.look().state == state::established);
  CHECK(peer.count().passive_opens == 1);
}

TEST_CASE("tcp SYN-RECEIVED: the third segment may carry text, FIN, or both") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.forget();
  SUBCASE("text") {
    peer.send({text("GET")});
    peer.expect({flags("A"), ack(4)});
    peer.accept();
    CHECK(peer.read() == "GET");
  }
  SUBCASE("FIN") {
    peer.send({flags("FA")});
    peer.expect({flags("A"), ack(2)});
    peer.accept();
    CHECK(peer.current() == state::close_wait);
  }
  SUBCASE("both") {
    peer.send({flags("FPA"), text("GET")});
    peer.run_for(40ms);
    peer.expect({flags("A"), ack(5)});
    peer.accept();
    CHECK(peer.read() == "GET");
    CHECK(peer.current() == state::close_wait);
  }
  SUBCASE("text that comes before the third segment") {
    peer.send({seq(4), text("later")});
    peer.expect({flags("A"), ack(1)});
    peer.send({seq(1), text("GET")});
    peer.expect({flags("A"), ack(9)});
    peer.accept();
    CHECK(peer.read() == "GETlater");
  }
}

TEST_CASE("tcp SYN-RECEIVED: the same SYN draws the same SYN-ACK") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  peer.send_syn();
  peer.expect({flags("SA"), seq(0), ack(1)});
  CHECK(peer.engine().memory().half_open == 1);
}

TEST_CASE("tcp SYN-RECEIVED: SYN with another number in the window ends the request") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  peer.send({seq(500), flags("S")});
  peer.expect({flags("RA"), ack(501)});
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().attempt_fails == 1);
}

TEST_CASE("tcp SYN-RECEIVED: what lies outside the window is answered with where we are") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  peer.send({seq(100'000), flags("S")});
  peer.expect({flags("A"), seq(1), ack(1)});
  peer.send({seq(100'000), ack(1)});
  peer.expect_nothing();
  CHECK(peer.count().ack_skipped_syn_recv == 1);
  peer.run_for(500ms);
  peer.send({seq(100'000), ack(1)});
  peer.expect({flags("A"), seq(1), ack(1)});
  CHECK(peer.current() == state::syn_received);
  peer.send({});
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp SYN-RECEIVED: a wrong acknowledgement draws RST and changes nothing") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  for (const std::uint32_t wrong : {0U, 2U, 100'000U}) {
    peer.send({ack(wrong)});
    peer.expect({flags("R"), seq(wrong)});
  }
  CHECK(peer.current() == state::syn_received);
  peer.send({});
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp SYN-RECEIVED: only an exact RST deletes the request") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  for (const std::uint32_t outside : {0U, 100'000U}) {
    peer.send({seq(outside), flags("R")});
    peer.expect_nothing();
  }
  for (const std::uint32_t inside : {2U, 60'000U}) {
    peer.send({seq(inside), flags("R")});
    peer.expect({flags("A"), seq(1), ack(1)});
  }
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.count().challenge_ack == 2);
  peer.send({seq(1), flags("R")});
  peer.expect_nothing();
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().attempt_fails == 1);
}

TEST_CASE("tcp SYN-RECEIVED: segments without ACK, and old timestamps, do not open") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({mss(1460), stamp(5000)});
  peer.forget();
  peer.send({flags("P"), text("x"), stamp(5001)});
  peer.expect_nothing();
  peer.send({seq(1), stamp(4000)});
  peer.expect({flags("A"), seq(1), ack(1), echo(5000)});
  CHECK(peer.current() == state::syn_received);
  peer.send({seq(1), stamp(5001)});
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp SYN-RECEIVED: closing the listener forgets requests and resets who waits") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.forget();
  SUBCASE("half-open") {
    peer.engine().close_listener(peer.listener, peer.now());
    peer.send({});
    peer.expect({flags("R"), seq(1)});
    CHECK(peer.engine().memory().half_open == 0);
  }
  SUBCASE("half-open and left alone: no SYN-ACK any more") {
    peer.engine().close_listener(peer.listener, peer.now());
    peer.run_for(70s);
    peer.expect_nothing();
    CHECK(peer.engine().memory().half_open == 0);
  }
  SUBCASE("half-open, and someone else listens since") {
    peer.engine().close_listener(peer.listener, peer.now());
    peer.listen();
    peer.send({});
    peer.expect({flags("R"), seq(1)});
    CHECK(peer.engine().listener(peer.listener).value.syn_queue == 0);
  }
  SUBCASE("waiting for accept") {
    peer.send({});
    peer.engine().close_listener(peer.listener, peer.now());
    peer.flush();
    peer.expect({flags("RA"), seq(1), ack(1)});
    CHECK(peer.engine().memory().connections == 0);
  }
}

TEST_CASE("tcp SYN-RECEIVED: a child that is reset while it waits is accepted and says so") {
  raw_peer peer;
  bring_to(peer, state::syn_received);
  peer.send({});
  peer.send({flags("R")});
  peer.accept();
  CHECK(peer.look().state == state::closed);
  CHECK(peer.look().ended == end_reason::reset);
  CHECK(peer.read_error() == error::connection_reset);
}

TEST_CASE("tcp S43 SYN-RECEIVED: SYN-ACK comes again at 1, 3, 7, 15 and 31 s; over at 63 s") {
  raw_peer peer;
  peer.listen();
  peer.mark();
  peer.send_syn();
  peer.run_for(62'999ms);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000});
  CHECK(peer.engine().memory().half_open == 1);
  peer.run_for(1ms);
  CHECK(peer.engine().memory().half_open == 0);
  peer.run_for(100s);
  peer.expect_nothing();
}

TEST_CASE("tcp S43 SYN-RECEIVED: fewer retries are a policy of the listener") {
  raw_peer peer;
  listener_policy policy;
  policy.synack_retries = 2;
  peer.listen(policy);
  peer.mark();
  peer.send_syn();
  peer.run_for(6'999ms);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000});
  CHECK(peer.engine().memory().half_open == 1);
  peer.run_for(1ms);
  CHECK(peer.engine().memory().half_open == 0);
}

TEST_CASE("tcp S46 handshake: lost segments are repaired from both sides") {
  for (const int lost : {0, 1, 2}) {
    CAPTURE(lost);
    connected_pair pair;
    int seen = 0;
    pair.filter = [&](const seen_packet&) { return seen++ != lost; };
    pair.listen();
    pair.connect();
    pair.drive_for(1500ms);
    CHECK(pair.client_state() == state::established);
    pair.accept();
    CHECK(pair.server_state() == state::established);
    CHECK(pair.send(0, "hello") == 5);
    pair.drive_for(1s);
    CHECK(pair.receive(1) == "hello");
  }
}

TEST_CASE("tcp S47a handshake: text opens the connection when the third segment was lost") {
  connected_pair pair;
  pair.filter = [&](const seen_packet& seen) { return seen.flags() != "A" || seen.from == 1; };
  pair.listen();
  pair.connect();
  pair.drive_for(100ms);
  CHECK(pair.client_state() == state::established);
  CHECK(pair[1].memory().half_open == 1);
  pair.send(0, "hello");
  pair.drive_for(10ms);
  pair.accept();
  CHECK(pair.receive(1) == "hello");
}

TEST_CASE("tcp S47a handshake: a server that gave up answers the client's first text with RST") {
  connected_pair pair;
  pair.filter = [&](const seen_packet& seen) { return seen.flags() != "A" || seen.from == 1; };
  pair.listen();
  pair.connect();
  pair.drive_for(70s);
  CHECK(pair.client_state() == state::established);
  CHECK(pair[1].memory().half_open == 0);
  pair.filter = nullptr;
  pair.send(0, "hello");
  pair.drive_for(10ms);
  CHECK(pair.look(0).ended == end_reason::reset);
}
