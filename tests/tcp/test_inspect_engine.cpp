#include <map>

#include "host_pair.hpp"
#include "raw_peer.hpp"

// What the engine tells of itself: listeners and connections as snapshots.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

listener_snapshot look_at_listener(raw_peer& peer) {
  return peer.engine().listener(peer.listener).value;
}

void handshake_from(raw_peer& peer, std::uint16_t port) {
  peer.peer_port = port;
  peer.send_syn();
  if (peer.said().empty()) return;
  peer.send({from_port(port)});
  peer.forget();
}

}  // namespace

TEST_CASE("S111: a listener tells both depths, their limit, their peaks and what it made") {
  raw_peer peer;
  peer.listen({.backlog = 5});
  for (std::uint16_t port = 1; port <= 3; ++port) peer.send_syn({from_port(port)});
  peer.forget();
  for (std::uint16_t port = 11; port <= 12; ++port) handshake_from(peer, port);
  listener_snapshot seen = look_at_listener(peer);
  CHECK(seen.backlog == 5);
  CHECK(seen.accept_queue == 2);
  CHECK(seen.accept_queue_peak == 2);
  CHECK(seen.syn_queue == 3);
  CHECK(seen.syn_queue_peak == 4);
  CHECK(seen.accepted == 2);
  CHECK(seen.drops == listener_drops());
  while (const auto taken = peer.engine().accept(peer.listener, 1)) {
    peer.engine().release(taken.value, peer.now());
  }
  seen = look_at_listener(peer);
  CHECK(seen.accept_queue == 0);
  CHECK(seen.accept_queue_peak == 2);
  CHECK(seen.accepted == 2);
}

TEST_CASE("S35: a listener counts what it drops by reason, and together it is ListenDrops") {
  SUBCASE("a SYN beyond the backlog") {
    raw_peer peer;
    peer.listen({.backlog = 1, .syncookies = syncookies::off});
    for (std::uint16_t port = 1; port <= 5; ++port) peer.send_syn({from_port(port)});
    CHECK(look_at_listener(peer).drops == listener_drops{.syn_queue_full = 3});
    CHECK(peer.count().listen_drops == 3);
  }
  SUBCASE("a SYN for the last quarter of max_syn_backlog") {
    raw_peer peer([](host_options& options) { options.policy.max_syn_backlog = 4; });
    peer.listen({.syncookies = syncookies::off});
    for (std::uint16_t port = 1; port <= 6; ++port) peer.send_syn({from_port(port)});
    CHECK(look_at_listener(peer).drops == listener_drops{.syn_backlog_reserve = 2});
    CHECK(peer.count().listen_drops == 2);
  }
  SUBCASE("a full accept queue, with SYNs and with third segments") {
    raw_peer peer;
    peer.listen({.backlog = 1});
    peer.send_syn({from_port(1)});
    const std::uint32_t first_iss = peer.host_iss;
    handshake_from(peer, 2);
    handshake_from(peer, 3);
    peer.send_syn({from_port(4)});
    peer.host_iss = first_iss;
    peer.host_next = first_iss + 1;
    peer.send({from_port(1)});
    const listener_drops wanted{.accept_queue_full_syns = 1, .accept_queue_full_acks = 1};
    CHECK(look_at_listener(peer).drops == wanted);
    CHECK(look_at_listener(peer).drops.total() == 2);
    CHECK(peer.count().listen_drops == 2);
  }
}

TEST_CASE("S112: a connection tells its timer as ss -o does") {
  raw_peer peer;
  SUBCASE("nothing is waited for") {
    peer.establish();
    CHECK(peer.look().timer == armed_timer::none);
  }
  SUBCASE("what was sent waits for its acknowledgement, with the timeouts so far") {
    peer.establish();
    peer.write("hello");
    snapshot seen = peer.look();
    CHECK(seen.timer == armed_timer::retransmit);
    CHECK(seen.timer_due - peer.now() == seen.rto);
    CHECK(seen.timer_retries == 0);
    peer.run_for(seen.rto + 1ms);
    seen = peer.look();
    CHECK(seen.timer_retries == 1);
    CHECK(seen.timer_due - peer.now() == seen.rto - 1ms);
  }
  SUBCASE("a closed window waits for a probe") {
    peer.establish();
    peer.send({window(0)});
    peer.write("hello");
    CHECK(peer.look().timer == armed_timer::persist);
    CHECK(peer.look().timer_due > peer.now());
  }
  SUBCASE("SYN-SENT waits for a second") {
    peer.connect();
    CHECK(peer.look().timer == armed_timer::retransmit);
    CHECK(peer.look().timer_due - peer.now() == 1s);
  }
  const auto only_row = [&] {
    std::vector<snapshot> rows;
    peer.engine().for_each_connection([&](const snapshot& each) { rows.push_back(each); });
    REQUIRE(rows.size() == 1);
    return rows.front();
  };
  SUBCASE("FIN-WAIT-2 of a closed connection and TIME-WAIT wait for their end") {
    bring_to(peer, state::fin_wait_1);
    peer.close();
    peer.send({});
    CHECK(only_row().state == state::fin_wait_2);
    CHECK(only_row().timer == armed_timer::time_wait);
    CHECK(only_row().timer_due - peer.now() == 60s);
    peer.send({flags("FA")});
    peer.run_for(20s);
    CHECK(only_row().state == state::time_wait);
    CHECK(only_row().timer == armed_timer::time_wait);
    CHECK(only_row().timer_due - peer.now() == 40s);
  }
  SUBCASE("a half-open entry waits to say SYN-ACK again") {
    bring_to(peer, state::syn_received);
    peer.run_for(1500ms);
    CHECK(only_row().timer == armed_timer::retransmit);
    CHECK(only_row().timer_due - peer.now() == 1500ms);
    CHECK(only_row().timer_retries == 1);
  }
}

TEST_CASE("S112: a connection counts bytes and segments as TCP_INFO does") {
  connected_pair both;
  both.establish();
  both.drive_for(3s);
  CHECK(both.look(0).last_sent == time_point::min());
  CHECK(both.look(0).last_received == time_point::min());
  CHECK(both.look(0).traffic.segs_out == 2);
  CHECK(both.look(0).traffic.segs_in == 1);
  CHECK(both.look(1).traffic.segs_out == 0);
  CHECK(both.look(1).traffic.segs_in == 2);
  const time_point sent_at = both.now();
  both.send(0, std::string(5792, 'x'));
  both.drive_for(5s);
  CHECK(both.receive(1).size() == 5792);
  const snapshot sender = both.look(0);
  const snapshot receiver = both.look(1);
  CHECK(sender.bytes_sent == 5792);
  CHECK(sender.traffic.bytes_acked == 5792);
  CHECK(sender.traffic.bytes_retrans == 0);
  CHECK(sender.traffic.data_segs_out == 4);
  CHECK(sender.traffic.data_segs_in == 0);
  CHECK(sender.traffic.segs_out == 6);
  CHECK(receiver.traffic.bytes_received == 5792);
  CHECK(receiver.traffic.data_segs_in == 4);
  CHECK(receiver.traffic.segs_in == 6);
  CHECK(sender.traffic.segs_in == 1 + receiver.traffic.segs_out);
  CHECK(sender.last_sent == sent_at);
  CHECK(receiver.last_received == sent_at + 1ms);
  CHECK(sender.last_ack == sent_at + 2ms);
}

TEST_CASE("S112: what is sent again is counted apart, and so is what is in flight") {
  connected_pair both;
  both.establish();
  both.faults.loss = 1;
  both.send(0, "hello");
  CHECK(both.look(0).bytes_sent == 0);
  both.drive_for(1ms);
  CHECK(both.look(0).bytes_sent == 5);
  CHECK(both.look(0).traffic.bytes_acked == 0);
  both.drive_for(300ms);
  CHECK(both.look(0).bytes_sent == 10);
  CHECK(both.look(0).traffic.bytes_retrans == 5);
  CHECK(both.look(0).traffic.data_segs_out == 2);
  both.faults.loss = 0;
  both.drive_for(5s);
  CHECK(both.look(0).bytes_sent == 5 + both.look(0).traffic.bytes_retrans);
  CHECK(both.look(0).traffic.bytes_acked == 5);
}

TEST_CASE("S112: bytes that filled a hole and FIN are counted once, FIN not at all") {
  raw_peer peer;
  peer.establish();
  peer.send({seq(6), text("world")});
  CHECK(peer.look().traffic.bytes_received == 0);
  peer.send({seq(1), text("hello")});
  CHECK(peer.look().traffic.bytes_received == 10);
  peer.send({seq(11), flags("FA")});
  CHECK(peer.look().traffic.bytes_received == 10);
  CHECK(peer.look().traffic.data_segs_in == 2);
}

TEST_CASE("S112: a walk in steps sees every connection once, half-open and TIME-WAIT ones too") {
  raw_peer peer([](host_options& options) { options.policy.reject_limit = 0; });
  peer.listen();
  for (std::uint16_t port = 1; port <= 700; ++port) peer.send_syn({from_port(port)});
  // Half of them become connections, and half of these TIME-WAIT.
  std::vector<socket_id> open;
  for (std::uint16_t port = 1; port <= 350; ++port) {
    peer.peer_port = port;
    peer.peer_next = peer.peer_iss + 1;
    const seen_packet& synack = peer.said()[port - 1U];
    peer.host_next = synack.tcp.seq + 1;
    peer.send({});
    const socket_id socket = peer.engine().accept(peer.listener, port).value;
    if (port > 175) {
      open.push_back(socket);
      continue;
    }
    const std::size_t before = peer.said().size();
    CHECK(peer.engine().close(socket, close_mode::graceful, peer.now()) == error::none);
    peer.flush();
    CHECK(peer.said().size() == before + 1);
    peer.send({flags("FA")});
    peer.engine().release(socket, peer.now());
  }
  std::map<std::uint16_t, state> wanted;
  peer.engine().for_each_connection(
      [&](const snapshot& each) { CHECK(wanted.emplace(each.remote.port, each.state).second); });
  REQUIRE(wanted.size() == 700);
  for (const std::uint32_t step : {1U, 7U, 511U, 100'000U}) {
    std::map<std::uint16_t, state> seen;
    walk_position at;
    std::size_t steps = 1;
    while (peer.engine().walk_connections(at, step, [&](const snapshot& each) {
      CHECK(seen.emplace(each.remote.port, each.state).second);
    })) {
      ++steps;
    }
    CHECK(seen == wanted);
    CHECK((step > 10'000) == (steps == 1));
    walk_position full;
    std::size_t connections = 0;
    while (peer.engine().walk_full_connections(full, step, [&](const snapshot& each) {
      CHECK(each.state == state::established);
      ++connections;
    })) {
    }
    CHECK(connections == 175);
  }
  CHECK(peer.engine().memory().half_open == 350);
  CHECK(peer.engine().memory().time_wait == 175);
  for (std::uint16_t port = 176; port <= 700; ++port) {
    peer.peer_port = port;
    peer.host_next = 0;
    peer.send({seq(1), flags("R")});
  }
  peer.forget();
  for (const socket_id socket : open) peer.engine().release(socket, peer.now());
  std::size_t left = 0;
  walk_position at;
  while (peer.engine().walk_connections(at, 64, [&](const snapshot& each) {
    CHECK(each.state == state::time_wait);
    ++left;
  })) {
  }
  CHECK(left == 175);
}

TEST_CASE("tcp inspection: the ends and the end are told alone as the snapshot tells them") {
  raw_peer peer;
  peer.listen();
  handshake_from(peer, 77);
  const auto taken = peer.engine().accept(peer.listener, 1);
  REQUIRE(taken);
  const tcp::snapshot whole = peer.engine().snapshot(taken.value).value;
  const connection_ends ends = peer.engine().ends(taken.value);
  CHECK(ends.local == whole.local);
  CHECK(ends.remote == whole.remote);
  CHECK(ends.remote.port == 77);
  CHECK(peer.engine().ended(taken.value) == end_reason::none);
  peer.engine().close(taken.value, close_mode::abort, peer.now());
  CHECK(peer.engine().ended(taken.value) == end_reason::aborted);
  CHECK(peer.engine().ends(taken.value).remote == whole.remote);
  peer.engine().release(taken.value, peer.now());
  CHECK(peer.engine().ends(taken.value).remote == net::endpoint());
  CHECK(peer.engine().ended(taken.value) == end_reason::none);
}
