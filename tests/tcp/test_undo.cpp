#include "loss_peer.hpp"

// Recoveries that were for nothing, taken back: by F-RTO (RFC 5682), by timestamps (RFC 3522,
// RFC 4015) and by D-SACK (RFC 3708).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

struct timeout_setup {
  loss_peer::setup connection;
  std::uint32_t unsent = 5;
};

/// Ten segments are out, nothing is heard of them, and the first goes again.
void time_out(loss_peer& peer, const timeout_setup& how = {}) {
  peer.open(how.connection);
  peer.send_full(10);
  if (how.unsent > 0) peer.write_segments(how.unsent);
  CHECK(peer.sent().empty());
  peer.run_for(250ms);
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().timeouts == 1);
  CHECK(peer.window_segments() == 1);
  CHECK(peer.ssthresh_segments() == 5);
}

/// The host's timestamp of what it said last.
std::uint32_t last_stamp(loss_peer& peer) {
  return peer.said().back().tcp.options.timestamp->value;
}

/// With timestamps ten segments are out, the first is taken for lost and sent again.
struct resent_first {
  std::uint32_t original;
  std::uint32_t again;
};
resent_first recover_first(loss_peer& peer) {
  peer.open({.stamps = true});
  peer.write_segments(10);
  resent_first stamps{last_stamp(peer), 0};
  peer.forget();
  peer.run_for(peer.rtt);
  peer.send({peer.upto(0), peer.block(1, 4), peer.clock(stamps.original)});
  stamps.again = last_stamp(peer);
  CHECK(stamps.again != stamps.original);
  CHECK(peer.sent() == places{0});
  CHECK(peer.count().sack_recovery == 1);
  CHECK(peer.ssthresh_segments() == 5);
  peer.run_for(3ms);
  return stamps;
}

/// The same without timestamps.
void recover_first_unstamped(loss_peer& peer) {
  peer.open({});
  peer.send_full(10);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(0), peer.block(1, 4)});
  CHECK(peer.sent() == places{0});
  peer.run_for(3ms);
}

void check_window_restored(loss_peer& peer) {
  CHECK(peer.window_segments() >= 10);
  CHECK(peer.ssthresh_segments() == UINT32_MAX);
}

}  // namespace

TEST_CASE("S113 TCPSpuriousRTOs: RFC 5682 3.1, late acknowledgements take a time-out back") {
  for (const bool sack : {true, false}) {
    CAPTURE(sack);
    loss_peer peer(loss_peer::no_probe());
    time_out(peer, {.connection = {.sack = sack}});
    // (2b): one or two new segments, and nothing again.
    peer.send({peer.upto(1)});
    CHECK(peer.sent() == places{10, 11});
    CHECK(peer.count().spurious_rtos == 0);
    // (3b): it was never sent again, and here it is.
    peer.send({peer.upto(2)});
    CHECK(peer.count().spurious_rtos == 1);
    CHECK(peer.count().loss_undo == 1);
    check_window_restored(peer);
    for (const std::int64_t each : peer.sent()) CHECK(each >= 12);
    for (std::uint32_t next = 3; next <= 15; ++next) peer.send({peer.upto(next)});
    for (const std::int64_t each : peer.sent()) CHECK(each >= 12);
    CHECK(peer.look().total_retrans == 1);
    CHECK(peer.look().unacked_bytes == 0);
  }
}

TEST_CASE("tcp RFC 5682 3.1: the SACK of an original takes a time-out back as well") {
  loss_peer peer(loss_peer::no_probe());
  time_out(peer);
  peer.send({peer.upto(0), peer.block(4, 5)});
  CHECK(peer.count().spurious_rtos == 1);
  check_window_restored(peer);
}

TEST_CASE("tcp RFC 5682 3.1: after a real loss everything is sent again as ever") {
  for (const bool sack : {true, false}) {
    CAPTURE(sack);
    loss_peer peer(loss_peer::no_probe());
    time_out(peer, {.connection = {.sack = sack}});
    peer.run_for(peer.rtt);
    peer.send({peer.upto(1)});
    CHECK(peer.sent() == places{10, 11});
    peer.run_for(peer.rtt);
    if (sack) {
      peer.send({peer.upto(1), peer.block(10, 11)});
    } else {
      peer.send({peer.upto(1)});
    }
    places all = peer.sent();
    REQUIRE(!all.empty());
    CHECK(all.front() == 1);
    CHECK(peer.count().spurious_rtos == 0);
    for (std::uint32_t next = 2; next <= 10; ++next) {
      peer.run_for(peer.rtt);
      // The new text is there already.
      if (sack && next < 10) {
        peer.send({peer.upto(next), peer.block(10, 12)});
      } else {
        peer.send({peer.upto(next < 10 ? next : 12)});
      }
      for (const std::int64_t each : peer.sent()) all.push_back(each);
    }
    for (std::int64_t place = 1; place < 10; ++place) CHECK(std::ranges::count(all, place) == 1);
    CHECK(peer.count().timeouts == 1);
    CHECK(peer.count().loss_undo == 0);
    CHECK(peer.ssthresh_segments() == 5);
  }
}

TEST_CASE(
    "tcp RFC 5682 2.1: without SACK an acknowledgement beyond what was sent again proves nothing") {
  loss_peer peer(loss_peer::no_probe());
  time_out(peer, {.connection = {.sack = false}});
  // 0 and 5 were lost; what lies between had arrived.
  peer.run_for(peer.rtt);
  peer.send({peer.upto(5)});
  CHECK(peer.count().spurious_rtos == 0);
  CHECK(peer.ssthresh_segments() == 5);
  for (const std::int64_t each : peer.sent()) CHECK(each >= 10);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(5)});
  peer.send({peer.upto(5)});
  CHECK(std::ranges::count(peer.sent(), 5) == 1);
  CHECK(peer.count().timeouts == 1);
}

TEST_CASE("tcp RFC 5682 3.1: where nothing new can be sent what was lost goes on at once") {
  SUBCASE("nothing to send") {
    loss_peer peer(loss_peer::no_probe());
    time_out(peer, {.connection = {}, .unsent = 0});
    peer.send({peer.upto(1)});
    CHECK(peer.sent() == places{1, 2});
  }
  SUBCASE("no room in the peer's window") {
    loss_peer peer(loss_peer::no_probe());
    time_out(peer);
    peer.send({peer.upto(1), window(9 * 1460)});
    CHECK(peer.sent() == places{1, 2});
  }
  SUBCASE("switched off") {
    loss_peer peer([](host_options& options) {
      options.policy.tail_loss_probe = false;
      options.policy.frto = false;
    });
    time_out(peer);
    peer.send({peer.upto(1)});
    CHECK(peer.sent() == places{1, 2});
  }
}

TEST_CASE("tcp RFC 5682 3.1: a short segment that waits for company does not hold recovery up") {
  loss_peer peer(loss_peer::no_probe());
  peer.open({});
  peer.send_full(5);
  CHECK(peer.write("short") == 5);
  CHECK(peer.write("shorter") == 7);
  CHECK(peer.sent() == places{5});
  peer.run_for(250ms);
  CHECK(peer.sent() == places{0});
  peer.run_for(peer.rtt);
  peer.send({peer.upto(1)});
  CHECK(!peer.sent().empty());
  CHECK(peer.count().timeouts == 1);
}

TEST_CASE("tcp RFC 5682 3.1: a second time-out of the same text is not taken for a spurious one") {
  loss_peer peer(loss_peer::no_probe());
  time_out(peer);
  peer.run_for(600ms);
  CHECK(peer.count().timeouts == 2);
  CHECK(peer.sent() == places{0});
  CHECK(peer.ssthresh_segments() == 5);
  peer.send({peer.upto(10)});
  CHECK(peer.sent().size() >= 2);
}

TEST_CASE("S113 TCPFullUndo: RFC 4015 3.2, an echo from before the retransmission takes it back") {
  loss_peer peer;
  const resent_first stamps = recover_first(peer);
  SUBCASE("of the original") {
    peer.send({peer.upto(10), peer.clock(stamps.original)});
    CHECK(peer.count().full_undo == 1);
    check_window_restored(peer);
  }
  SUBCASE("of the retransmission") {
    peer.send({peer.upto(10), peer.clock(stamps.again)});
    CHECK(peer.count().full_undo == 0);
    CHECK(peer.window_segments() == 5);
    CHECK(peer.ssthresh_segments() == 5);
  }
  CHECK(peer.count().partial_undo == 0);
  CHECK(peer.count().dsack_undo == 0);
  CHECK(peer.look().total_retrans == 1);
}

TEST_CASE("S113 TCPPartialUndo: RFC 3522 3.2, so does one that acknowledges a part") {
  loss_peer peer;
  const resent_first stamps = recover_first(peer);
  peer.send({peer.upto(4), peer.clock(stamps.original)});
  CHECK(peer.count().partial_undo == 1);
  check_window_restored(peer);
  peer.send({peer.upto(10), peer.clock(stamps.original)});
  CHECK(peer.count().partial_undo == 1);
  CHECK(peer.count().full_undo == 0);
  CHECK(peer.look().total_retrans == 1);
}

TEST_CASE(
    "tcp RFC 3522 3.2: a part with the echo of the retransmission leaves recovery under way") {
  loss_peer peer;
  const resent_first stamps = recover_first(peer);
  peer.send({peer.upto(4), peer.clock(stamps.again)});
  CHECK(peer.count().partial_undo == 0);
  CHECK(peer.ssthresh_segments() == 5);
}

TEST_CASE("S113 TCPLossUndo: RFC 3522 3.2, a time-out is taken back by timestamps without F-RTO") {
  loss_peer peer([](host_options& options) {
    options.policy.tail_loss_probe = false;
    options.policy.frto = false;
  });
  peer.open({.stamps = true});
  peer.write_segments(10);
  const std::uint32_t original = last_stamp(peer);
  peer.forget();
  peer.run_for(250ms);
  CHECK(peer.sent() == places{0});
  peer.send({peer.upto(1), peer.clock(original)});
  CHECK(peer.count().loss_undo == 1);
  CHECK(peer.count().spurious_rtos == 0);
  check_window_restored(peer);
  peer.send({peer.upto(10), peer.clock(original)});
  peer.run_for(1s);
  CHECK(peer.sent().empty());
  CHECK(peer.look().total_retrans == 1);
}

TEST_CASE("S113 TCPDSACKUndo: RFC 3708 3, D-SACKs of everything that was sent again take it back") {
  loss_peer peer;
  recover_first_unstamped(peer);
  SUBCASE("during recovery") {
    peer.send({peer.upto(4), peer.block(0, 1)});
    CHECK(peer.count().dsack_undo == 1);
    check_window_restored(peer);
    peer.send({peer.upto(10)});
  }
  SUBCASE("after it") {
    peer.send({peer.upto(10)});
    CHECK(peer.window_segments() == 5);
    peer.send({peer.upto(10), peer.block(0, 1)});
    CHECK(peer.count().dsack_undo == 1);
    check_window_restored(peer);
  }
  CHECK(peer.count().full_undo == 0);
  CHECK(peer.look().total_retrans == 1);
}

TEST_CASE("tcp RFC 3708 3: as long as one retransmission has no D-SACK nothing is taken back") {
  loss_peer peer;
  peer.open({});
  peer.send_full(10);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(0), peer.block(2, 9)});
  CHECK(peer.sent() == places{0, 1});
  peer.run_for(5ms);
  peer.send({peer.upto(9), peer.block(0, 1)});
  CHECK(peer.count().dsack_undo == 0);
  CHECK(peer.ssthresh_segments() == 5);
  peer.send({peer.upto(9), peer.block(1, 2)});
  CHECK(peer.count().dsack_undo == 1);
  check_window_restored(peer);
}

TEST_CASE("tcp RFC 3708 3: the D-SACK of text from before the recovery counts for nothing") {
  loss_peer peer;
  peer.open({});
  peer.send_full(10);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(2)});
  peer.send({peer.upto(2), peer.block(3, 7)});
  CHECK(peer.sent() == places{2});
  // The network has doubled the segment right before the hole.
  peer.send({peer.upto(2), peer.block(1, 2), peer.block(3, 7)});
  CHECK(peer.count().dsack_undo == 0);
  CHECK(peer.ssthresh_segments() <= 6);
  CHECK(peer.look().total_retrans == 1);
}

TEST_CASE("tcp RFC 3708 3: a time-out is taken back by the D-SACK of what was sent again") {
  loss_peer peer([](host_options& options) {
    options.policy.tail_loss_probe = false;
    options.policy.frto = false;
  });
  time_out(peer, {.connection = {}, .unsent = 0});
  peer.send({peer.upto(10), peer.block(0, 1)});
  CHECK(peer.count().loss_undo == 1);
  check_window_restored(peer);
  CHECK(peer.sent().empty());
}
