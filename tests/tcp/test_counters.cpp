#include "raw_peer.hpp"

// What each counter counts, with Linux's meaning; the test `docs` wants one named after each. This
// file: segments, handshake, close. Counters of data transfer are in test_counters_data.cpp, those
// of a mechanism of its own (cookies, Fast Open, keepalive, ...) in that mechanism's file.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("S113 TcpInSegs: every segment that arrived, bad ones too") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.send({});
  CHECK(peer.count().in_segs == 2);
  peer.send({flags("R"), seq(77)});
  CHECK(peer.count().in_segs == 3);
}

TEST_CASE("S113 TcpOutSegs: every segment that left, sent again or not, RST too") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.run_for(1s);
  CHECK(peer.count().out_segs == 2);
  peer.send({ack(5)});
  CHECK(peer.count().out_segs == 3);
}

TEST_CASE(
    "S113 TcpOutSegs: what a connection sends again is in TcpRetransSegs alone, as on Linux") {
  raw_peer peer;
  peer.establish();
  const std::uint64_t before = peer.count().out_segs;
  peer.write("text");
  peer.run_for(1s);
  CHECK(peer.count().retrans_segs == 2);
  CHECK(peer.count().out_segs == before + 1);
  // A probe is empty: nothing that was sent before.
  peer.send({ack(5), window(0)});
  peer.write("more");
  peer.run_for(3s);
  CHECK(peer.count().win_probe > 0);
  CHECK(peer.count().out_segs == before + 1 + peer.count().win_probe);
  peer.forget();
  raw_peer active;
  active.connect();
  active.run_for(2500ms);
  CHECK(active.count().syn_retrans == 2);
  CHECK(active.count().out_segs == 1);
}

TEST_CASE("S113 TcpOutSegs: a packet that the link cuts counts as the segments it becomes") {
  raw_peer peer([](host_options& options) { options.gso_max_bytes = 65'000; });
  peer.establish();
  const std::uint64_t before = peer.count().out_segs;
  peer.write(numbered_text(4 * 1460 + 1));
  CHECK(peer.count().out_segs == before + 5);
}

TEST_CASE("S113 TcpRetransSegs and TCPTimeouts: text sent again, and the timer that did it") {
  raw_peer peer;
  peer.establish();
  peer.write("a");
  CHECK(peer.count().retrans_segs == 0);
  peer.run_for(500ms);
  CHECK(peer.count().retrans_segs == 1);
  CHECK(peer.count().timeouts == 1);
}

TEST_CASE("S113 TCPTimeouts: the last one counts, too, in which silence is given up") {
  SUBCASE("SYN") {
    raw_peer peer([](host_options& options) { options.policy.syn_linear_timeouts = 0; });
    connection_policy policy;
    policy.syn_retries = 2;
    peer.connect(policy);
    peer.mark();
    CHECK(peer.run_until_over(100s) == 7s);
    CHECK(peer.count().syn_retrans == 2);
    CHECK(peer.count().timeouts == 3);
  }
  SUBCASE("SYN-ACK") {
    raw_peer peer;
    peer.listen({.synack_retries = 2});
    peer.send_syn();
    peer.run_for(7s);
    CHECK(peer.current() == state::closed);
    CHECK(peer.count().syn_retrans == 2);
    CHECK(peer.count().timeouts == 3);
  }
  SUBCASE("text") {
    raw_peer peer;
    listener_policy policy;
    policy.connection.retries2 = 2;
    peer.establish(policy);
    peer.write("text");
    CHECK(peer.run_until_over(100s) > 0s);
    CHECK(peer.count().retrans_segs > 0);
    CHECK(peer.count().timeouts == peer.count().retrans_segs + 1);
  }
}

TEST_CASE("S113 TCPTimeouts: not while the peer has taken its window back, unless it is closed") {
  raw_peer peer;
  peer.establish();
  peer.write("text");
  peer.send({ack(1), window(0)});
  peer.run_for(5s);
  CHECK(peer.count().retrans_segs > 2);
  CHECK(peer.count().timeouts == 0);
  peer.close();
  peer.run_for(20s);
  CHECK(peer.count().timeouts > 0);
}

TEST_CASE("S113 TcpInErrs and TcpInCsumErrors: a wrong checksum counts in both, a header in one") {
  raw_peer peer;
  peer.listen();
  net::packet_pool pool;
  wire::tcp_header tcp;
  tcp.flags = wire::tcp_flag::syn;
  const auto make = [&] {
    return make_packet(pool, {raw_peer::peer_address(), 40000}, {raw_peer::host_address(), 80},
                       tcp);
  };
  net::packet damaged = make();
  damaged.bytes()[27 + longer_header()] ^= std::byte{1};
  peer.engine().on_packet(std::move(damaged), peer.now());
  CHECK(peer.count().in_csum_errors == 1);
  CHECK(peer.count().in_errs == 1);
  net::packet short_offset = make();
  short_offset.bytes()[32 + longer_header()] = std::byte{0x40};
  peer.engine().on_packet(std::move(short_offset), peer.now());
  CHECK(peer.count().in_csum_errors == 1);
  CHECK(peer.count().in_errs == 2);
  net::packet beyond = make();
  beyond.bytes()[32 + longer_header()] = std::byte{0xf0};
  peer.engine().on_packet(std::move(beyond), peer.now());
  CHECK(peer.count().in_segs == 3);
  CHECK(peer.count().in_errs == 2);
}

TEST_CASE("S113 S123 TcpInErrs: a SYN in ESTABLISHED, and in no later state") {
  for (const std::uint32_t number : {5U, 1U << 20}) {
    raw_peer peer;
    peer.establish();
    peer.send({flags("S"), seq(number)});
    CHECK(peer.count().in_errs == 1);
    CHECK(peer.count().syn_challenge == 1);
    peer.forget();
    raw_peer later;
    bring_to(later, state::fin_wait_1);
    later.send({flags("S"), seq(number)});
    CHECK(later.count().in_errs == 0);
    CHECK(later.count().syn_challenge == 1);
    later.forget();
  }
}

TEST_CASE("S113 TcpOutRsts: resets that were sent") {
  raw_peer peer;
  peer.establish();
  peer.close(close_mode::abort);
  CHECK(peer.count().out_rsts == 1);
  peer.send({});
  CHECK(peer.count().out_rsts == 2);
}

TEST_CASE("S113 TcpActiveOpens, TcpAttemptFails: connects, and handshakes that came to nothing") {
  raw_peer peer;
  peer.connect();
  CHECK(peer.count().active_opens == 1);
  CHECK(peer.count().attempt_fails == 0);
  peer.send({flags("RA"), seq(0), ack(1)});
  CHECK(peer.count().attempt_fails == 1);
  CHECK(peer.count().estab_resets == 0);
}

TEST_CASE("S113 TcpAttemptFails: half-open entries that RST or SYN ends, not those that time out") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({from_port(1)});
  peer.run_for(63s);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().attempt_fails == 0);
  peer.send_syn({from_port(2)});
  peer.send({from_port(2), seq(1), flags("R")});
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().attempt_fails == 1);
}

TEST_CASE("S113 EmbryonicRsts: half-open entries that RST or another SYN ended") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({from_port(1)});
  peer.run_for(63s);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().embryonic_rsts == 0);
  peer.send_syn({from_port(2)});
  peer.send({from_port(2), seq(1), flags("R")});
  CHECK(peer.count().embryonic_rsts == 1);
  peer.send_syn({from_port(3)});
  peer.send({from_port(3), seq(500), flags("S")});
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.count().embryonic_rsts == 2);
}

TEST_CASE("S113 TcpPassiveOpens: connections that a listener's handshake made") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  CHECK(peer.count().passive_opens == 0);
  peer.send({});
  CHECK(peer.count().passive_opens == 1);
  peer.accept();
}

TEST_CASE("S113 TcpEstabResets: ESTABLISHED or CLOSE-WAIT to CLOSED, whoever said RST") {
  for (const state from : {state::established, state::close_wait}) {
    raw_peer ours;
    bring_to(ours, from);
    ours.close(close_mode::abort);
    CHECK(ours.count().estab_resets == 1);
    raw_peer theirs;
    bring_to(theirs, from);
    theirs.send({flags("R")});
    CHECK(theirs.count().estab_resets == 1);
  }
  raw_peer neither;
  bring_to(neither, state::fin_wait_2);
  neither.send({flags("R")});
  CHECK(neither.count().estab_resets == 0);
}

TEST_CASE("S113 TcpCurrEstab: how many are in ESTABLISHED or CLOSE-WAIT now") {
  raw_peer peer;
  peer.establish();
  CHECK(peer.count().curr_estab == 1);
  peer.send({flags("FA")});
  CHECK(peer.count().curr_estab == 1);
  peer.shutdown();
  CHECK(peer.count().curr_estab == 0);
}

TEST_CASE("S113 TCPSynRetrans: SYN and SYN-ACK that were sent again") {
  raw_peer active;
  active.connect();
  active.run_for(2500ms);
  CHECK(active.count().syn_retrans == 2);
}

TEST_CASE("S113 TW: connections that went to TIME-WAIT") {
  raw_peer peer;
  bring_to(peer, state::fin_wait_2);
  CHECK(peer.count().time_waited == 0);
  peer.send({flags("FA")});
  CHECK(peer.count().time_waited == 1);
}

TEST_CASE("S113 RunnelTimeWaitReopened: tuples that a new SYN took out of TIME-WAIT") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  peer.peer_iss = peer.peer_next + 1000;
  peer.send_syn();
  CHECK(peer.count().time_wait_reopened == 1);
}

TEST_CASE("S113 TCPTimeWaitOverflow: connections that found TIME-WAIT full") {
  raw_peer peer([](host_options& options) { options.policy.max_tw_buckets = 0; });
  bring_to(peer, state::fin_wait_2);
  peer.send({flags("FA")});
  CHECK(peer.count().time_wait_overflow == 1);
  CHECK(peer.count().time_waited == 0);
}

TEST_CASE("S113 TCPAbortOnData: text for a closed connection in FIN-WAIT-1") {
  raw_peer peer;
  peer.establish();
  peer.close();
  peer.send({text("late"), ack(1)});
  CHECK(peer.count().abort_on_data == 1);
}

TEST_CASE("S113 TCPAbortOnClose: closed with text unread") {
  raw_peer peer;
  peer.establish();
  peer.send({text("unread")});
  peer.close();
  CHECK(peer.count().abort_on_close == 1);
}

TEST_CASE("S113 TCPAbortOnTimeout: given up because nobody answered") {
  raw_peer peer;
  peer.establish();
  peer.write("into the void");
  peer.run_for(1000s);
  CHECK(peer.count().abort_on_timeout == 1);
}

TEST_CASE("S113 TCPChallengeACK, TCPSYNChallenge, TCPACKSkippedChallenge: asked back, and not") {
  raw_peer peer;
  peer.establish();
  peer.send({flags("S"), seq(5)});
  CHECK(peer.count().syn_challenge == 1);
  CHECK(peer.count().challenge_ack == 1);
  CHECK(peer.count().ack_skipped_challenge == 0);
  peer.send({flags("S"), seq(6)});
  CHECK(peer.count().syn_challenge == 2);
  CHECK(peer.count().challenge_ack == 1);
  CHECK(peer.count().ack_skipped_challenge == 1);
  peer.run_for(500ms);
  peer.send({flags("R"), seq(7)});
  CHECK(peer.count().challenge_ack == 2);
  CHECK(peer.count().syn_challenge == 2);
}

TEST_CASE("S113 S124 TCPChallengeACK, TCPACKSkippedChallenge: an ACK of unsent text, text or not") {
  raw_peer peer;
  peer.establish();
  peer.send({ack(5000), text("poison")});
  CHECK(peer.count().challenge_ack == 1);
  CHECK(peer.said().size() == 1);
  peer.send({ack(5000), text("poison")});
  peer.send({ack(5000)});
  CHECK(peer.count().challenge_ack == 1);
  CHECK(peer.count().ack_skipped_challenge == 2);
  CHECK(peer.count().ack_skipped_seq == 0);
  CHECK(peer.said().size() == 1);
}

TEST_CASE("S113 TCPACKSkippedSeq: acknowledgements outside the window that went unanswered") {
  raw_peer peer;
  peer.establish();
  const std::uint32_t far = 1U << 20;
  peer.send({seq(far)});
  CHECK(peer.count().ack_skipped_seq == 0);
  peer.send({seq(far)});
  CHECK(peer.count().ack_skipped_seq == 1);
}

TEST_CASE("S113 TCPACKSkippedTimeWait: segments in TIME-WAIT that went unanswered") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  const std::uint32_t old = 1;
  peer.send({seq(old)});
  CHECK(peer.count().ack_skipped_time_wait == 0);
  peer.send({seq(old)});
  CHECK(peer.count().ack_skipped_time_wait == 1);
}

TEST_CASE("S113 PAWSActive: SYN-ACK with an echo that was never sent") {
  raw_peer peer;
  peer.connect();
  const std::uint32_t ours = peer.said().front().tcp.options.timestamp->value;
  peer.send({flags("SA"), seq(0), mss(1460), stamp(1, ours - 1'000'000)});
  CHECK(peer.count().paws_active == 1);
}

TEST_CASE(
    "S113 PAWSEstab, PAWSOldAck, TCPACKSkippedPAWS: older timestamps, with text and without") {
  raw_peer peer;
  peer.establish({}, {mss(1460), stamp(1000)}, {stamp(1000)});
  peer.send({seq(1), text("x"), stamp(900)});
  CHECK(peer.count().paws_estab == 1);
  peer.send({seq(1), stamp(900)});
  CHECK(peer.count().paws_old_ack == 1);
  CHECK(peer.count().paws_estab == 1);
  // Beyond what was received a bare acknowledgement is not just late.
  peer.send({seq(50), stamp(900)});
  CHECK(peer.count().paws_estab == 2);
  CHECK(peer.count().ack_skipped_paws == 0);
  peer.send({seq(50), stamp(900)});
  CHECK(peer.count().ack_skipped_paws == 1);
}

TEST_CASE(
    "S113 RunnelLocalPortsExhausted, RunnelLocalPortProbes: connects without a port to be had") {
  raw_peer peer([](host_options& options) {
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5001;
  });
  const net::endpoint there{raw_peer::peer_address(), 7};
  socket_id made[2];
  for (socket_id& each : made) {
    each = peer.engine().connect(there, {}, 2, peer.now()).value;
    peer.flush();
  }
  CHECK(peer.count().local_ports_exhausted == 0);
  const std::uint64_t probes = peer.count().local_port_probes;
  CHECK(probes >= 2);
  CHECK(peer.engine().connect(there, {}, 2, peer.now()).error == error::address_not_available);
  CHECK(peer.count().local_ports_exhausted == 1);
  // What every port of the range was asked for is known.
  CHECK(peer.count().local_port_probes <= probes + 2);
  // A port that is named, and is not free, is another error.
  connect_options named;
  named.local.port = 5000;
  CHECK(peer.engine().connect(there, named, 2, peer.now()).error == error::address_in_use);
  CHECK(peer.count().local_ports_exhausted == 1);
  for (const socket_id each : made) peer.engine().release(each, peer.now());
}
