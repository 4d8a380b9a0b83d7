#include "raw_peer.hpp"

// The close modes of SO_LINGER and what Linux counts of them.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using moments = std::vector<std::int64_t>;

namespace {

listener_policy closes_by(close_mode mode, std::chrono::milliseconds time) {
  listener_policy policy;
  policy.connection.close = mode;
  policy.connection.close_time = time;
  return policy;
}

/// Closes as the policy says.
void close_by_policy(raw_peer& peer) {
  CHECK(peer.engine().close(peer.socket, peer.now()) == error::none);
  peer.flush();
}

}  // namespace

TEST_CASE("tcp S97 linger 0: close sends RST with ACK and skips TIME-WAIT") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::abort, 2s));
  peer.write("lost");
  peer.forget();
  close_by_policy(peer);
  peer.expect({flags("RA"), seq(5), ack(1), length(0)});
  peer.expect_nothing();
  CHECK(peer.current() == state::closed);
  CHECK(peer.engine().memory().time_wait == 0);
  CHECK(peer.look().ended == end_reason::aborted);
  CHECK(peer.look().unacked_bytes == 4);
  // Linux counts it so.
  CHECK(peer.count().abort_on_data == 1);
  CHECK(peer.count().abort_on_close == 0);
}

TEST_CASE("tcp S97 linger 0: with bytes unread it counts as those do") {
  raw_peer peer;
  peer.establish();
  peer.send({text("unread")});
  peer.forget();
  peer.close(close_mode::abort);
  peer.expect({flags("RA")});
  CHECK(peer.count().abort_on_data == 0);
  CHECK(peer.count().abort_on_close == 1);
}

TEST_CASE("tcp S97 linger 0: dropping the connection is enough") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::abort, 2s));
  peer.engine().release(peer.socket, peer.now());
  peer.flush();
  peer.expect({flags("RA")});
  CHECK(peer.current() == state::closed);
  CHECK(peer.count().released_open == 1);
}

TEST_CASE("tcp abort: RST unless both have said FIN, with nothing left behind") {
  for (const state in : synchronized_states) {
    CAPTURE(in);
    raw_peer peer;
    bring_to(peer, in);
    const std::uint32_t next = peer.host_next - peer.host_iss;
    const std::uint32_t acked = peer.peer_next - peer.peer_iss;
    peer.close(close_mode::abort);
    if (in != state::closing && in != state::last_ack) {
      peer.expect({flags("RA"), seq(next), ack(acked), length(0)});
    }
    peer.expect_nothing();
    CHECK(peer.current() == state::closed);
    CHECK(peer.look().ended == end_reason::aborted);
    peer.run_for(300s);
    peer.expect_nothing();
  }
}

TEST_CASE("tcp abort: RST in LAST-ACK too while FIN has not left") {
  raw_peer peer;
  bring_to(peer, state::close_wait);
  peer.send({window(0)});
  peer.write("lost");
  peer.shutdown();
  peer.forget();
  peer.close(close_mode::abort);
  peer.expect({flags("RA"), seq(1), ack(2)});
  peer.expect_nothing();
}

TEST_CASE("tcp S98 linger: the owner is told after the time, and FIN goes on being sent") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::linger, 2s));
  peer.mark();
  close_by_policy(peer);
  CHECK(!peer.engine().drained(peer.socket));
  peer.run_for(1999ms);
  CHECK(!any(peer.reported & events::close_time_over));
  peer.run_for(1ms);
  CHECK(any(peer.reported & events::close_time_over));
  CHECK(peer.current() == state::fin_wait_1);
  CHECK(!peer.engine().drained(peer.socket));
  peer.engine().release(peer.socket, peer.now());
  peer.run_for(200s);
  CHECK(peer.times() == moments{0, 201, 603, 1407, 3015, 6231, 12663, 25527, 51255});
  CHECK(peer.current() == state::closed);
  CHECK(peer.count().abort_on_timeout == 1);
}

TEST_CASE("tcp S98 linger: it waits for the acknowledgement of FIN, not only of text") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::linger, 2s));
  peer.write("text");
  close_by_policy(peer);
  peer.send({ack(5)});
  CHECK(peer.look().unacked_bytes == 0);
  CHECK(!peer.engine().drained(peer.socket));
  SUBCASE("in time") {
    peer.run_for(1s);
    peer.send({ack(6)});
    CHECK(any(peer.reported & events::drained));
    CHECK(peer.engine().drained(peer.socket));
    peer.mark();
    CHECK(peer.run_until_over(100s) == 60s);
    CHECK(!any(peer.reported & events::close_time_over));
  }
  SUBCASE("late") {
    peer.run_for(3s);
    CHECK(any(peer.reported & events::close_time_over));
    CHECK(!any(peer.reported & events::drained));
  }
}

TEST_CASE("tcp S98 linger: without an owner to wait it is graceful") {
  raw_peer peer;
  peer.establish(closes_by(close_mode::linger, 2s));
  peer.write("delivered late");
  peer.engine().release(peer.socket, peer.now());
  peer.run_for(30s);
  CHECK(peer.current() == state::fin_wait_1);
  peer.send({});
  CHECK(peer.current() == state::fin_wait_2);
  peer.send({flags("FA")});
  CHECK(peer.current() == state::time_wait);
}

TEST_CASE("tcp S61 S113 TCPAbortOnLinger fin_timeout 0: nobody waits in FIN-WAIT-2") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.fin_timeout = 0ms;
  peer.establish(policy);
  SUBCASE("TCPAbortOnLinger: closed in FIN-WAIT-2") {
    peer.shutdown();
    peer.send({});
    CHECK(peer.current() == state::fin_wait_2);
    peer.forget();
    peer.close();
    peer.expect({flags("RA"), seq(2)});
    CHECK(peer.count().abort_on_linger == 1);
    CHECK(peer.count().abort_on_data == 0);
  }
  SUBCASE("TCPAbortOnData: FIN is acknowledged after close") {
    peer.close();
    peer.forget();
    peer.send({});
    peer.expect({flags("RA"), seq(2)});
    CHECK(peer.count().abort_on_linger == 0);
    CHECK(peer.count().abort_on_data == 1);
  }
  CHECK(peer.current() == state::closed);
  CHECK(peer.look().ended == end_reason::aborted);
}

TEST_CASE("tcp close: the time is checked, and a mode may be chosen without the policy") {
  raw_peer peer;
  peer.establish();
  CHECK(peer.engine().close(peer.socket, close_mode::linger, -1ms, peer.now()) ==
        error::invalid_argument);
  CHECK(peer.engine().close(peer.socket, close_mode::linger, 25h, peer.now()) ==
        error::invalid_argument);
  CHECK(peer.current() == state::established);
  CHECK(peer.engine().close(peer.socket, close_mode::linger, 100ms, peer.now()) == error::none);
  peer.run_for(100ms);
  CHECK(any(peer.reported & events::close_time_over));
  CHECK(peer.current() == state::fin_wait_1);
}

TEST_CASE("tcp close: a second close changes nothing, unless it aborts") {
  raw_peer peer;
  peer.establish();
  peer.close(close_mode::lingering);
  peer.forget();
  peer.close(close_mode::graceful);
  peer.expect_nothing();
  peer.send({ack(2), text("thrown away")});
  peer.expect({flags("A"), ack(12)});
  peer.close(close_mode::abort);
  peer.expect({flags("RA"), seq(2), ack(12)});
  CHECK(peer.current() == state::closed);
}
