#include "raw_peer.hpp"

// Duplicate acknowledgements that go as one (Linux's tcp_comp_sack_*): after the third of a hole,
// for a peer with SACK, and for a part of the round trip at most.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// A peer that has streamed over a path of so long, and now leaves a hole before its next segment.
class hole_peer : public raw_peer {
 public:
  using raw_peer::raw_peer;

  void open(std::chrono::milliseconds rtt, bool sack = true, bool ecn = false) {
    listen();
    rtt_ = rtt;
    if (ecn) {
      send_syn({mss(1460), sack_permitted(sack), scale(7), clock(0), flags("SEC")});
    } else {
      send_syn({mss(1460), sack_permitted(sack), scale(7), clock(0)});
    }
    run_for(rtt);
    echo_ = said().back().tcp.options.timestamp->value;
    send({clock(echo_)});
    accept();
    for (int i = 0; i < 4; ++i) {
      send({clock(echo_), length(1448)});
      echo_ = said().back().tcp.options.timestamp->value;
      read();
      run_for(rtt);
    }
    CHECK(look().rcv_rtt == rtt);
    run_for(50ms);
    forget();
    mark();
    base_ = peer_next - peer_iss;
  }
  field clock(std::uint32_t echo) const {
    return stamp(
        static_cast<std::uint32_t>(now().time_since_epoch() / std::chrono::milliseconds(1)), echo);
  }
  std::uint32_t at(std::uint32_t place) const { return base_ + place * 1448; }
  /// The segment at this place behind the hole, which is the segment 0.
  void arrive(std::uint32_t place) { send({seq(at(place)), clock(echo_), length(1448)}); }
  void arrive(std::uint32_t first, std::uint32_t last) {
    for (std::uint32_t i = first; i < last; ++i) arrive(i);
  }
  /// How many acknowledgements were said; forgets them.
  std::size_t acks() {
    const std::size_t count = said().size();
    forget();
    return count;
  }
  std::uint32_t echo() const { return echo_; }

 private:
  std::chrono::milliseconds rtt_{};
  std::uint32_t echo_ = 0;
  std::uint32_t base_ = 0;
};

}  // namespace

TEST_CASE(
    "S113 TCPAckCompressed tcp_comp_sack: after the third duplicate of a hole the others go as "
    "one") {
  hole_peer peer;
  peer.open(40ms);
  peer.arrive(1, 4);
  CHECK(peer.acks() == 3);
  peer.arrive(4, 11);
  peer.expect_nothing();
  const time_point begin = peer.now();
  const time_point due = peer.engine().poll_timeout();
  CHECK(due >= begin + 1ms);
  CHECK(due <= begin + 1050us);
  peer.run_for(due - begin);
  REQUIRE(peer.said().size() == 1);
  peer.expect({flags("A"), ack(peer.at(0)), sack(peer.at(1), peer.at(11))});
  CHECK(peer.count().ack_compressed == 6);
  // The next ones of the same hole wait at once.
  peer.arrive(11, 13);
  peer.expect_nothing();
  peer.run_for(2ms);
  CHECK(peer.acks() == 1);
}

TEST_CASE("tcp tcp_comp_sack_delay_ns: a twentieth of a short round trip, and never later") {
  hole_peer peer;
  SUBCASE("10 ms") {
    peer.open(10ms);
    peer.arrive(1, 5);
    CHECK(peer.acks() == 3);
    const duration wait = peer.engine().poll_timeout() - peer.now();
    CHECK(wait >= 500us);
    CHECK(wait <= 550us);
  }
  SUBCASE("2 ms") {
    peer.open(2ms);
    peer.arrive(1, 5);
    CHECK(peer.acks() == 3);
    const duration wait = peer.engine().poll_timeout() - peer.now();
    CHECK(wait >= 100us);
    CHECK(wait <= 150us);
  }
  peer.run_for(1ms);
  CHECK(peer.acks() == 1);
}

TEST_CASE(
    "tcp tcp_comp_sack_slack_ns: whenever it begins, it ends within the delay and the slack") {
  for (int i = 0; i < 50; ++i) {
    hole_peer peer;
    peer.open(40ms);
    peer.run_for(std::chrono::microseconds(37 * i));
    peer.arrive(1, 5);
    CHECK(peer.acks() == 3);
    const duration wait = peer.engine().poll_timeout() - peer.now();
    CHECK(wait >= 1ms);
    CHECK(wait <= 1050us);
    peer.run_for(2ms);
    CHECK(peer.acks() == 1);
  }
}

TEST_CASE("tcp tcp_comp_sack: a delay of less than a tick is none") {
  hole_peer peer([](host_options& options) {
    options.policy.comp_sack_delay_ns = 30'000;
    options.policy.comp_sack_slack_ns = 0;
  });
  peer.open(40ms);
  peer.arrive(1, 11);
  CHECK(peer.acks() == 10);
  CHECK(peer.count().ack_compressed == 0);
}

TEST_CASE("tcp tcp_comp_sack_nr: so many wait at most, and 0 has each go by itself") {
  SUBCASE("four") {
    hole_peer peer([](host_options& options) { options.policy.comp_sack_nr = 4; });
    peer.open(40ms);
    peer.arrive(1, 8);
    CHECK(peer.acks() == 3);
    peer.arrive(8);
    peer.expect({ack(peer.at(0)), sack(peer.at(1), peer.at(9))});
    peer.expect_nothing();
    CHECK(peer.count().ack_compressed == 4);
    peer.run_for(5ms);
    peer.expect_nothing();
  }
  SUBCASE("none, which is live") {
    hole_peer peer;
    peer.open(40ms);
    CHECK(peer.engine().set("net.ipv4.tcp_comp_sack_nr", "0") == "");
    peer.arrive(1, 11);
    CHECK(peer.acks() == 10);
  }
}

TEST_CASE("tcp tcp_comp_sack: a peer without SACK has each by itself") {
  hole_peer peer;
  peer.open(40ms, false);
  peer.arrive(1, 11);
  CHECK(peer.acks() == 10);
  CHECK(peer.count().ack_compressed == 0);
}

TEST_CASE("tcp tcp_comp_sack: FIN and what met congestion do not wait") {
  hole_peer peer;
  SUBCASE("FIN") {
    peer.open(40ms);
    peer.arrive(1, 5);
    CHECK(peer.acks() == 3);
    peer.send({seq(peer.at(5)), peer.clock(peer.echo()), flags("FA"), length(10)});
    CHECK(peer.acks() == 1);
  }
  SUBCASE("CE") {
    peer.open(40ms, true, true);
    peer.arrive(1, 5);
    CHECK(peer.acks() == 3);
    peer.send({seq(peer.at(5)), peer.clock(peer.echo()), length(1448), ip_ecn(3)});
    CHECK(peer.acks() >= 1);
  }
  CHECK(peer.count().ack_compressed == 1);
}

TEST_CASE("tcp tcp_comp_sack: what leaves meanwhile tells for those that wait") {
  hole_peer peer;
  peer.open(40ms);
  peer.arrive(1, 6);
  CHECK(peer.acks() == 3);
  peer.write("text");
  peer.expect({flags("PA"), text("text"), sack(peer.at(1), peer.at(6))});
  CHECK(peer.count().ack_compressed == 2);
  peer.run_for(10ms);
  peer.expect_nothing();
}

TEST_CASE(
    "tcp tcp_comp_sack: what fills the hole is acknowledged at once, and the next is told anew") {
  hole_peer peer;
  peer.open(40ms);
  peer.arrive(1, 6);
  CHECK(peer.acks() == 3);
  peer.arrive(0);
  peer.expect({flags("A"), ack(peer.at(6))});
  peer.expect_nothing();
  CHECK(peer.count().ack_compressed == 2);
  peer.arrive(7, 10);
  CHECK(peer.acks() == 3);
  peer.arrive(10);
  peer.expect_nothing();
  peer.run_for(2ms);
  CHECK(peer.acks() == 1);
}

TEST_CASE("tcp tcp_comp_sack: a third range does not wait, since the first two are heard of most") {
  hole_peer peer;
  peer.open(40ms);
  peer.arrive(1, 4);
  CHECK(peer.acks() == 3);
  peer.arrive(5);
  peer.expect_nothing();
  peer.arrive(7);
  peer.expect({ack(peer.at(0)), sack(peer.at(7), peer.at(8))});
  CHECK(peer.count().ack_compressed == 1);
}
