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
    peer.listen({.backlog = 1});
    for (std::uint16_t port = 1; port <= 5; ++port) peer.send_syn({from_port(port)});
    CHECK(look_at_listener(peer).drops == listener_drops{.syn_queue_full = 3});
    CHECK(peer.count().listen_drops == 3);
  }
  SUBCASE("a SYN for the last quarter of max_syn_backlog") {
    raw_peer peer([](host_options& options) { options.policy.max_syn_backlog = 4; });
    peer.listen();
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
