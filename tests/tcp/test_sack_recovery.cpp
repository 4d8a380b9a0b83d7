#include "loss_peer.hpp"

// Loss recovery with selective acknowledgements (RFC 2018, RFC 6675), how much it sends (RFC 6937),
// and what is sent before it begins (RFC 3042).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Ten segments are out, and a round trip has passed.
void send_ten(loss_peer& peer, const loss_peer::setup& how = {}) {
  peer.open(how);
  peer.send_full(10);
  peer.run_for(peer.rtt);
}

/// The first of the ten is lost, found so and sent again.
void lose_first(loss_peer& peer) {
  for (std::uint32_t last = 2; last <= 4; ++last) peer.send({peer.upto(0), peer.block(1, last)});
  CHECK(peer.sent() == places{0});
}

}  // namespace

TEST_CASE(
    "S113 TCPSackRecovery: RFC 6675 5, three SACKed segments above a hole send the hole once") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 2)});
  peer.send({peer.upto(0), peer.block(1, 3)});
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
  peer.send({peer.upto(0), peer.block(1, 4)});
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().reno_recovery == 0);
  CHECK(peer.count().fast_retrans == 1);
  for (std::uint32_t last = 5; last <= 10; ++last) peer.send({peer.upto(0), peer.block(1, last)});
  CHECK(peer.sent().empty());
  peer.run_for(30ms);
  peer.send({peer.upto(10)});
  peer.run_for(2s);
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.look().total_retrans == 1);
  CHECK(peer.window_segments() == 5);
}

TEST_CASE("S113 TCPRenoRecovery: RFC 6582 3.2, without SACK three duplicates begin it") {
  loss_peer peer;
  send_ten(peer, {.sack = false});
  for (int i = 0; i < 3; ++i) peer.send({peer.upto(0)});
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().reno_recovery == 1);
  CHECK(peer.count().sack_recovery == 0);
  peer.send({peer.upto(10)});
  CHECK(peer.window_segments() == 5);
}

TEST_CASE("tcp RFC 6675 4: several holes are sent again in order, each once, and nothing between") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(1, 3)});
  peer.send({peer.upto(0), peer.block(4, 6), peer.block(1, 3)});
  peer.send({peer.upto(0), peer.block(7, 9), peer.block(4, 6), peer.block(1, 3)});
  peer.send({peer.upto(0), peer.block(7, 10), peer.block(4, 6), peer.block(1, 3)});
  places all = peer.sent();
  peer.run_for(peer.rtt);
  for (const std::uint32_t next : {3U, 6U, 10U}) {
    peer.send({peer.upto(next)});
    for (const std::int64_t each : peer.sent()) all.push_back(each);
  }
  CHECK(all == places{0, 3, 6});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("tcp RFC 6675 2: one acknowledgement may tell of every hole at once") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(1), peer.block(8, 10), peer.block(5, 7), peer.block(2, 4)});
  places all = peer.sent();
  CHECK(all.size() >= 1);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(4), peer.block(8, 10), peer.block(5, 7)});
  for (const std::int64_t each : peer.sent()) all.push_back(each);
  CHECK(all == places{1, 4, 7});
}

TEST_CASE("tcp RFC 6675 5: text from before and after the recovery point are two recoveries") {
  loss_peer peer;
  send_ten(peer);
  lose_first(peer);
  peer.write_segments(10);
  peer.forget();
  peer.run_for(peer.rtt);
  // New text left when everything else had arrived; its own loss is a new one.
  peer.send({peer.upto(10)});
  const places fresh = peer.sent();
  REQUIRE(fresh.size() >= 4);
  CHECK(fresh.front() >= 10);
  const auto first = static_cast<std::uint32_t>(fresh.front());
  peer.run_for(peer.rtt);
  for (std::uint32_t last = first + 2; last <= first + 4; ++last) {
    peer.send({peer.upto(first), peer.block(first + 1, last)});
  }
  const places again = peer.sent();
  CHECK(std::ranges::count(again, first) == 1);
  CHECK(peer.count().sack_recovery == 2);
  CHECK(peer.ssthresh_segments() <= 3);
}

TEST_CASE("tcp RFC 2883 4: a D-SACK is not taken as a SACK") {
  loss_peer peer;
  send_ten(peer);
  SUBCASE("below the acknowledgement") {
    for (int i = 0; i < 5; ++i) peer.send({peer.upto(2), peer.block(0, 1)});
  }
  SUBCASE("across the acknowledgement") {
    for (int i = 0; i < 5; ++i) peer.send({peer.upto(2), peer.block(0, 6)});
  }
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
  CHECK(peer.count().sack_discard == 0);
  CHECK(peer.window_segments() >= 10);
  // All of it is still to be acknowledged.
  for (std::uint32_t i = 3; i <= 10; ++i) peer.send({peer.upto(i)});
  CHECK(peer.count().sack_reorder == 0);
}

TEST_CASE("tcp RFC 2883 4.2: of a D-SACK inside of a block the block alone counts") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(2, 3), peer.block(2, 5)});
  CHECK(peer.sent() == places{0});
  peer.run_for(1ms);
  peer.send({peer.upto(0), peer.block(1, 5)});
  peer.send({peer.upto(10)});
  CHECK(peer.sent().size() <= 1);
  CHECK(peer.count().sack_discard == 0);
}

TEST_CASE("S113 TCPSACKDiscard: RFC 2018 5, blocks that make no sense are passed over") {
  loss_peer peer;
  send_ten(peer);
  // Of four one is about what was sent and not acknowledged.
  peer.send(
      {peer.upto(2), peer.block(3, 4), peer.block(0, 1), peer.block(7, 5), peer.block(8, 30)});
  CHECK(peer.count().sack_discard == 3);
  CHECK(peer.sent().empty());
  peer.send({peer.upto(2), peer.block(3, 4), peer.block(9, 11)});
  CHECK(peer.count().sack_discard == 4);
  peer.send({peer.upto(2), peer.block(3, 4), sack(peer.at(4) + 0x8000'0000U, peer.at(5))});
  CHECK(peer.count().sack_discard == 5);
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
}

TEST_CASE("tcp RFC 2018 4: a block that begins at the acknowledgement contradicts it") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(2), peer.block(2, 6)});
  CHECK(peer.count().sack_discard == 1);
  CHECK(peer.count().sack_recovery == 0);
  peer.send({peer.upto(10)});
  peer.run_for(1s);
  CHECK(peer.count().sack_reneging == 0);
  CHECK(peer.sent().empty());
}

TEST_CASE("tcp RFC 2018 4: old blocks of an overtaken acknowledgement are no nonsense") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(8)});
  peer.send({peer.upto(2), peer.block(5, 6), peer.block(3, 4)});
  CHECK(peer.count().sack_discard == 0);
  CHECK(peer.count().sack_recovery == 0);
  CHECK(peer.sent().empty());
}

TEST_CASE("tcp RFC 2018 3: without SACK-permitted blocks mean nothing") {
  loss_peer peer;
  send_ten(peer, {.sack = false});
  peer.send({peer.upto(1), peer.block(2, 10)});
  peer.run_for(20ms);
  CHECK(peer.sent().empty());
  CHECK(peer.count().sack_recovery == 0);
}

TEST_CASE("tcp RFC 5681 4.3: a loss takes the window to what the algorithm says") {
  struct expected {
    congestion_control control;
    std::uint32_t ssthresh;
  };
  for (const expected& each : {expected{congestion_control::reno, 5 * 1460},
                               expected{congestion_control::cubic, 10 * 1460 * 7 / 10}}) {
    loss_peer peer;
    send_ten(peer, {.control = each.control});
    lose_first(peer);
    // CUBIC's factor is 717 of 1024.
    CHECK(peer.look().snd_ssthresh_bytes >= each.ssthresh);
    CHECK(peer.look().snd_ssthresh_bytes <= each.ssthresh + 50);
    peer.send({peer.upto(10)});
    CHECK(peer.look().snd_cwnd_bytes == peer.look().snd_ssthresh_bytes);
  }
}

TEST_CASE("tcp RFC 6937 3: in recovery about half as much is sent as arrives, and no burst") {
  loss_peer peer;
  peer.open({});
  peer.grow_window(20);
  const std::uint32_t hole = peer.base;
  peer.send_full(20);
  peer.write_segments(30);
  CHECK(peer.sent().empty());
  peer.run_for(peer.rtt);
  std::size_t total = 0;
  for (std::uint32_t last = hole + 2; last <= hole + 20; ++last) {
    peer.send({peer.upto(hole), peer.block(hole + 1, last)});
    const places now = peer.sent();
    CHECK(now.size() <= 1);
    total += now.size();
  }
  // Two of limited transmit, the hole, and then one for two.
  CHECK(total >= 10);
  CHECK(total <= 13);
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.ssthresh_segments() == 10);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(hole + 20)});
  CHECK(peer.sent().size() <= 2);
  CHECK(peer.window_segments() == 10);
}

TEST_CASE(
    "tcp RFC 6937 3.1: when most is lost, recovery sends what arrives and not less than one") {
  loss_peer peer;
  peer.open({});
  peer.grow_window(20);
  const std::uint32_t hole = peer.base;
  peer.send_full(20);
  peer.run_for(peer.rtt);
  // Sixteen in a row are lost.
  for (std::uint32_t last = hole + 17; last <= hole + 20; ++last) {
    peer.send({peer.upto(hole), peer.block(hole + 16, last)});
    CHECK(peer.sent().size() <= 3);
  }
  CHECK(peer.look().total_retrans >= 2);
  std::uint32_t next = hole;
  while (next < hole + 16) {
    peer.run_for(peer.rtt);
    const std::uint32_t retrans = peer.look().total_retrans;
    REQUIRE(retrans > next - hole);
    next = std::min(hole + retrans, hole + 16);
    peer.send({peer.upto(next == hole + 16 ? hole + 20 : next), peer.block(hole + 16, hole + 20)});
    CHECK(peer.window_segments() <= 10);
  }
  CHECK(peer.look().total_retrans == 16);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.window_segments() == 10);
}

TEST_CASE("tcp RFC 6937 3: one acknowledgement of nearly all lets no more go than it told of") {
  loss_peer peer;
  peer.open({});
  peer.grow_window(20);
  const std::uint32_t hole = peer.base;
  peer.send_full(20);
  peer.write_segments(20);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(hole), peer.block(hole + 1, hole + 20)});
  const places now = peer.sent();
  REQUIRE(!now.empty());
  CHECK(now.front() == hole);
  CHECK(now.size() <= 10);
}

TEST_CASE(
    "tcp RFC 3042: the first two duplicates let a new segment go each, with SACK and without") {
  for (const bool sack : {true, false}) {
    CAPTURE(sack);
    loss_peer peer;
    send_ten(peer, {.sack = sack});
    peer.write_segments(5);
    CHECK(peer.sent().empty());
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (sack) {
        peer.send({peer.upto(0), peer.block(1, 2 + i)});
      } else {
        peer.send({peer.upto(0)});
      }
      CHECK(peer.sent() == places{i < 2 ? 10 + i : 0});
    }
  }
}

TEST_CASE("S113 TCPSACKReneging: RFC 2018 8, what was SACKed and taken back is sent again") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(2, 4)});
  peer.forget();
  peer.run_for(5ms);
  // The acknowledgement ends where the block began.
  peer.send({peer.upto(2)});
  CHECK(peer.count().sack_reneging == 0);
  peer.forget();
  peer.run_for(60ms);
  CHECK(peer.count().sack_reneging == 1);
  CHECK(peer.count().timeouts == 1);
  places all = peer.sent();
  CHECK(all == places{2});
  for (std::uint32_t next = 3; next <= 10; ++next) {
    peer.run_for(peer.rtt);
    peer.send({peer.upto(next)});
    for (const std::int64_t each : peer.sent()) all.push_back(each);
  }
  // Each of them at least: nothing is taken to be there.
  for (std::int64_t place = 2; place < 10; ++place) CHECK(std::ranges::count(all, place) == 1);
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp RFC 2018 8: acknowledgements that were only overtaken are no reneging") {
  loss_peer peer;
  send_ten(peer);
  peer.send({peer.upto(0), peer.block(2, 4)});
  peer.send({peer.upto(2)});
  peer.run_for(5ms);
  peer.send({peer.upto(10)});
  peer.run_for(1s);
  CHECK(peer.count().sack_reneging == 0);
  CHECK(peer.count().timeouts == 0);
}

TEST_CASE("S113 TCPSlowStartRetrans: RFC 5681 3.1, what is sent again after a time-out") {
  loss_peer peer(loss_peer::no_probe());
  send_ten(peer);
  peer.run_for(210ms);
  CHECK(peer.sent() == places{0});
  // Not what the timer itself sends, as in Linux.
  CHECK(peer.count().slow_start_retrans == 0);
  CHECK(peer.count().retrans_segs == 1);
  CHECK(peer.window_segments() == 1);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(1)});
  CHECK(peer.sent() == places{1, 2});
  CHECK(peer.count().slow_start_retrans == 2);
  CHECK(peer.count().fast_retrans == 0);
}

TEST_CASE("tcp RFC 5681 4.1: after a pause the window begins anew, where the policy has it so") {
  for (const bool restarts : {true, false}) {
    loss_peer peer([&](host_options& options) { options.policy.slow_start_after_idle = restarts; });
    peer.open({});
    peer.grow_window(40);
    peer.run_for(5s);
    peer.write_segments(44);
    CHECK(peer.sent().size() == (restarts ? 10 : 40));
    CHECK(peer.window_segments() == (restarts ? 10 : 40));
  }
}
