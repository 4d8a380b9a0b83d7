#include "loss_peer.hpp"

// Which rules find losses: net.ipv4.tcp_recovery, tcp_reordering, tcp_max_reordering,
// tcp_early_retrans and tcp_thin_linear_timeouts; and what a connection remembers of its path.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using adjustment = std::function<void(host_options&)>;

adjustment with(std::uint32_t recovery) {
  return [recovery](host_options& options) { options.policy.recovery = recovery; };
}

/// Ten segments are on their way for a round trip.
void send_ten(loss_peer& peer, bool sack = true) {
  peer.open({.sack = sack});
  peer.send_full(10);
  peer.run_for(peer.rtt);
}

}  // namespace

TEST_CASE("tcp_recovery without RACK, RFC 6675 4: three SACKed segments above are a loss at once") {
  loss_peer peer(with(0));
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(2, 3)});
  peer.send({peer.upto(0), peer.block(2, 4)});
  CHECK(peer.sent().empty());
  // However long it takes: nothing is judged by time.
  peer.run_for(15ms);
  CHECK(peer.sent().empty());
  peer.send({peer.upto(0), peer.block(2, 5)});
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.ssthresh_segments() == 5);
  // 1 is lost, too, and goes when there is room.
  peer.send({peer.upto(0), peer.block(2, 8)});
  CHECK(peer.sent() == places{1});
  CHECK(peer.count().fast_retrans == 2);
}

TEST_CASE(
    "tcp_recovery without RACK, RFC 6675 4: a hole is lost by what lies above it, not below") {
  loss_peer peer(with(0));
  send_ten(peer);
  // 0 is below four, 3 and 5 are below less than three.
  peer.send({peer.upto(0), peer.block(1, 3), peer.block(4, 5), peer.block(6, 7)});
  CHECK(peer.sent() == places{0});
  peer.send({peer.upto(0), peer.block(1, 3), peer.block(4, 5), peer.block(6, 8)});
  CHECK(peer.sent() == places{3});
  CHECK(peer.count().sack_recovery == 1);
}

TEST_CASE(
    "tcp_recovery without RACK: what was sent again is not judged again, a time-out mends it") {
  loss_peer peer([](host_options& options) {
    options.policy.recovery = 0;
    options.policy.tail_loss_probe = false;
  });
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 4)});
  CHECK(peer.sent() == places{0});
  for (std::uint32_t upto = 5; upto <= 10; ++upto) {
    peer.run_for(10ms);
    peer.send({peer.upto(0), peer.block(1, upto)});
    CHECK(peer.sent().empty());
  }
  CHECK(peer.count().timeouts == 0);
  peer.run_for(400ms);
  CHECK(peer.count().timeouts == 1);
  CHECK(peer.sent() == places{0});
}

TEST_CASE("tcp_recovery without RACK: a partial acknowledgement tells of the next hole") {
  loss_peer peer(with(0));
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2), peer.block(3, 5)});
  CHECK(peer.sent() == places{0});
  // 2 has two above it; but what arrived highest is beyond three segments.
  peer.run_for(peer.rtt);
  peer.send({peer.upto(2), peer.block(5, 6)});
  CHECK(peer.sent() == places{2});
  peer.send({peer.upto(10)});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp_recovery without RACK: a time-out marks all that was not SACKed, however young") {
  for (const std::uint32_t recovery : {0U, recovery_flag::rack}) {
    CAPTURE(recovery);
    loss_peer peer([recovery](host_options& options) {
      options.policy.recovery = recovery;
      options.policy.tail_loss_probe = false;
      options.policy.frto = false;
    });
    send_ten(peer);
    peer.send({peer.upto(5)});
    peer.run_for(peer.look().rto - 1ms);
    peer.send_full(1);
    peer.run_for(2ms);
    CHECK(peer.count().timeouts == 1);
    CHECK(peer.sent() == places{5});
    peer.run_for(peer.rtt);
    peer.send({peer.upto(10)});
    // RACK has spared the last one, which left a moment before.
    CHECK(peer.sent() == (recovery == 0 ? places{10} : places{}));
  }
}

TEST_CASE("RFC 5681 3.2: without SACK three duplicates are a loss, with and without RACK") {
  for (const std::uint32_t recovery : {0U, recovery_flag::rack}) {
    CAPTURE(recovery);
    loss_peer peer(with(recovery));
    send_ten(peer, false);
    peer.send({peer.upto(0)});
    peer.send({peer.upto(0)});
    CHECK(peer.sent().empty());
    peer.send({peer.upto(0)});
    CHECK(peer.sent() == places{0});
    CHECK(peer.count().reno_recovery == 1);
  }
}

TEST_CASE("tcp_reordering: so many duplicates are a loss, with SACK and without") {
  for (const bool sack : {true, false}) {
    for (const std::uint32_t recovery : {0U, recovery_flag::rack}) {
      CAPTURE(sack);
      CAPTURE(recovery);
      loss_peer peer([recovery](host_options& options) {
        options.policy.recovery = recovery;
        options.policy.reordering = 6;
      });
      send_ten(peer, sack);
      for (std::uint32_t i = 0; i < 6; ++i) {
        CHECK(peer.sent().empty());
        if (sack) {
          peer.send({peer.upto(0), peer.block(1, 2 + i)});
        } else {
          peer.send({peer.upto(0)});
        }
      }
      CHECK(peer.sent() == places{0});
    }
  }
}

TEST_CASE("tcp_recovery 4: the count of duplicates does not cut the reordering window short") {
  loss_peer peer(with(recovery_flag::rack | recovery_flag::no_dupthresh));
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 8)});
  CHECK(peer.sent().empty());
  peer.run_for(9ms);
  CHECK(peer.sent().empty());
  peer.run_for(2ms);
  CHECK(peer.sent() == places{0});
}

namespace {

/// Something is sent again for nothing, and a D-SACK tells of it.
void tell_of_duplicate(loss_peer& peer) {
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 4)});
  CHECK(peer.sent() == places{0});
  peer.send({peer.upto(4), peer.block(0, 1)});
  peer.send({peer.upto(10)});
  CHECK(peer.look().unacked_bytes == 0);
  peer.forget();
}

/// How long a hole below one SACKed segment is given, with nothing else in flight before.
std::chrono::milliseconds patience(loss_peer& peer) {
  peer.base = (peer.host_next - peer.host_iss - 1) / peer.size;
  peer.send_full(6);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(peer.base), peer.block(peer.base + 1, peer.base + 2)});
  peer.mark();
  while (peer.said().empty()) peer.run_for(1ms);
  const auto waited = peer.since_mark();
  CHECK(peer.sent().front() == peer.base);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(peer.base + 6)});
  return waited;
}

}  // namespace

TEST_CASE("tcp_recovery 2: D-SACKs widen the reordering window unless it is static") {
  for (const bool fixed : {false, true}) {
    CAPTURE(fixed);
    loss_peer peer(
        with(recovery_flag::rack | (fixed ? recovery_flag::static_reordering_window : 0)));
    tell_of_duplicate(peer);
    const auto waited = patience(peer);
    CHECK(waited >= (fixed ? 9ms : 18ms));
    CHECK(waited <= (fixed ? 12ms : 22ms));
  }
}

TEST_CASE("tcp reordering: what was learned of the path outlives the flight, as in Linux") {
  loss_peer peer;
  tell_of_duplicate(peer);
  // In slow start the flight's block is given back as soon as nothing is in flight.
  peer.run_for(2s);
  CHECK(peer.look().unacked_bytes == 0);
  const auto waited = patience(peer);
  CHECK(waited >= 18ms);
  CHECK(waited <= 22ms);
}

TEST_CASE("tcp reordering: a path that was seen to reorder is given time in the next flight, too") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.run_for(2ms);
  peer.send({peer.upto(10)});
  CHECK(peer.count().sack_reorder == 1);
  peer.forget();
  peer.run_for(2s);
  peer.base = 10;
  peer.send_full(8);
  peer.run_for(peer.rtt);
  // Three SACKed segments would be proof on a path that keeps the order.
  peer.send({peer.upto(10), peer.block(11, 15)});
  CHECK(peer.sent().empty());
  peer.run_for(12ms);
  CHECK(peer.sent() == places{10});
}

TEST_CASE("tcp_max_reordering: no path is taken to reorder by more") {
  for (const std::uint16_t most : {std::uint16_t{300}, std::uint16_t{4}}) {
    CAPTURE(most);
    loss_peer peer([most](host_options& options) {
      options.policy.recovery = 0;
      options.policy.max_reordering = most;
    });
    send_ten(peer);
    peer.send({peer.upto(0), peer.block(7, 9)});
    peer.send({peer.upto(10)});
    CHECK(peer.count().sack_reorder == 1);
    peer.forget();
    peer.send_full(10);
    peer.run_for(peer.rtt);
    // It has reordered by nine.
    peer.send({peer.upto(10), peer.block(11, 16)});
    CHECK(peer.sent() == (most == 4 ? places{10} : places{}));
  }
}

TEST_CASE("tcp_early_retrans: 3 and 4 probe for a lost tail, less do not") {
  for (const int value : {0, 1, 2, 3, 4}) {
    CAPTURE(value);
    loss_peer peer;
    CHECK(peer.engine().set("net.ipv4.tcp_early_retrans", std::to_string(value)) == "");
    CHECK(peer.engine().get("net.ipv4.tcp_early_retrans") == (value >= 3 ? "3" : "0"));
    peer.open({});
    peer.send_full(2);
    peer.run_for(150ms);
    CHECK(peer.count().loss_probes == (value >= 3 ? 1 : 0));
  }
  loss_peer peer;
  CHECK(peer.engine().set("net.ipv4.tcp_early_retrans", "5") ==
        "net.ipv4.tcp_early_retrans must be 0 to 4; it is 5");
}

TEST_CASE(
    "TCP_THIN_LINEAR_TIMEOUTS: six time-outs of a thin stream wait no longer than the first") {
  for (const bool linear : {false, true}) {
    for (const std::uint32_t segments : {3U, 4U}) {
      CAPTURE(linear);
      CAPTURE(segments);
      loss_peer peer(loss_peer::no_probe());
      peer.open({});
      CHECK(peer.engine().set(peer.socket, "TCP_THIN_LINEAR_TIMEOUTS", linear ? "1" : "0") == "");
      const auto rto = peer.look().rto;
      peer.send_full(segments);
      peer.mark();
      peer.run_for(8 * rto);
      const bool thin = linear && segments < 4;
      CHECK(peer.count().timeouts == (thin ? 7 : 3));
      if (!thin) continue;
      // The seventh has doubled it.
      CHECK(peer.look().rto == 2 * rto);
    }
  }
}
