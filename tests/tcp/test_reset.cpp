#include "raw_peer.hpp"

// RST, SYN and acknowledgements that do not fit, in the synchronized states: RFC 9293 3.10.7.4 with
// RFC 5961.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

bool peer_was_done(state in) {
  return in == state::close_wait || in == state::closing || in == state::last_ack;
}

}  // namespace

TEST_CASE("tcp synchronized: an exact RST ends the connection") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    peer.reported = events::none;
    peer.send({flags("R")});
    peer.expect_nothing();
    CHECK(peer.current() == state::closed);
    CHECK((peer.reported & events::closed) == events::closed);
    CHECK(peer.engine().memory().time_wait == 0);
    // An end is clean when our FIN was acknowledged, and here it was not, or was not said.
    CHECK(peer.look().ended == end_reason::reset);
    const error told = in == state::close_wait ? error::broken_pipe : error::connection_reset;
    CHECK(peer.engine().pending_error(peer.socket) == told);
    // Behind the peer's FIN a reader has the end of the stream, and the error is for a writer.
    CHECK((peer_was_done(in) ? peer.write_error() : peer.read_error()) == told);
    CHECK(peer.read_error() == error::none);
    CHECK(peer.write_error() == error::broken_pipe);
    const bool counted = in == state::established || in == state::close_wait;
    CHECK(peer.count().estab_resets == (counted ? 1 : 0));
  }
}

TEST_CASE("tcp synchronized: RST with ACK is judged by its number alone") {
  raw_peer peer;
  peer.establish();
  peer.send({ack(90'000), flags("RA")});
  CHECK(peer.look().ended == end_reason::reset);
}

TEST_CASE("tcp S122 synchronized: RST in the window but not exact draws a challenge ACK") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t next = peer.peer_next - peer.peer_iss;
    peer.send({seq(next + 1), flags("R")});
    peer.expect({flags("A"), seq(peer.host_next - peer.host_iss), ack(next), length(0)});
    CHECK(peer.current() == in);
    CHECK(peer.count().challenge_ack == 1);
  }
}

TEST_CASE("tcp S122 synchronized: RST outside the window is dropped in silence") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t next = peer.peer_next - peer.peer_iss;
    for (const std::uint32_t outside : {next - 1, next + 100'000, next + 0x8000'0000U}) {
      peer.send({seq(outside), flags("R")});
      peer.expect_nothing();
    }
    CHECK(peer.current() == in);
  }
}

TEST_CASE("tcp S86 synchronized: the answer to a challenge ACK is an exact RST, which ends it") {
  raw_peer peer;
  peer.establish();
  // The peer has forgotten us and opens again.
  peer.send({seq(5'000'000), flags("S"), mss(1460)});
  peer.expect({flags("A"), seq(1), ack(1)});
  peer.send({seq(1), flags("R")});
  CHECK(peer.look().ended == end_reason::reset);
  peer.send_syn();
  peer.expect({flags("SA")});
}

TEST_CASE("tcp S123 synchronized: SYN draws a challenge ACK wherever its number lies") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    for (const std::uint32_t offset : {0U, 1U, 0x7000'0000U, 0U - 2U}) {
      CAPTURE(offset);
      raw_peer peer;
      bring_to(peer, in);
      const std::uint32_t next = peer.peer_next - peer.peer_iss;
      peer.send({seq(next + offset), flags("S")});
      peer.expect({flags("A"), seq(peer.host_next - peer.host_iss), ack(next)});
      peer.expect_nothing();
      CHECK(peer.current() == in);
      CHECK(peer.count().syn_challenge == 1);
      CHECK(peer.count().challenge_ack == 1);
    }
  }
}

TEST_CASE("tcp S123 synchronized: SYN-ACK is challenged as SYN is") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(0), ack(1), flags("SA")});
  peer.expect({flags("A"), seq(1), ack(1)});
  CHECK(peer.current() == state::established);
}

TEST_CASE("tcp S123 synchronized: one challenge ACK in 500 ms for a connection, the rest counted") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  for (int i = 0; i < 12; ++i) {
    peer.send({seq(500), flags("S")});
    peer.run_for(100ms);
  }
  CHECK(peer.times() == std::vector<std::int64_t>{0, 500, 1000});
  CHECK(peer.count().challenge_ack == 3);
  CHECK(peer.count().ack_skipped_challenge == 9);
}

TEST_CASE("tcp RFC 5961 section 7: challenge ACKs of a host are bounded for each second") {
  raw_peer peer([](host_options& options) { options.policy.challenge_ack_limit = 3; });
  peer.listen();
  std::vector<socket_id> sockets;
  for (std::uint16_t port = 1; port <= 5; ++port) {
    peer.send_syn({from_port(port)});
    peer.send({from_port(port)});
    peer.accept();
    sockets.push_back(peer.socket);
  }
  peer.forget();
  for (std::uint16_t port = 1; port <= 5; ++port) peer.send({seq(2), flags("R"), from_port(port)});
  CHECK(peer.said().size() == 3);
  peer.forget();
  peer.run_for(1s);
  peer.send({seq(2), flags("R"), from_port(5)});
  CHECK(peer.said().size() == 1);
  for (const socket_id each : sockets) peer.engine().release(each, peer.now());
  peer.flush();
}

TEST_CASE("tcp S124 synchronized: an acknowledgement of unsent text draws ACK, and is dropped") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t next = peer.peer_next - peer.peer_iss;
    const std::uint32_t sent = peer.host_next - peer.host_iss;
    peer.send({ack(sent + 1), text("poison")});
    peer.expect({flags("A"), seq(sent), ack(next)});
    CHECK(peer.current() == in);
    CHECK(peer.look().unread_bytes == 0);
  }
}

TEST_CASE("tcp RFC 5961 5.2: an acknowledgement older than any window is challenged, and dropped") {
  raw_peer peer;
  peer.establish();
  peer.write("hello");
  peer.send({});
  peer.forget();
  peer.send({ack(0U - 80'000U), text("poison")});
  peer.expect({flags("A"), seq(6), ack(1)});
  CHECK(peer.read() == "");
  CHECK(peer.count().challenge_ack == 1);
}

TEST_CASE("tcp synchronized: an old acknowledgement within the largest window does no harm") {
  raw_peer peer;
  peer.establish();
  peer.write("hello");
  peer.send({});
  peer.forget();
  peer.send({ack(2), text("fine")});
  CHECK(peer.read() == "fine");
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE("tcp synchronized: segments without ACK are dropped") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    peer.send({flags("P"), text("x")});
    peer.send({flags("F")});
    peer.send({flags("")});
    peer.expect_nothing();
    CHECK(peer.current() == in);
  }
}

TEST_CASE("tcp synchronized: text outside the window draws ACK, and is dropped") {
  for (const state in : {state::established, state::fin_wait_1, state::fin_wait_2}) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t sent = peer.host_next - peer.host_iss;
    for (const std::uint32_t outside : {200'000U, 0U - 50'000U}) {
      peer.send({seq(outside), text("x")});
      peer.expect({flags("A"), seq(sent), ack(1)});
      peer.expect_nothing();
    }
    CHECK(peer.read() == "");
    CHECK(peer.look().out_of_order_bytes == 0);
  }
}

TEST_CASE(
    "tcp synchronized: bare acknowledgements outside the window are answered twice a second") {
  raw_peer peer;
  peer.establish();
  peer.mark();
  for (int i = 0; i < 11; ++i) {
    peer.send({seq(200'000)});
    peer.run_for(100ms);
  }
  CHECK(peer.times() == std::vector<std::int64_t>{0, 500, 1000});
  CHECK(peer.count().ack_skipped_seq == 8);
}

TEST_CASE("tcp synchronized: an old duplicate of text is acknowledged each time") {
  raw_peer peer;
  peer.establish();
  peer.send({text("abc")});
  peer.forget();
  for (int i = 0; i < 4; ++i) {
    peer.send({seq(1), text("abc")});
    peer.expect({flags("A"), ack(4)});
  }
  CHECK(peer.read() == "abc");
}

TEST_CASE("tcp S66 CLOSE-WAIT: after RST the first call tells, the later ones say broken pipe") {
  raw_peer peer;
  SUBCASE("ESTABLISHED: connection reset, once") {
    peer.establish();
    peer.send({flags("R")});
    CHECK(peer.write_error() == error::connection_reset);
    CHECK(peer.write_error() == error::broken_pipe);
  }
  SUBCASE("CLOSE-WAIT: broken pipe at once") {
    bring_to(peer, state::close_wait);
    peer.send({flags("R")});
    CHECK(peer.write_error() == error::broken_pipe);
  }
}

TEST_CASE("tcp synchronized: what arrived before RST can still be read") {
  raw_peer peer;
  peer.establish();
  peer.send({text("last words")});
  peer.send({flags("R")});
  CHECK(peer.read() == "last words");
}

TEST_CASE("tcp LAST-ACK: RST before our text arrived is no clean end") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.write("never read");
  peer.shutdown();
  CHECK(peer.look().state == state::last_ack);
  peer.send({ack(1), flags("R")});
  CHECK(peer.look().ended == end_reason::reset);
  CHECK(peer.look().unacked_bytes == 10);
  CHECK(peer.read_error() == error::none);
  CHECK(peer.write_error() == error::connection_reset);
}

TEST_CASE("tcp abort: RST in LAST-ACK while FIN is held back") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.send({window(0)});
  peer.write("held back");
  peer.shutdown();
  peer.close(close_mode::abort);
  peer.expect({flags("RA"), seq(1), ack(2)});
  CHECK(peer.look().unacked_bytes == 9);
}

TEST_CASE("tcp EstabResets: every end of an open connection without FIN counts") {
  raw_peer peer;
  peer.establish();
  SUBCASE("abort") {
    peer.close(close_mode::abort);
  }
  SUBCASE("time-out") {
    peer.write("x");
    peer.run_for(1000s);
  }
  CHECK(peer.count().estab_resets == 1);
  CHECK(peer.count().curr_estab == 0);
}
