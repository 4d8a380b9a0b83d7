#include "host_pair.hpp"
#include "raw_peer.hpp"

// SYN-SENT (RFC 9293 3.10.7.3) and SYN-RECEIVED of a simultaneous open.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// SYN-RECEIVED after both sides sent SYN.
void open_simultaneously(raw_peer& peer) {
  peer.connect();
  peer.forget();
  peer.send_syn();
}

}  // namespace

TEST_CASE("tcp SYN-SENT: connect says SYN with Linux's options") {
  raw_peer peer;
  peer.connect();
  peer.expect({flags("S"), seq(0), ack(0 - peer.peer_iss), mss(1460), scale(10), has_stamp(true),
               echo(0), window(64240), length(0)});
  CHECK(peer.look().state == state::syn_sent);
  CHECK(peer.count().active_opens == 1);
}

TEST_CASE("tcp SYN-SENT: SYN-ACK moves to ESTABLISHED and is acknowledged at once") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  peer.send({seq(0), ack(1), flags("SA"), mss(1000)});
  peer.expect({flags("A"), seq(1), ack(1), has_stamp(false)});
  CHECK(peer.look().state == state::established);
  CHECK((peer.reported & (events::connected | events::writable)) ==
        (events::connected | events::writable));
  CHECK(peer.look().snd_mss == 1000);
  CHECK(peer.look().snd_wscale == 0);
}

TEST_CASE("tcp SYN-SENT: text and FIN on SYN-ACK are taken") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  SUBCASE("text") {
    peer.send({seq(0), ack(1), flags("SA"), text("220 hello")});
    peer.expect({flags("A"), ack(10)});
    CHECK(peer.read() == "220 hello");
  }
  SUBCASE("text and FIN") {
    peer.send({seq(0), ack(1), flags("SFA"), text("bye")});
    peer.expect({flags("A"), ack(5)});
    CHECK(peer.read() == "bye");
    CHECK(peer.look().state == state::close_wait);
  }
}

TEST_CASE("tcp SYN-SENT: an acknowledgement of what was not sent draws RST, and nothing else") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  for (const std::uint32_t wrong : {0U, 2U, 70'000U, 0x9000'0000U}) {
    CAPTURE(wrong);
    peer.send({seq(0), ack(wrong), flags("SA")});
    peer.expect({flags("R"), seq(wrong), length(0)});
    peer.send({seq(0), ack(wrong), flags("A")});
    peer.expect({flags("R"), seq(wrong)});
  }
  CHECK(peer.look().state == state::syn_sent);
  peer.send({seq(0), ack(1), flags("SA")});
  CHECK(peer.look().state == state::established);
}

TEST_CASE("tcp SYN-SENT: RST counts only when it acknowledges our SYN") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  peer.send({seq(0), flags("R")});
  peer.send({seq(0), ack(0), flags("RA")});
  peer.send({seq(0), ack(2), flags("RA")});
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_sent);
  peer.send({seq(0), ack(1), flags("RA")});
  peer.expect_nothing();
  CHECK(peer.look().state == state::closed);
  CHECK(peer.look().ended == end_reason::refused);
  CHECK(peer.read_error() == error::connection_refused);
  CHECK(peer.count().attempt_fails == 1);
}

TEST_CASE("tcp SYN-SENT: a good acknowledgement without SYN, and bare FIN or text, are dropped") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  peer.send({seq(1), ack(1)});
  peer.send({seq(1), ack(1), flags("FA")});
  peer.send({seq(1), ack(1), text("x")});
  peer.send({seq(1), flags("F")});
  peer.send({seq(1), flags("")});
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_sent);
}

TEST_CASE("tcp SYN-SENT: SYN-ACK that echoes a timestamp we never sent draws RST") {
  raw_peer peer;
  peer.connect();
  const std::uint32_t ours = peer.said().front().tcp.options.timestamp->value;
  peer.forget();
  peer.send({seq(0), ack(1), flags("SA"), stamp(1, ours + 1)});
  peer.expect({flags("R"), seq(1)});
  CHECK(peer.count().paws_active == 1);
  CHECK(peer.look().state == state::syn_sent);
  peer.send({seq(0), ack(1), flags("SA"), stamp(1, ours)});
  peer.expect({flags("A"), echo(1)});
  CHECK(peer.look().timestamps);
}

TEST_CASE("tcp SYN-SENT: send and receive say that there is no connection yet") {
  raw_peer peer;
  bring_to(peer, state::syn_sent);
  CHECK(peer.read_error() == error::not_connected);
  CHECK(peer.write_error() == error::not_connected);
  CHECK(peer.engine().shutdown(peer.socket, peer.now()) == error::not_connected);
}

TEST_CASE("tcp SYN-SENT: close and abort go silently, and a late SYN-ACK draws RST") {
  for (const close_mode mode : {close_mode::graceful, close_mode::abort}) {
    raw_peer peer;
    bring_to(peer, state::syn_sent);
    peer.close(mode);
    peer.expect_nothing();
    CHECK(peer.look().state == state::closed);
    CHECK(peer.look().ended == end_reason::aborted);
    peer.send({seq(0), ack(1), flags("SA")});
    peer.expect({flags("R"), seq(1)});
  }
}

TEST_CASE("tcp S45 SYN-SENT: SYN comes again as Linux 6.5 does it; over at 131 s") {
  raw_peer peer;
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(200s) == 131s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 2000, 3000, 4000, 5000, 7000, 11000,
                                                  19000, 35000, 67000});
  CHECK(peer.look().ended == end_reason::timed_out);
  CHECK(peer.read_error() == error::timed_out);
  CHECK(peer.count().abort_on_timeout == 1);
  CHECK(peer.count().syn_retrans == 10);
}

TEST_CASE("tcp S45 SYN-SENT: without the linear tries it is 1, 3, 7, 15, 31, 63 s; over at 127 s") {
  raw_peer peer([](host_options& options) { options.policy.syn_linear_timeouts = 0; });
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(200s) == 127s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000, 63000});
}

TEST_CASE("tcp S44 SYN-SENT: five retries end at 63 s") {
  raw_peer peer([](host_options& options) {
    options.policy.syn_linear_timeouts = 0;
    options.connection.syn_retries = 5;
  });
  peer.mark();
  peer.connect();
  CHECK(peer.run_until_over(200s) == 63s);
  CHECK(peer.times() == std::vector<std::int64_t>{0, 1000, 3000, 7000, 15000, 31000});
}

TEST_CASE("tcp SYN-SENT: the time-out of the first text after a retried SYN is not shortened") {
  // RFC 6298 (5.7) and Karn: a handshake that took retries gives no sample; without timestamps the
  // first RTO is the initial one.
  raw_peer peer([](host_options& options) { options.policy.timestamps = false; });
  bring_to(peer, state::syn_sent);
  peer.run_for(1s);
  peer.expect({flags("S"), seq(0)});
  peer.send({seq(0), ack(1), flags("SA")});
  CHECK(peer.look().srtt == 0us);
  CHECK(peer.look().rto >= 1000ms);
}

TEST_CASE("tcp S77 SYN-SENT: SYN moves to SYN-RECEIVED and draws SYN-ACK with the same number") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.expect({flags("SA"), seq(0), ack(1), mss(1460)});
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_received);
  SUBCASE("the ACK of our SYN establishes") {
    peer.send({seq(1), ack(1)});
    peer.expect_nothing();
    CHECK(peer.look().state == state::established);
    CHECK((peer.reported & events::connected) == events::connected);
  }
  SUBCASE("the peer's SYN-ACK establishes, as in figure 8 of RFC 9293") {
    peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
    CHECK(peer.look().state == state::established);
  }
  SUBCASE("text that acknowledges establishes") {
    peer.send({seq(1), ack(1), text("abc")});
    CHECK(peer.look().state == state::established);
    CHECK(peer.read() == "abc");
  }
  SUBCASE("FIN that acknowledges goes on to CLOSE-WAIT") {
    peer.send({seq(1), ack(1), flags("FA")});
    CHECK(peer.look().state == state::close_wait);
  }
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: the same SYN draws SYN-ACK again") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  peer.send_syn();
  peer.expect({flags("SA"), seq(0), ack(1)});
  CHECK(peer.look().state == state::syn_received);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: a wrong acknowledgement draws RST") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  for (const std::uint32_t wrong : {0U, 2U}) {
    peer.send({seq(1), ack(wrong)});
    peer.expect({flags("R"), seq(wrong)});
  }
  CHECK(peer.look().state == state::syn_received);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: an exact RST refuses, another is asked back") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  peer.send({seq(2), flags("R")});
  peer.expect({flags("A"), seq(1), ack(1)});
  peer.send({seq(100'000), flags("R")});
  peer.expect_nothing();
  CHECK(peer.look().state == state::syn_received);
  peer.send({seq(1), flags("R")});
  CHECK(peer.look().ended == end_reason::refused);
  CHECK(peer.read_error() == error::connection_refused);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: another SYN is asked back") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  peer.send({seq(10), flags("S")});
  peer.expect({flags("A"), seq(1), ack(1)});
  CHECK(peer.look().state == state::syn_received);
  CHECK(peer.count().syn_challenge == 1);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: SYN-ACK comes again and gives up like SYN") {
  raw_peer peer;
  peer.mark();
  peer.connect();
  peer.forget();
  peer.send_syn();
  CHECK(peer.run_until_over(200s) == 131s);
  CHECK(peer.said().size() == 11);
  for (const seen_packet& each : peer.said()) CHECK(each.flags() == "SA");
  CHECK(peer.look().ended == end_reason::timed_out);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: shutdown and close say FIN once it is open") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  SUBCASE("shutdown") {
    peer.shutdown();
  }
  SUBCASE("close") {
    peer.close();
  }
  peer.expect_nothing();
  peer.send({seq(1), ack(1)});
  peer.expect({flags("FA"), seq(1), ack(1)});
  CHECK(peer.current() == state::fin_wait_1);
}

TEST_CASE("tcp SYN-RECEIVED after simultaneous open: abort draws RST") {
  raw_peer peer;
  open_simultaneously(peer);
  peer.forget();
  peer.close(close_mode::abort);
  peer.expect({flags("RA"), seq(1), ack(1)});
  CHECK(peer.look().state == state::closed);
}

TEST_CASE("tcp S77 simultaneous open: two hosts meet, also when segments are lost") {
  // Packets 0 and 1 are the SYNs.
  for (int lost = -1; lost < 6; ++lost) {
    CAPTURE(lost);
    host_pair pair;
    int seen = 0;
    pair.filter = [&](const seen_packet&) { return seen++ != lost; };
    socket_id ends[2];
    for (const int side : {0, 1}) {
      connect_options options;
      options.local.port = static_cast<std::uint16_t>(5000 + side);
      const net::endpoint remote{pair.address(1 - side), static_cast<std::uint16_t>(5001 - side)};
      ends[side] = pair[side].connect(remote, options, 1, pair.now()).value;
    }
    pair.drive_for(5s);
    for (const int side : {0, 1}) {
      CHECK(pair[side].snapshot(ends[side]).value.state == state::established);
      CHECK(pair[side].send(ends[side], bytes_of("hello"), pair.now()).value == 5);
    }
    pair.drive_for(1s);
    for (const int side : {0, 1}) {
      CHECK(receive_all(pair[side], ends[side], pair.now()) == "hello");
      pair[side].release(ends[side], pair.now());
    }
    pair.check_nothing_left();
  }
}
