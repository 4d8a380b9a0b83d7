#include "router.hpp"

// ICMP errors about our segments (S120, S121; RFC 1122 4.2.3.9, RFC 1191, RFC 5927).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr auto parameter_problem = wire::icmp_kind::parameter_problem;
constexpr auto time_exceeded = wire::icmp_kind::time_exceeded;

struct refusal {
  wire::icmp_message message;
  error told;
};

/// The codes that S120 was measured with, and the rest of Linux's table.
std::vector<refusal> refusals() {
  return {
      {unreachable(0), error::network_unreachable},
      {unreachable(9), error::network_unreachable},
      {unreachable(1), error::host_unreachable},
      {unreachable(13), error::host_unreachable},
      {plain(time_exceeded), error::host_unreachable},
      {unreachable(2), error::protocol_not_available},
      {unreachable(3), error::connection_refused},
      {plain(parameter_problem), error::protocol_error},
      {unreachable(5), error::not_supported},
      {unreachable(6), error::network_unreachable},
      {unreachable(7), error::host_unreachable},
      {unreachable(8), error::network_unreachable},
      {unreachable(10), error::host_unreachable},
      {unreachable(11), error::network_unreachable},
      {unreachable(12), error::host_unreachable},
      {unreachable(14), error::host_unreachable},
      {unreachable(15), error::host_unreachable},
      {plain(time_exceeded, 1), error::host_unreachable},
  };
}

}  // namespace

TEST_CASE("tcp S120 SYN-SENT: an ICMP error fails connect at once, each with its errno") {
  for (const refusal& each : refusals()) {
    CAPTURE(static_cast<int>(each.message.kind));
    CAPTURE(static_cast<int>(each.message.code));
    raw_peer peer;
    bring_to(peer, state::syn_sent);
    peer.reported = events::none;
    complain(peer, each.message, peer.host_iss);
    CHECK(peer.look().state == state::closed);
    CHECK(peer.look().ended == end_reason::refused);
    CHECK((peer.reported & events::closed) == events::closed);
    CHECK(peer.read_error() == each.told);
    CHECK(peer.count().attempt_fails == 1);
    peer.expect_nothing();
  }
}

TEST_CASE("tcp S120 SYN-SENT: 3/4 fails nothing, and the MSS is lower once it is open") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  complain(peer, too_big(1000), peer.host_iss);
  CHECK(peer.look().state == state::syn_sent);
  CHECK(peer.look().path_mtu == 1000);
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  CHECK(peer.look().snd_mss == 960);
}

TEST_CASE("tcp S120 SYN-SENT: what no code stands for is ignored") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  complain(peer, unreachable(16), peer.host_iss);
  complain(peer, unreachable(200), peer.host_iss);
  CHECK(peer.look().state == state::syn_sent);
}

TEST_CASE("tcp S120 SYN-RECEIVED after simultaneous open: an ICMP error ends it like SYN-SENT") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  peer.send_syn();
  CHECK(peer.look().state == state::syn_received);
  complain(peer, unreachable(1), peer.host_iss);
  CHECK(peer.read_error() == error::host_unreachable);
}

TEST_CASE("tcp RFC 1191: 3/4 after simultaneous open holds once the connection is open") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  peer.send_syn();
  complain(peer, too_big(1000), peer.host_iss);
  CHECK(peer.look().state == state::syn_received);
  peer.forget();
  peer.send({ack(1)});
  CHECK(peer.look().state == state::established);
  CHECK(peer.look().snd_mss == 960);
  CHECK(peer.look().snd_cwnd_bytes == 10 * 960);
  peer.write(numbered_text(1000));
  peer.expect({seq(1), length(960)});
}

TEST_CASE("tcp RFC 5927: an ICMP error counts only for a number that is in flight") {
  raw_peer peer;
  SUBCASE("SYN-SENT") {
    bring_to(peer, state::syn_sent);
    for (const std::uint32_t off : {0U - 1U, 2U, 100'000U, 0x8000'0000U}) {
      complain(peer, unreachable(3), peer.host_iss + off);
    }
    CHECK(peer.look().state == state::syn_sent);
    CHECK(peer.count().out_of_window_icmps == 4);
    complain(peer, unreachable(3), peer.host_iss + 1);
    CHECK(peer.look().state == state::closed);
  }
  SUBCASE("ESTABLISHED, with 1000 bytes in flight") {
    peer.establish();
    peer.write(std::string(1000, 'x'));
    const std::uint32_t una = peer.host_iss + 1;
    for (const std::uint32_t off : {0U - 1U, 1001U, 0x7000'0000U}) {
      complain(peer, unreachable(1), una + off);
      complain(peer, too_big(600), una + off);
    }
    CHECK(peer.count().out_of_window_icmps == 6);
    CHECK(peer.look().soft_error == error::none);
    CHECK(peer.look().snd_mss == 1460);
    complain(peer, unreachable(1), una + 999);
    CHECK(peer.look().soft_error == error::host_unreachable);
  }
}

TEST_CASE("tcp S121 ESTABLISHED: an ICMP error is soft, the connection lives, an ACK clears it") {
  for (const state where : synchronized_states) {
    CAPTURE(where);
    raw_peer peer;
    bring_to(peer, where);
    complain(peer, unreachable(1), peer.host_next);
    CHECK(peer.current() == where);
    CHECK(peer.look().soft_error == error::host_unreachable);
    peer.expect_nothing();
  }
  raw_peer peer;
  peer.establish();
  peer.write("hello");
  peer.forget();
  for (const refusal& each : refusals()) {
    complain(peer, each.message, peer.host_iss + 1);
    CHECK(peer.look().state == state::established);
    CHECK(peer.look().soft_error == each.told);
  }
  CHECK(peer.read_error() == error::would_block);
  peer.send({});
  CHECK(peer.look().soft_error == error::none);
  peer.send({text("still here")});
  CHECK(peer.read() == "still here");
}

TEST_CASE("tcp S121 ESTABLISHED: the soft error is what a connection that times out tells") {
  raw_peer peer;
  peer.establish();
  peer.write("hello");
  complain(peer, unreachable(0), peer.host_iss + 1);
  peer.mark();
  CHECK(peer.run_until_over(2000s) > 900s);
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.read_error() == error::network_unreachable);
  CHECK(peer.count().abort_on_timeout == 1);
}

TEST_CASE("tcp ICMP: a request ends for net, host, TTL and header; not for port and protocol") {
  const std::pair<wire::icmp_message, bool> all[] = {
      {unreachable(0), true},           {unreachable(1), true},  {plain(time_exceeded), true},
      {plain(parameter_problem), true}, {unreachable(2), false}, {unreachable(3), false},
      {unreachable(13), false},         {too_big(600), false},
  };
  for (const auto& [message, ends] : all) {
    CAPTURE(static_cast<int>(message.kind));
    CAPTURE(static_cast<int>(message.code));
    raw_peer peer;
    bring_to(peer, state::syn_received);
    complain(peer, message, peer.host_iss + 1);
    CHECK(peer.count().out_of_window_icmps == 1);
    CHECK(peer.current() == state::syn_received);
    complain(peer, message, peer.host_iss);
    CHECK(peer.current() == (ends ? state::closed : state::syn_received));
    CHECK(peer.count().listen_drops == (ends ? 1 : 0));
    CHECK(peer.engine().listener(peer.listener).value.syn_queue == (ends ? 0 : 1));
  }
}

TEST_CASE("tcp ICMP: TIME-WAIT and LISTEN hear nothing of it") {
  raw_peer peer;
  bring_to(peer, state::time_wait);
  complain(peer, unreachable(3), peer.host_next);
  complain(peer, too_big(600), peer.host_next);
  CHECK(peer.current() == state::time_wait);
  CHECK(peer.count().icmp_in_errors == 0);
  peer.peer_port = 7;
  complain(peer, unreachable(3), 1);
  CHECK(peer.count().icmp_in_errors == 1);
}

TEST_CASE("tcp RFC 1191: 3/4 cuts what is in flight anew and sends it at once") {
  raw_peer peer;
  peer.establish();
  const std::string what = numbered_text(2920);
  peer.write(what);
  peer.expect({seq(1), length(1460)});
  peer.expect({seq(1461), length(1460)});
  const std::uint32_t cwnd = peer.look().snd_cwnd_bytes;
  complain(peer, too_big(1040), peer.host_iss + 1);
  CHECK(peer.look().snd_mss == 1000);
  CHECK(peer.look().path_mtu == 1040);
  peer.expect({seq(1), length(1000)});
  peer.expect({seq(1001), length(1000)});
  peer.expect({seq(2001), length(920)});
  peer.expect_nothing();
  // The path is narrow, not congested.
  CHECK(peer.look().snd_cwnd_bytes == cwnd);
  peer.send({ack(2921)});
  CHECK(peer.look().unacked_bytes == 0);
  peer.write(numbered_text(1500));
  peer.expect({seq(2921), length(1000)});
}

TEST_CASE("tcp RFC 1191: the headers and the timestamps are taken off") {
  raw_peer peer;
  peer.establish({}, {mss(1460), stamp(1)}, {stamp(1)});
  peer.write(numbered_text(1448));
  complain(peer, too_big(1000), peer.host_iss + 1);
  CHECK(peer.look().snd_mss == 1000 - 40 - 12);
}

TEST_CASE(
    "tcp hostile RFC 1191 path-MTU floor: no message brings packets below 552 bytes, or makes "
    "them longer") {
  raw_peer peer;
  peer.establish();
  peer.write("x");
  complain(peer, too_big(9000), peer.host_iss + 1);
  CHECK(peer.look().snd_mss == 1460);
  complain(peer, too_big(68), peer.host_iss + 1);
  CHECK(peer.look().path_mtu == 552);
  CHECK(peer.look().snd_mss == 512);
  peer.forget();
  // Again and again: nothing is left to lower, so nothing is sent again.
  for (int i = 0; i < 100; ++i) {
    complain(peer, too_big(68), peer.host_iss + 1);
    complain(peer, too_big(600), peer.host_iss + 1);
  }
  peer.expect_nothing();
  CHECK(peer.look().snd_mss == 512);
}

TEST_CASE("tcp RFC 1191: a router that names no MTU means the next plateau below the packet") {
  const std::pair<std::uint32_t, std::uint32_t> all[] = {{1500, 1492}, {1492, 1006}, {1006, 552},
                                                         {600, 552},   {0, 552},     {400, 552}};
  for (const auto& [packet, mtu] : all) {
    CAPTURE(packet);
    raw_peer peer;
    peer.establish();
    peer.write("x");
    complain(peer, too_big(0), peer.host_iss + 1, std::max(packet, 28U));
    CHECK(peer.look().path_mtu == mtu);
  }
}

TEST_CASE("tcp RFC 1191: with the peer's own small MSS nothing changes") {
  raw_peer peer;
  peer.establish({}, {mss(400)});
  peer.write(numbered_text(800));
  peer.forget();
  complain(peer, too_big(600), peer.host_iss + 1);
  CHECK(peer.look().snd_mss == 400);
  peer.expect_nothing();
}

TEST_CASE("tcp RFC 1191: losses while the path narrows are repaired to the last byte") {
  raw_peer peer;
  peer.establish();
  const std::string what = numbered_text(14'600);
  CHECK(peer.write(what) == what.size());
  complain(peer, too_big(1200), peer.host_iss + 1);
  peer.forget();
  complain(peer, too_big(800), peer.host_iss + 1);
  std::string got;
  for (int round = 0; round < 200 && got.size() < what.size(); ++round) {
    auto said = std::exchange(peer.said(), {});
    for (const seen_packet& each : said) {
      const std::uint32_t at = each.tcp.seq - peer.host_iss - 1;
      CHECK(each.length <= 760);
      if (at != got.size()) continue;
      got += each.text;
      peer.send({ack(static_cast<std::uint32_t>(got.size()) + 1)});
    }
    if (said.empty()) peer.run_for(1s);
  }
  CHECK(got == what);
}

TEST_CASE("S113 IcmpInMsgs, IcmpInDestUnreachs, IcmpInTimeExcds, IcmpInParmProbs: errors by kind") {
  raw_peer peer;
  peer.establish();
  complain(peer, unreachable(1), peer.host_next);
  complain(peer, too_big(1400), peer.host_next);
  complain(peer, plain(time_exceeded), peer.host_next);
  complain(peer, plain(parameter_problem), peer.host_next);
  CHECK(peer.count().icmp_in_msgs == 4);
  CHECK(peer.count().icmp_in_dest_unreachs == 2);
  CHECK(peer.count().icmp_in_time_excds == 1);
  CHECK(peer.count().icmp_in_parm_probs == 1);
  CHECK(peer.count().icmp_in_errors == 0);
}

TEST_CASE("S113 OutOfWindowIcmps: ICMP errors about what is not in flight") {
  raw_peer peer;
  peer.establish();
  complain(peer, unreachable(1), peer.host_next + 1);
  CHECK(peer.count().out_of_window_icmps == 1);
}

TEST_CASE("S113 IcmpInErrors and IcmpInCsumErrors: about nothing of ours, senseless, or damaged") {
  raw_peer peer;
  net::packet_pool pool;
  complain(peer, unreachable(1), 5);
  CHECK(peer.count().icmp_in_errors == 1);
  const auto give = [&](std::span<const std::byte> text) {
    wire::ip_header ip;
    ip.source = router;
    ip.destination = raw_peer::host_address();
    ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
    ip.total_length = static_cast<std::uint32_t>(20 + text.size());
    std::vector<std::byte> packet(20);
    wire::emit_ip(packet, ip);
    packet.insert(packet.end(), text.begin(), text.end());
    peer.engine().on_packet(pool.copy_of(packet), peer.now());
  };
  give(std::array<std::byte, 3>{});
  CHECK(peer.count().icmp_in_errors == 2);
  CHECK(peer.count().icmp_in_csum_errors == 0);
  give(std::array<std::byte, 8>{std::byte{3}});
  CHECK(peer.count().icmp_in_errors == 3);
  CHECK(peer.count().icmp_in_csum_errors == 1);
  // An error that quotes nothing, and one that quotes too little of TCP.
  for (const std::size_t quoted : {std::size_t{0}, std::size_t{19}, std::size_t{24}}) {
    wire::icmp_message message = unreachable(1);
    std::array<std::byte, 28> quote{};
    wire::ip_header about;
    about.source = raw_peer::host_address();
    about.destination = raw_peer::peer_address();
    about.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
    about.total_length = 40;
    wire::emit_ip(quote, about);
    message.body = std::span(quote).first(quoted);
    std::vector<std::byte> text(wire::icmp_bytes(message));
    wire::emit_icmp(text, router, raw_peer::host_address(), message);
    give(text);
  }
  CHECK(peer.count().icmp_in_errors == 6);
  peer.flush();
  peer.expect_nothing();
}

TEST_CASE("S53 S120 Fast Open: an ICMP error ends no child that began with its SYN") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::server | fastopen_flag::server_no_cookie;
  });
  listener_policy policy;
  policy.fastopen_queue = 1;
  peer.listen(policy);
  peer.send_syn({mss(1460), text("GET")});
  peer.peer_next += 3;
  peer.accept();
  peer.forget();
  complain(peer, unreachable(1), peer.host_iss);
  CHECK(peer.current() == state::syn_received);
  CHECK(peer.look().soft_error == error::host_unreachable);
  CHECK(peer.count().out_of_window_icmps == 0);
  peer.send({});
  CHECK(peer.current() == state::established);
}

TEST_CASE("S53 Fast Open: a SYN too big for the path goes again at once, without its text") {
  raw_peer peer([](host_options& options) {
    options.policy.fastopen = fastopen_flag::client | fastopen_flag::client_no_cookie;
  });
  connection_policy policy;
  policy.fastopen_connect = true;
  peer.connect(policy);
  peer.write(std::string(400, 'x'));
  peer.expect({flags("S"), length(400)});
  complain(peer, too_big(552), peer.host_iss, 500 + 100);
  peer.expect({flags("S"), seq(0), length(0)});
  CHECK(peer.look().path_mtu == 552);
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  peer.expect({seq(1), length(400)});
}
