#include "loss_peer.hpp"

// The tail loss probe (RFC 8985 §7). The path takes 40 ms, so it comes after 82 ms; a single
// segment, whose acknowledgement may be delayed, is given as long as the RTO of 240 ms.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// `count` segments have left, and the moment is marked.
void send_now(loss_peer& peer, std::uint32_t count, const loss_peer::setup& how = {}) {
  peer.open(how);
  peer.mark();
  peer.send_full(count);
}

std::int64_t first_after(loss_peer& peer) {
  const std::vector<std::int64_t> all = peer.times();
  return all.empty() ? -1 : all.front();
}

}  // namespace

TEST_CASE("S113 TCPLossProbes: RFC 8985 7.3, the last segment goes again after two round trips") {
  loss_peer peer;
  send_now(peer, 3);
  peer.run_for(150ms);
  CHECK(peer.said().size() == 1);
  peer.expect({seq(peer.at(2)), length(1460)});
  CHECK(peer.count().loss_probes == 1);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.look().total_retrans == 1);
  // It is no fast retransmission, and none of slow start.
  CHECK(peer.count().fast_retrans == 0);
  CHECK(peer.count().slow_start_retrans == 0);
  peer.send({peer.upto(3), peer.block(2, 3)});
}

TEST_CASE("tcp RFC 8985 7.2: the probe time-out is two round trips, or the RTO for one segment") {
  for (const std::uint32_t count : {1U, 2U, 10U}) {
    CAPTURE(count);
    loss_peer peer;
    send_now(peer, count);
    peer.run_for(300ms);
    const std::int64_t at = first_after(peer);
    CHECK(at >= (count == 1 ? 240 : 82));
    CHECK(at <= (count == 1 ? 241 : 83));
    CHECK(peer.count().loss_probes == 1);
    CHECK(peer.count().timeouts == 0);
  }
}

TEST_CASE("tcp RFC 8985 7.2: an acknowledgement that moves starts the probe time-out anew") {
  loss_peer peer;
  send_now(peer, 4);
  peer.run_for(70ms);
  peer.send({peer.upto(1)});
  peer.mark();
  // The round trip is longer now.
  const auto srtt = peer.look().srtt;
  peer.run_for(300ms);
  const std::int64_t at = first_after(peer);
  CHECK(at >= 2 * srtt / 1ms);
  CHECK(at <= 2 * srtt / 1ms + 5);
}

TEST_CASE("tcp RFC 8985 7.3: new text is the probe where there is some, beyond the window even") {
  loss_peer peer;
  send_now(peer, 10);
  peer.write_segments(5);
  CHECK(peer.sent().empty());
  peer.run_for(100ms);
  CHECK(peer.sent() == places{10});
  CHECK(peer.count().loss_probes == 1);
  CHECK(peer.look().total_retrans == 0);
}

TEST_CASE("tcp RFC 8985 7.3: where the peer's window is full the last segment is the probe") {
  loss_peer peer;
  peer.open({});
  peer.send({window(4 * 1460)});
  peer.write_segments(8);
  CHECK(peer.sent() == places{0, 1, 2, 3});
  peer.run_for(100ms);
  CHECK(peer.sent() == places{3});
  CHECK(peer.count().loss_probes == 1);
}

TEST_CASE("tcp RFC 8985 7.3: a last segment with FIN is the probe as a whole") {
  for (const std::uint32_t last : {1460U, 700U}) {
    loss_peer peer;
    peer.open({});
    const std::string what = numbered_text(2 * 1460 + last);
    CHECK(peer.engine().send(peer.socket, bytes_of(what), peer.now()).value == what.size());
    peer.shutdown();
    CHECK(peer.said().size() == 3);
    CHECK(peer.said().back().flags() == "FPA");
    peer.forget();
    peer.run_for(100ms);
    peer.expect({flags("FA"), seq(peer.at(2)), length(last)});
    peer.expect_nothing();
  }
}

TEST_CASE("tcp RFC 8985 7.3: there is one probe at a time; after it comes the time-out") {
  loss_peer peer;
  send_now(peer, 3);
  peer.run_for(10s);
  CHECK(peer.count().loss_probes == 1);
  CHECK(peer.count().timeouts >= 3);
  const places all = peer.sent();
  REQUIRE(all.size() >= 2);
  CHECK(all[0] == 2);
  CHECK(all[1] == 0);
}

TEST_CASE("tcp RFC 8985 7.4.2: the D-SACK of a probe that was not needed costs nothing") {
  loss_peer peer;
  send_now(peer, 3);
  peer.run_for(100ms);
  CHECK(peer.sent() == places{2});
  peer.send({peer.upto(3), peer.block(2, 3)});
  peer.send_full(3);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(6)});
  CHECK(peer.count().loss_probe_recovery == 0);
  CHECK(peer.count().dsack_undo == 0);
  CHECK(peer.ssthresh_segments() == UINT32_MAX);
  CHECK(peer.window_segments() >= 10);
}

TEST_CASE("tcp RFC 8985 7.4.2: so does a plain duplicate, from a peer that has no D-SACK") {
  loss_peer peer;
  send_now(peer, 3);
  peer.run_for(100ms);
  CHECK(peer.sent() == places{2});
  peer.write_segments(3);
  peer.forget();
  peer.send({peer.upto(3)});
  peer.send({peer.upto(3)});
  peer.run_for(peer.rtt);
  peer.send({peer.upto(6)});
  CHECK(peer.count().loss_probe_recovery == 0);
  CHECK(peer.ssthresh_segments() == UINT32_MAX);
}

TEST_CASE("S113 TCPLossProbeRecovery: RFC 8985 7.4.2, a probe that repairs a loss reduces once") {
  loss_peer peer;
  SUBCASE("found while more is on its way") {
    send_now(peer, 3);
    peer.run_for(100ms);
    CHECK(peer.sent() == places{2});
    peer.write_segments(3);
    peer.forget();
    peer.send({peer.upto(3)});
    CHECK(peer.count().loss_probe_recovery == 0);
  }
  SUBCASE("found when more is sent after everything was acknowledged") {
    send_now(peer, 3);
    peer.run_for(100ms);
    CHECK(peer.sent() == places{2});
    peer.send({peer.upto(3)});
    CHECK(peer.count().loss_probe_recovery == 0);
    peer.run_for(10ms);
    peer.send_full(3);
  }
  SUBCASE("and of a single segment") {
    send_now(peer, 3);
    peer.run_for(peer.rtt);
    peer.send({peer.upto(2)});
    peer.run_for(245ms);
    CHECK(peer.sent() == places{2});
    peer.write_segments(3);
    peer.forget();
  }
  peer.run_for(peer.rtt);
  peer.send({peer.upto(6)});
  CHECK(peer.count().loss_probe_recovery == 1);
  CHECK(peer.ssthresh_segments() >= 5);
  CHECK(peer.ssthresh_segments() <= 7);
  CHECK(peer.window_segments() <= 8);
  CHECK(peer.count().sack_recovery == 0);
  CHECK(peer.count().timeouts == 0);
  // Once.
  peer.send_full(3);
  peer.run_for(peer.rtt);
  peer.send({peer.upto(9)});
  CHECK(peer.count().loss_probe_recovery == 1);
}

TEST_CASE("tcp RFC 8985 7.4.1: the answer to a probe tells RACK of the losses before it") {
  loss_peer peer;
  send_now(peer, 10);
  peer.run_for(100ms);
  CHECK(peer.sent() == places{9});
  peer.run_for(peer.rtt);
  // All but the first five were lost.
  peer.send({peer.upto(5), peer.block(9, 10)});
  places all = peer.sent();
  peer.run_for(15ms);
  for (const std::int64_t each : peer.sent()) all.push_back(each);
  REQUIRE(!all.empty());
  CHECK(all.front() == 5);
  std::uint32_t next = 5;
  for (int i = 0; i < 4; ++i) {
    peer.run_for(peer.rtt);
    next = std::min<std::uint32_t>(static_cast<std::uint32_t>(all.back()) + 1, 9);
    peer.send({peer.upto(next == 9 ? 10 : next)});
    for (const std::int64_t each : peer.sent()) all.push_back(each);
  }
  CHECK(all == places{5, 6, 7, 8});
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.count().sack_recovery == 1);
}

TEST_CASE("tcp RFC 8985 7.2: no probe without SACK, against the policy, or during recovery") {
  SUBCASE("without SACK") {
    loss_peer peer;
    send_now(peer, 3, {.sack = false});
    peer.run_for(300ms);
    CHECK(peer.sent() == places{0});
    CHECK(peer.count().loss_probes == 0);
    CHECK(peer.count().timeouts == 1);
  }
  SUBCASE("switched off") {
    loss_peer peer(loss_peer::no_probe());
    send_now(peer, 3);
    peer.run_for(300ms);
    CHECK(peer.sent() == places{0});
    CHECK(peer.count().loss_probes == 0);
    CHECK(peer.count().timeouts == 1);
  }
  SUBCASE("during recovery") {
    loss_peer peer;
    send_now(peer, 10);
    peer.run_for(peer.rtt);
    peer.send({peer.upto(0), peer.block(1, 5)});
    CHECK(peer.sent() == places{0});
    peer.run_for(1s);
    CHECK(peer.count().loss_probes == 0);
    CHECK(peer.count().timeouts >= 1);
  }
  SUBCASE("after a time-out") {
    loss_peer peer;
    send_now(peer, 3);
    peer.run_for(500ms);
    CHECK(peer.count().timeouts == 1);
    peer.send({peer.upto(1)});
    peer.run_for(200ms);
    CHECK(peer.count().loss_probes == 1);
  }
}
