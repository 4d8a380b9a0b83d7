#include "host_pair.hpp"
#include "raw_peer.hpp"

// The retransmission timer (RFC 6298), fast retransmit and recovery without SACK (RFC 5681,
// RFC 6582), and for how long silence is borne. The fixture answers at once, so the first RTT
// sample is 1 ms and the RTO 201 ms.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

using moments = std::vector<std::int64_t>;

/// A connection whose window follows RFC 5681 as it stands.
void establish_reno(raw_peer& peer) {
  listener_policy policy;
  policy.connection.congestion_control = congestion_control::reno;
  peer.establish(policy);
}

/// `count` full segments of 1460 bytes, all of them sent.
void send_full(raw_peer& peer, std::size_t count) {
  CHECK(peer.write(numbered_text(count * 1460)) == count * 1460);
  CHECK(peer.said().size() == count);
  peer.forget();
}

}  // namespace

TEST_CASE("tcp S68 FIN-WAIT-1: an orphan's FIN is sent nine times; gone after 102.2 s") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  peer.close();
  CHECK(peer.run_until_over(200s) == 102'711ms);
  CHECK(peer.times() == moments{0, 201, 603, 1407, 3015, 6231, 12663, 25527, 51255});
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.count().abort_on_timeout == 1);
  CHECK(peer.count().timeouts == 9);
  CHECK(peer.count().retrans_segs == 8);
}

TEST_CASE("tcp S73 LAST-ACK: the second FIN has the same schedule") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.mark();
  peer.close();
  CHECK(peer.run_until_over(200s) == 102'711ms);
  CHECK(peer.times() == moments{0, 201, 603, 1407, 3015, 6231, 12663, 25527, 51255});
}

TEST_CASE("tcp S68 CLOSING: FIN has the same schedule") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  peer.close();
  peer.send({ack(1), flags("FA")});
  CHECK(peer.run_until_over(200s) == 102'711ms);
}

TEST_CASE("tcp S69 FIN-WAIT-1: FIN said by shutdown is borne as long as text") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  peer.shutdown();
  CHECK(peer.run_until_over(2000s) == 925'623ms);
}

TEST_CASE("tcp S47b ESTABLISHED: text is sent again for 924.6 s") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  peer.write("hello");
  CHECK(peer.run_until_over(2000s) == 925'623ms);
  CHECK(peer.times() == moments{0, 201, 603, 1407, 3015, 6231, 12663, 25527, 51255, 102'711,
                                205'623, 325'623, 445'623, 565'623, 685'623, 805'623});
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.read_error() == error::timed_out);
  CHECK(peer.look().unacked_bytes == 5);
}

TEST_CASE("tcp ESTABLISHED: retries2 and orphan_retries are the policy's") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.retries2 = 3;
  policy.connection.orphan_retries = 2;
  peer.establish(policy);
  peer.mark();
  SUBCASE("open: 15 times 200 ms") {
    peer.write("hello");
    CHECK(peer.run_until_over(100s) == 3015ms);
  }
  SUBCASE("closed: 7 times 200 ms") {
    peer.close();
    CHECK(peer.run_until_over(100s) == 1407ms);
  }
}

TEST_CASE("tcp ESTABLISHED: whatever is acknowledged starts the count of silence anew") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.retries2 = 3;
  peer.establish(policy);
  send_full(peer, 4);
  for (std::uint32_t i = 1; i < 4; ++i) {
    peer.run_for(2500ms);
    peer.send({ack(1 + i * 1460)});
    CHECK(peer.look().retransmits == 0);
  }
  CHECK(peer.current() == state::established);
  peer.mark();
  CHECK(peer.run_until_over(100s) >= 3000ms);
}

TEST_CASE("tcp S105 ESTABLISHED: without anything to send silence is borne for ever") {
  raw_peer peer;
  peer.establish();
  peer.run_for(100h);
  CHECK(peer.current() == state::established);
  peer.expect_nothing();
}

TEST_CASE("tcp RFC 6298: the RTO follows the measured round trips") {
  raw_peer peer;
  peer.establish();
  CHECK(peer.look().srtt == 1ms);
  CHECK(peer.look().rto == 201ms);
  // (2.3): SRTT = 7/8 * 1 + 1/8 * 400; RTTVAR = 3/4 * 0.5 + 1/4 * 399; RTO = SRTT + 4 RTTVAR.
  for (int i = 0; i < 2; ++i) {
    peer.write("x");
    peer.forget();
    peer.run_for(100ms);
    peer.send({});
  }
  CHECK(peer.look().srtt > 20ms);
  CHECK(peer.look().srtt < 30ms);
  CHECK(peer.look().rto >= peer.look().srtt + 200ms - 1ms);
}

TEST_CASE("tcp RFC 6298 (5.3): an acknowledgement of new text starts the timer anew") {
  raw_peer peer;
  peer.establish();
  send_full(peer, 2);
  peer.run_for(150ms);
  peer.mark();
  peer.send({ack(1461)});
  const auto rto = peer.look().rto.count();
  peer.run_for(1s);
  REQUIRE(!peer.said().empty());
  CHECK(peer.said().front().tcp.seq == peer.host_iss + 1461);
  CHECK(peer.times().front() == rto);
}

TEST_CASE("tcp RFC 6298 (5.7), Karn: after a timeout the RTO stays doubled until a sample") {
  raw_peer peer;
  peer.establish();
  peer.write("x");
  peer.run_for(700ms);
  CHECK(peer.look().rto == 804ms);
  CHECK(peer.look().retransmits == 2);
  peer.send({});
  CHECK(peer.look().rto == 804ms);
  CHECK(peer.look().retransmits == 0);
  peer.write("y");
  peer.send({});
  CHECK(peer.look().rto < 300ms);
}

TEST_CASE("tcp RFC 7323: with timestamps a segment sent again is measured too") {
  raw_peer peer;
  peer.establish({}, {mss(1460), stamp(1000)}, {stamp(1000)});
  peer.write("x");
  peer.run_for(700ms);
  const std::uint32_t last = peer.said().back().tcp.options.timestamp->value;
  CHECK(peer.look().rto > 700ms);
  peer.run_for(10ms);
  peer.send({stamp(1700, last)});
  CHECK(peer.look().rto < 600ms);
}

TEST_CASE("tcp RFC 5681: the timeout sends one segment and lets acknowledgements clock the rest") {
  raw_peer peer;
  establish_reno(peer);
  send_full(peer, 8);
  peer.mark();
  peer.run_for(201ms);
  peer.expect({seq(1), length(1460)});
  peer.expect_nothing();
  CHECK(peer.look().snd_cwnd_bytes == 1460);
  CHECK(peer.look().snd_ssthresh_bytes == 5 * 1460);
  peer.send({ack(1461)});
  peer.expect({seq(1461), length(1460)});
  peer.expect({seq(2921), length(1460)});
  peer.expect_nothing();
  peer.send({ack(2921)});
  peer.expect({seq(4381), length(1460)});
  peer.expect({seq(5841), length(1460)});
  peer.expect_nothing();
  // The rest had arrived: everything is acknowledged, nothing more is sent again.
  peer.send({ack(8 * 1460 + 1)});
  peer.expect_nothing();
  CHECK(peer.look().unacked_bytes == 0);
  CHECK(peer.look().total_retrans == 5);
}

TEST_CASE("tcp RFC 5681: only the first timeout of a segment moves ssthresh") {
  raw_peer peer;
  establish_reno(peer);
  send_full(peer, 8);
  peer.run_for(201ms);
  CHECK(peer.look().snd_ssthresh_bytes == 5 * 1460);
  peer.run_for(2s);
  CHECK(peer.look().retransmits == 3);
  CHECK(peer.look().snd_ssthresh_bytes == 5 * 1460);
}

TEST_CASE("tcp RFC 5681: three duplicates send the first unacknowledged segment at once") {
  raw_peer peer;
  establish_reno(peer);
  send_full(peer, 8);
  peer.send({ack(1)});
  peer.send({ack(1)});
  peer.expect_nothing();
  peer.send({ack(1)});
  peer.expect({seq(1), length(1460)});
  peer.expect_nothing();
  CHECK(peer.count().fast_retrans == 1);
  CHECK(peer.count().timeouts == 0);
  CHECK(peer.look().snd_ssthresh_bytes == 5 * 1460);
  // RFC 6937: four of the eight are taken to be on their way, and one goes for one that arrived.
  CHECK(peer.look().snd_cwnd_bytes == 5 * 1460);
  SUBCASE("everything arrived otherwise") {
    peer.send({ack(8 * 1460 + 1)});
    peer.expect_nothing();
    CHECK(peer.look().snd_cwnd_bytes <= 5 * 1460);
    CHECK(peer.look().total_retrans == 1);
  }
  SUBCASE("RFC 6582: a partial acknowledgement sends the next hole") {
    peer.send({ack(2 * 1460 + 1)});
    peer.expect({seq(2 * 1460 + 1), length(1460)});
    peer.send({ack(5 * 1460 + 1)});
    peer.expect({seq(5 * 1460 + 1), length(1460)});
    peer.send({ack(8 * 1460 + 1)});
    peer.expect_nothing();
    CHECK(peer.look().total_retrans == 3);
  }
  SUBCASE("more duplicates let new text go") {
    CHECK(peer.write(numbered_text(20 * 1460)) == 20 * 1460);
    peer.forget();
    for (int i = 0; i < 4; ++i) peer.send({ack(1)});
    REQUIRE(!peer.said().empty());
    for (const seen_packet& each : peer.said()) {
      CHECK(each.tcp.seq - peer.host_iss >= 8 * 1460 + 1);
    }
  }
  SUBCASE("a lost retransmission is left to the timer") {
    for (int i = 0; i < 50; ++i) peer.send({ack(1)});
    peer.expect_nothing();
    peer.run_for(300ms);
    peer.expect({seq(1), length(1460)});
  }
}

TEST_CASE("tcp RFC 5681: what is no duplicate does not count as one") {
  raw_peer peer;
  peer.establish();
  send_full(peer, 8);
  SUBCASE("with text") {
    for (std::uint32_t i = 0; i < 5; ++i) peer.send({ack(1), text("x")});
  }
  SUBCASE("with another window") {
    for (std::uint32_t i = 0; i < 5; ++i) peer.send({ack(1), window(60000 - i)});
  }
  SUBCASE("of an older number") {
    peer.send({ack(1461)});
    for (int i = 0; i < 5; ++i) peer.send({ack(1)});
  }
  CHECK(peer.count().fast_retrans == 0);
}

TEST_CASE("tcp RFC 6582: duplicates of a recovery that is over start no other one") {
  raw_peer peer;
  peer.establish();
  send_full(peer, 8);
  peer.run_for(201ms);
  peer.forget();
  for (int i = 0; i < 6; ++i) peer.send({ack(1)});
  CHECK(peer.count().fast_retrans == 0);
}

TEST_CASE("tcp retransmission: small writes are sent again together, FIN with them") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.nodelay = true;
  peer.establish(policy);
  peer.write("abc");
  peer.write("def");
  peer.shutdown();
  CHECK(peer.said().size() == 3);
  peer.forget();
  peer.run_for(201ms);
  peer.expect({flags("FA"), seq(1), text("abcdef")});
  peer.expect_nothing();
  peer.send({ack(4)});
  peer.forget();
  peer.run_for(1s);
  peer.expect({flags("FA"), seq(4), text("def")});
}

TEST_CASE("tcp retransmission: text that is only half acknowledged goes on from there") {
  raw_peer peer;
  peer.establish();
  peer.write("0123456789");
  peer.forget();
  peer.send({ack(4)});
  peer.run_for(300ms);
  peer.expect({seq(4), text("3456789")});
}

TEST_CASE("tcp retransmission: a peer that takes its window back but answers is not given up") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.retries2 = 3;
  peer.establish(policy);
  peer.write("0123456789");
  peer.forget();
  for (int i = 0; i < 200; ++i) {
    peer.run_for(500ms);
    if (!peer.said().empty()) peer.send({ack(1), window(0)});
    peer.forget();
  }
  CHECK(peer.current() == state::established);
  peer.send({ack(11), window(1000)});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp retransmission: each of the first twelve packets lost or doubled, once") {
  const std::string text = numbered_text(30'000);
  for (int victim = 0; victim < 12; ++victim) {
    for (const bool doubled : {false, true}) {
      CAPTURE(victim);
      CAPTURE(doubled);
      connected_pair pair;
      int seen = 0;
      pair.filter = [&](const seen_packet&) {
        if (seen++ != victim) return true;
        if (doubled) pair.faults.duplicate = 1;
        return doubled;
      };
      pair.listen();
      pair.connect();
      pair.drive_for(1200ms);
      pair.accept();
      CHECK(pair.send(0, text) == text.size());
      pair.shutdown(0);
      pair.drive_for(3s);
      CHECK(pair.receive(1) == text);
      CHECK(pair.server_state() == state::close_wait);
      pair.close(1);
      pair.drive_for(1s);
      CHECK(pair.look(1).ended == end_reason::clean);
      CHECK(pair.look(0).ended == end_reason::clean);
    }
  }
}

TEST_CASE("tcp RFC 5681: slow start doubles, congestion avoidance adds a segment a round") {
  connected_pair pair(1, {.latency = 50ms});
  connect_options reno;
  reno.policy.congestion_control = congestion_control::reno;
  pair.establish(reno);
  const std::string text = numbered_text(1'000'000);
  CHECK(pair.look(0).snd_cwnd_bytes == 10U * pair.look(0).snd_mss);
  std::size_t written = 0;
  const auto round = [&] {
    written += pair.send(0, std::string_view(text).substr(written));
    pair.drive_for(101ms);
    pair.receive(1);
  };
  round();
  CHECK(pair.look(0).snd_cwnd_bytes == 20U * pair.look(0).snd_mss);
  round();
  CHECK(pair.look(0).snd_cwnd_bytes == 40U * pair.look(0).snd_mss);
  // One loss, in a flight of up to 80 segments: half of the window that was, and from there a
  // segment a round trip.
  int lost = 0;
  pair.filter = [&](const seen_packet& seen) { return seen.from != 0 || lost++ != 5; };
  round();
  pair.filter = nullptr;
  pair.drive_for(500ms);
  CHECK(pair.look(0).snd_ssthresh_bytes <= 80U * pair.look(0).snd_mss);
  CHECK(pair.look(0).snd_cwnd_bytes <= pair.look(0).snd_ssthresh_bytes + 5U * pair.look(0).snd_mss);
  CHECK(pair[0].counters().sack_recovery == 1);
  CHECK(pair[0].counters().retrans_segs == 1);
  CHECK(pair[0].counters().timeouts == 0);
}
