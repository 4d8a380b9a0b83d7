#include "raw_peer.hpp"

// TCP_DEFER_ACCEPT: `listener_policy::defer_accept`.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// A listener that defers for so long, and a client that has acknowledged without text.
void defer(raw_peer& peer, std::chrono::milliseconds period) {
  peer.listen({.defer_accept = period});
  peer.mark();
  peer.send_syn();
  peer.expect({flags("SA")});
  peer.send({});
  peer.expect_nothing();
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.count().defer_accept_drop == 1);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 0);
}

}  // namespace

TEST_CASE(
    "S113 TCPDeferAcceptDrop TCP_DEFER_ACCEPT: the bare third segment is ignored, and text opens "
    "at once") {
  raw_peer peer;
  defer(peer, 10s);
  peer.run_for(5s);
  // The peer has acknowledged: it is left alone.
  peer.expect_nothing();
  peer.send({text("GET")});
  peer.expect({flags("A"), ack(4)});
  peer.accept();
  CHECK(peer.read() == "GET");
  CHECK(peer.count().listen_drops == 0);
}

TEST_CASE("TCP_DEFER_ACCEPT: text or FIN on the third segment needs no second one") {
  raw_peer peer;
  peer.listen({.defer_accept = 10s});
  peer.send_syn();
  peer.forget();
  SUBCASE("text") {
    peer.send({text("GET")});
  }
  SUBCASE("FIN") {
    peer.send({flags("FA")});
  }
  SUBCASE("text that comes before its place") {
    peer.send({seq(5), text("later")});
  }
  CHECK(peer.count().defer_accept_drop == 0);
  peer.accept();
}

TEST_CASE("TCP_DEFER_ACCEPT: the period is a number of SYN-ACK time-outs, and the next ACK is in") {
  struct rounded {
    std::chrono::milliseconds asked;
    std::chrono::milliseconds given;
  };
  for (const rounded& each :
       {rounded{1ms, 1s}, rounded{1s, 1s}, rounded{1001ms, 3s}, rounded{3s, 3s}, rounded{4s, 7s},
        rounded{15s, 15s}, rounded{16s, 31s}, rounded{200s, 247s}}) {
    CAPTURE(each.asked.count());
    raw_peer peer;
    defer(peer, each.asked);
    // An acknowledgement that comes in between is ignored too.
    peer.run_for(each.given - 1ms);
    peer.send({});
    peer.expect_nothing();
    CHECK(peer.count().defer_accept_drop == 2);
    peer.run_for(1ms);
    peer.expect({flags("SA"), seq(0), ack(1)});
    peer.send({});
    peer.accept();
    CHECK(peer.since_mark() == each.given);
    CHECK(peer.count().defer_accept_drop == 2);
  }
}

TEST_CASE("TCP_DEFER_ACCEPT: who never acknowledges gets the usual SYN-ACKs and no longer life") {
  raw_peer peer;
  peer.listen({.defer_accept = 500s});
  peer.mark();
  peer.send_syn();
  peer.run_for(63s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000});
  CHECK(peer.engine().memory().half_open == 0);
}

TEST_CASE(
    "TCP_DEFER_ACCEPT: who acknowledged and says nothing more is forgotten after the period") {
  raw_peer peer;
  SUBCASE("shorter than the SYN-ACKs' schedule, which goes on then") {
    defer(peer, 3s);
    peer.run_for(63s);
    CHECK(peer.times() == std::vector<std::int64_t>{3000, 7000, 15000, 31000});
    CHECK(peer.engine().memory().half_open == 0);
  }
  SUBCASE("longer than it") {
    defer(peer, 127s);
    peer.run_for(126'999ms);
    peer.expect_nothing();
    peer.run_for(1ms);
    peer.expect({flags("SA")});
    CHECK(peer.engine().memory().half_open == 1);
    peer.run_for(120s);
    peer.expect_nothing();
    CHECK(peer.engine().memory().half_open == 0);
  }
}

TEST_CASE("TCP_DEFER_ACCEPT: off and on while a request waits") {
  raw_peer peer;
  defer(peer, 100s);
  CHECK(peer.engine().set_listener_policy(peer.listener, {}) == error::none);
  peer.run_for(1s);
  peer.expect({flags("SA")});
  peer.send({});
  peer.accept();
}
