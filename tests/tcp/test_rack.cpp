#include "loss_peer.hpp"

// Losses by time (RFC 8985 §6). The path takes 40 ms, so a hole that is not certain is given 10 ms.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

void send_ten(loss_peer& peer) {
  peer.open({});
  peer.send_full(10);
  peer.run_for(peer.rtt);
}

/// Of ten segments the first arrives after the second.
void reorder_first(loss_peer& peer) {
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.run_for(2ms);
  peer.send({peer.upto(2)});
  CHECK(peer.count().sack_reorder == 1);
}

}  // namespace

TEST_CASE("tcp RFC 8985 6.2: with one segment SACKed a hole is lost a quarter of a round trip on") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.run_for(9ms);
  CHECK(peer.sent().empty());
  peer.run_for(2ms);
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().fast_retrans == 1);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.ssthresh_segments() == 5);
}

TEST_CASE("tcp RFC 8985 6.2: what arrives within the reordering window is not sent again") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.run_for(8ms);
  peer.send({peer.upto(2)});
  peer.run_for(20ms);
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
  CHECK(peer.window_segments() >= 10);
}

TEST_CASE("tcp RFC 8985 6.2: where reordering was seen even three SACKed segments leave time") {
  loss_peer peer;
  reorder_first(peer);
  peer.send({peer.upto(2), peer.block(3, 7)});
  CHECK(peer.sent().empty());
  peer.run_for(7ms);
  CHECK(peer.sent().empty());
  peer.run_for(4ms);
  CHECK(peer.sent() == places{2});
  CHECK(peer.count().sack_recovery == 1);
}

TEST_CASE("tcp RFC 8985 6.2: what left together and lies above is not judged by what lies below") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(3, 6)});
  // 0, 1 and 2 are lost; 6 to 9 may be on their way.
  places all = peer.sent();
  peer.run_for(peer.rtt);
  peer.send({peer.upto(1), peer.block(3, 6)});
  for (const std::int64_t each : peer.sent()) all.push_back(each);
  peer.run_for(1ms);
  peer.send({peer.upto(6)});
  for (const std::int64_t each : peer.sent()) all.push_back(each);
  for (std::int64_t place = 0; place < 3; ++place) CHECK(std::ranges::count(all, place) == 1);
}

TEST_CASE("tcp RFC 8985 3.2: a lost retransmission is found without a time-out") {
  loss_peer peer;
  send_ten(peer);
  peer.write_segments(10);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.send({peer.upto(0), peer.block(1, 3)});
  peer.run_for(1ms);
  peer.send({peer.upto(0), peer.block(1, 4)});
  CHECK(peer.sent() == places{10, 11, 0});
  peer.run_for(1ms);
  for (std::uint32_t last = 5; last <= 10; ++last) peer.send({peer.upto(0), peer.block(1, last)});
  const places fresh = peer.sent();
  REQUIRE(!fresh.empty());
  CHECK(fresh.front() == 12);
  // What left after the retransmission arrives, and so that one was lost.
  peer.run_for(peer.rtt);
  peer.send({peer.upto(0), peer.block(1, 12)});
  CHECK(std::ranges::count(peer.sent(), 0) == 0);
  peer.send({peer.upto(0), peer.block(1, 13)});
  CHECK(std::ranges::count(peer.sent(), 0) == 1);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().fast_retrans == 2);
}

TEST_CASE("tcp RFC 8985 6.2: a retransmission acknowledged sooner than a round trip says nothing") {
  loss_peer peer;
  send_ten(peer);
  for (std::uint32_t last = 2; last <= 4; ++last) peer.send({peer.upto(0), peer.block(1, last)});
  CHECK(peer.sent() == places{0});
  // It is the original that arrives; 5 to 9 left before the retransmission and are late as well.
  peer.run_for(2ms);
  peer.send({peer.upto(4)});
  peer.run_for(5ms);
  CHECK(peer.sent().empty());
}

TEST_CASE("S113 TCPSACKReorder: text that arrived later than what was sent after it, each time") {
  loss_peer peer;
  reorder_first(peer);
  peer.send({peer.upto(2), peer.block(3, 4)});
  peer.send({peer.upto(2), peer.block(5, 6), peer.block(3, 4)});
  CHECK(peer.count().sack_reorder == 1);
  peer.send({peer.upto(2), peer.block(3, 6)});
  CHECK(peer.count().sack_reorder == 2);
  peer.send({peer.upto(6)});
  CHECK(peer.count().sack_reorder == 3);
  peer.send({peer.upto(10)});
  CHECK(peer.count().sack_reorder == 3);
}

TEST_CASE("tcp RFC 8985 6.2: what was sent again is no sign of reordering") {
  loss_peer peer;
  send_ten(peer);
  for (std::uint32_t last = 2; last <= 4; ++last) peer.send({peer.upto(0), peer.block(1, last)});
  peer.run_for(peer.rtt);
  peer.send({peer.upto(10)});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().sack_reorder == 0);
}

TEST_CASE("tcp RFC 8985 6.2: a D-SACK widens the reordering window, once a round trip") {
  for (const int reports : {1, 3}) {
    CAPTURE(reports);
    loss_peer peer;
    send_ten(peer);
    for (int i = 0; i < reports; ++i) peer.send({peer.upto(1), peer.block(0, 1)});
    peer.send({peer.upto(1), peer.block(2, 3)});
    peer.run_for(19ms);
    CHECK(peer.sent().empty());
    peer.run_for(2ms);
    CHECK(peer.sent() == places{1});
  }
}

TEST_CASE("tcp RFC 8985 6.2: the D-SACK of a tail loss probe does not widen it") {
  loss_peer peer;
  peer.open({});
  peer.send_full(3);
  peer.run_for(90ms);
  CHECK(peer.sent() == places{2});
  peer.send_full(4);
  peer.send({peer.upto(3), peer.block(2, 3)});
  peer.run_for(peer.rtt);
  peer.send({peer.upto(3), peer.block(4, 5)});
  peer.run_for(9ms);
  CHECK(peer.sent().empty());
  peer.run_for(2ms);
  CHECK(peer.sent() == places{3});
}

TEST_CASE("tcp RFC 8985 6.2: the window that D-SACKs widen is a round trip at most") {
  loss_peer peer;
  peer.open({});
  peer.send_full(4);
  std::uint32_t next = 1;
  for (int i = 0; i < 12; ++i, ++next) {
    peer.run_for(peer.rtt);
    peer.write_segments(1);
    peer.send({peer.upto(next), peer.block(next - 1, next)});
    peer.write_segments(3);
    next += 3;
    peer.run_for(peer.rtt);
    peer.send({peer.upto(next)});
  }
  const std::uint32_t last = (peer.host_next - peer.host_iss - 1) / peer.size;
  peer.send({peer.upto(last)});
  peer.forget();
  peer.send_full(4);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(last), peer.block(last + 1, last + 2)});
  peer.run_for(peer.look().srtt + 2ms);
  CHECK(peer.sent() == places{last});
}

TEST_CASE("tcp RFC 8985 6.2: one hole sent again does not stop the clock of another") {
  loss_peer peer;
  reorder_first(peer);
  // 10 and 11 leave together, and 12 and 13 20 ms later; of each pair the first is lost.
  peer.send({peer.upto(10)});
  peer.send_full(2);
  peer.run_for(20ms);
  peer.send_full(2);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(10), peer.block(11, 12)});
  peer.send({peer.upto(10), peer.block(13, 14), peer.block(11, 12)});
  CHECK(peer.sent() == places{10});
  peer.run_for(12ms);
  CHECK(peer.sent() == places{12});
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("tcp RFC 8985 6.2: the tail of a flight waits for nothing but its acknowledgement") {
  loss_peer peer;
  send_ten(peer);
  // The lower half arrives; nothing says that the upper one is lost.
  peer.send({peer.upto(5)});
  peer.run_for(60ms);
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
}
