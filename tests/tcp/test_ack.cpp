#include "host_pair.hpp"
#include "raw_peer.hpp"

// When the host acknowledges: quick and delayed, one for a burst, one for each segment out of
// order.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using moments = std::vector<std::int64_t>;

/// Sends a small segment and gives the time until it is acknowledged.
std::int64_t ack_delay(raw_peer& peer, duration limit = 500ms) {
  peer.forget();
  peer.mark();
  peer.send({text("x")});
  const time_point until = peer.now() + limit;
  while (peer.said().empty() && peer.now() < until) peer.run_for(1ms);
  const moments at = peer.times();
  return at.empty() ? -1 : at.front();
}

/// Uses the quick acknowledgements of the start up.
void slow_down(raw_peer& peer) {
  for (int i = 0; i < 16; ++i) ack_delay(peer);
  peer.forget();
}

}  // namespace

TEST_CASE("tcp S109 ACK: a receiver that never writes sends 16 at once, then each after 40 ms") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 16; ++i) CHECK(ack_delay(peer) == 0);
  for (int i = 0; i < 50; ++i) CHECK(ack_delay(peer) == 40);
  CHECK(peer.count().delayed_acks == 50);
}

TEST_CASE("tcp S109 ACK: over a longer path the delay may reach the round trip, but not 200 ms") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.run_for(120ms);
  peer.send({});
  peer.accept();
  peer.forget();
  slow_down(peer);
  std::int64_t longest = 0;
  for (int i = 0; i < 20; ++i) longest = std::max(longest, ack_delay(peer));
  CHECK(longest >= 40);
  CHECK(longest <= 120);
}

TEST_CASE(
    "tcp S109 ACK: after requests and responses the first lone segment waits, the next do not") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 3; ++i) {
    peer.send_unanswered({text("request")});
    CHECK(peer.read() == "request");
    peer.forget();
    peer.write("response");
    peer.expect({text("response")});
    peer.send({});
  }
  CHECK(ack_delay(peer) == 40);
  CHECK(ack_delay(peer) == 0);
  CHECK(ack_delay(peer) == 0);
}

TEST_CASE("tcp S109 ACK: in a dialogue the response carries it") {
  raw_peer peer;
  peer.establish();
  peer.send({text("request")});
  peer.forget();
  peer.read();
  peer.write("response");
  peer.send({});
  peer.forget();
  peer.send({text("request")});
  peer.expect_nothing();
  peer.run_for(20ms);
  peer.read();
  peer.write("response");
  peer.expect({flags("PA"), ack(15), text("response")});
  peer.run_for(100ms);
  peer.expect_nothing();
}

TEST_CASE("tcp ACK: a pause longer than the RTO makes the next ones quick again") {
  raw_peer peer;
  peer.establish();
  slow_down(peer);
  CHECK(ack_delay(peer) == 40);
  peer.run_for(150ms);
  CHECK(ack_delay(peer) == 40);
  peer.run_for(300ms);
  CHECK(ack_delay(peer) == 0);
}

TEST_CASE("tcp RFC 9293 3.8.6.3 ACK: every second full segment is acknowledged at once") {
  raw_peer peer;
  peer.establish();
  slow_down(peer);
  peer.send({length(1460)});
  peer.forget();
  peer.run_for(50ms);
  peer.forget();
  peer.mark();
  peer.send({length(1460)});
  peer.expect_nothing();
  peer.send({length(1460)});
  peer.expect({flags("A"), ack(17 + 3 * 1460)});
  peer.send({length(1460)});
  peer.expect_nothing();
  peer.run_for(40ms);
  CHECK(peer.times() == moments{40});
}

TEST_CASE("tcp ACK: one for a burst that arrives in one turn") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 20; ++i) peer.send_unanswered({length(1000)});
  peer.flush();
  peer.expect({flags("A"), ack(20'001)});
  peer.expect_nothing();
}

TEST_CASE("tcp ACK: each segment out of order owes its own, even in one turn") {
  raw_peer peer;
  peer.establish();
  for (std::uint32_t i = 1; i <= 5; ++i) peer.send_unanswered({seq(1 + 1000 * i), length(1000)});
  peer.flush();
  for (int i = 0; i < 5; ++i) peer.expect({flags("A"), ack(1), length(0)});
  peer.expect_nothing();
}

TEST_CASE("tcp RFC 5681 4.2 ACK: what fills a hole is acknowledged at once") {
  raw_peer peer;
  peer.establish();
  slow_down(peer);
  peer.send({seq(117), length(100)});
  peer.expect({flags("A"), ack(17)});
  peer.send({seq(317), length(100)});
  peer.expect({flags("A"), ack(17)});
  peer.send({seq(17), length(100)});
  peer.expect({flags("A"), ack(217)});
  peer.send({seq(217), length(100)});
  peer.expect({flags("A"), ack(417)});
  peer.expect_nothing();
}

TEST_CASE("tcp ACK: text that leaves carries it, and then no other comes") {
  raw_peer peer;
  peer.establish();
  peer.send_unanswered({text("abc")});
  peer.write("def");
  peer.expect({flags("PA"), ack(4), text("def")});
  peer.run_for(1s);
  CHECK(peer.count().delayed_acks == 0);
}

TEST_CASE("tcp S56 ACK: that of FIN waits 40 ms for our FIN, where text has come before") {
  raw_peer peer;
  peer.establish();
  SUBCASE("text before it") {
    peer.send({text("x")});
    peer.read();
    peer.forget();
    peer.mark();
    peer.send({flags("FA")});
    peer.expect_nothing();
    SUBCASE("nobody closes") {
      peer.run_for(100ms);
      CHECK(peer.times() == moments{40});
    }
    SUBCASE("the owner closes") {
      peer.run_for(20ms);
      peer.close();
      peer.expect({flags("FA"), ack(3)});
      peer.run_for(100ms);
      peer.expect_nothing();
      peer.send({});
    }
  }
  SUBCASE("text with it") {
    peer.send({text("x"), flags("FA")});
    peer.expect_nothing();
    peer.run_for(40ms);
    peer.expect({flags("A"), ack(3)});
  }
  SUBCASE("nothing before it") {
    peer.send({flags("FA")});
    peer.expect({flags("A"), ack(2)});
  }
  peer.expect_nothing();
}

TEST_CASE("tcp ACK: bare acknowledgements are never acknowledged") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 10; ++i) peer.send({});
  peer.run_for(1s);
  peer.expect_nothing();
}

TEST_CASE("tcp ACK: challenge ACK and RST stand apart from the burst's one") {
  raw_peer peer;
  peer.establish();
  peer.send_unanswered({length(100)});
  peer.send_unanswered({seq(500), flags("S")});
  peer.send_unanswered({seq(1), ack(5), from_port(9)});
  peer.flush();
  peer.expect({flags("A"), seq(1), ack(101)});
  peer.expect({flags("R"), seq(5)});
  peer.expect({flags("A"), seq(1), ack(101)});
  peer.expect_nothing();
}

TEST_CASE("tcp S110 ACK: two small writes and an answer stall for 40 ms, one write does not") {
  for (const bool split : {true, false}) {
    connected_pair pair;
    pair.establish();
    // A first exchange, so that acknowledgements wait for answers.
    pair.send(0, "hello");
    pair.drive_for(5ms);
    pair.receive(1);
    pair.send(1, "hello");
    pair.drive_for(5ms);
    pair.receive(0);
    const time_point begin = pair.now();
    if (split) {
      pair.send(0, "4711");
      pair.flush();
      pair.send(0, "\r\n");
    } else {
      pair.send(0, "4711\r\n");
    }
    std::string request;
    while (request.size() < 6) {
      REQUIRE(pair.step());
      request += pair.receive(1);
    }
    const auto took = pair.now() - begin;
    if (split) {
      CHECK(took >= 40ms);
      CHECK(took <= 46ms);
    } else {
      CHECK(took == 1ms);
    }
  }
}

TEST_CASE("tcp S110 ACK: with TCP_NODELAY the two small writes do not stall") {
  connected_pair pair;
  pair.establish();
  pair.send(0, "hello");
  pair.drive_for(5ms);
  pair.receive(1);
  pair.send(1, "hello");
  pair.drive_for(5ms);
  pair.receive(0);
  CHECK(pair[0].set_nodelay(pair.socket(0), true) == error::none);
  const time_point begin = pair.now();
  pair.send(0, "4711");
  pair.flush();
  pair.send(0, "\r\n");
  for (std::size_t got = 0; got < 6; got += pair.receive(1).size()) REQUIRE(pair.step());
  CHECK(pair.now() - begin == 1ms);
}

TEST_CASE("tcp S109 TCP_QUICKACK: what is owed leaves now, and the next sixteen do not wait") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 16; ++i) peer.send({text("x")});
  peer.forget();
  peer.send({text("y")});
  peer.expect_nothing();
  CHECK(peer.engine().set_quickack(peer.socket, true) == error::none);
  peer.flush();
  peer.expect({flags("A"), ack(18)});
  for (std::uint32_t i = 0; i < 15; ++i) {
    peer.send({text("z")});
    peer.expect({flags("A"), ack(19 + i)});
  }
  peer.send({text("z")});
  peer.expect_nothing();
}

TEST_CASE("tcp S109 TCP_QUICKACK: off, acknowledgements wait for an answer at once") {
  raw_peer peer;
  peer.establish();
  CHECK(peer.engine().set_quickack(peer.socket, false) == error::none);
  peer.send({text("x")});
  peer.expect_nothing();
  peer.run_for(41ms);
  peer.expect({flags("A"), ack(2)});
}

TEST_CASE("tcp S109 quickack policy: every segment is acknowledged at once") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.quickack = true;
  peer.establish(policy);
  for (std::uint32_t i = 0; i < 100; ++i) {
    peer.send({text("x")});
    peer.expect({flags("A"), ack(2 + i)});
  }
}

TEST_CASE("tcp ACK: small writes of a stream with TCP_NODELAY do not stall") {
  connected_pair pair;
  connect_options options;
  options.policy.nodelay = true;
  pair.establish(options);
  pair.send(0, "4711");
  pair.flush();
  pair.send(0, "\r\n");
  pair.drive_for(1ms);
  CHECK(pair.receive(1) == "4711\r\n");
}

TEST_CASE("tcp ACK: text sent again after its ACK was lost brings it at once") {
  raw_peer peer;
  peer.establish();
  slow_down(peer);
  peer.send({text("abc")});
  peer.run_for(100ms);
  peer.forget();
  peer.send({seq(17), text("abc")});
  peer.expect({flags("A"), ack(20)});
  // Half old, half new.
  peer.send({seq(17), text("abcdef")});
  peer.run_for(40ms);
  peer.expect({flags("A"), ack(23)});
  CHECK(peer.read() == "xxxxxxxxxxxxxxxxabcdef");
}
