#include "raw_peer.hpp"

// The queues' knobs while the listener works, and what each of them does alone.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// SYNs from `count` ports that have not asked yet; how many half-open entries there are then.
std::uint32_t more_syns(raw_peer& peer, std::uint16_t count) {
  for (std::uint16_t i = 0; i < count; ++i) peer.send_syn({from_port(++peer.peer_port)});
  peer.forget();
  return peer.engine().listener(peer.listener).value.syn_queue;
}

/// Whole handshakes; how many connections wait then.
std::uint32_t more_handshakes(raw_peer& peer, std::uint16_t count) {
  for (std::uint16_t i = 0; i < count; ++i) {
    ++peer.peer_port;
    peer.send_syn();
    if (peer.said().empty()) continue;
    peer.forget();
    peer.send({});
  }
  return peer.engine().listener(peer.listener).value.accept_queue;
}

std::uint32_t half_open_after(std::uint32_t somaxconn, std::uint32_t max_syn_backlog,
                              std::uint32_t backlog) {
  raw_peer peer([&](host_options& options) {
    options.policy.somaxconn = somaxconn;
    options.policy.max_syn_backlog = max_syn_backlog;
  });
  peer.peer_port = 1;
  peer.listen({.backlog = backlog, .syncookies = syncookies::off});
  return more_syns(peer, 600);
}

}  // namespace

TEST_CASE("S27: enlarging one knob alone does nothing") {
  CHECK(half_open_after(128, 128, 128) == 97);
  CHECK(half_open_after(128, 128, 512) == 97);
  CHECK(half_open_after(512, 128, 128) == 97);
  CHECK(half_open_after(128, 1024, 128) == 129);
  CHECK(half_open_after(128, 1024, 512) == 129);
  CHECK(half_open_after(512, 1024, 128) == 129);
  CHECK(half_open_after(512, 1024, 512) == 513);
}

TEST_CASE("S27: a larger backlog does not cure an accept that is too slow") {
  // Ten handshakes for each accept: however long the queue is, it fills, only later.
  for (const std::uint32_t backlog : {4U, 40U}) {
    CAPTURE(backlog);
    raw_peer peer;
    peer.peer_port = 1;
    peer.listen({.backlog = backlog});
    std::uint32_t rounds = 0;
    while (more_handshakes(peer, 10) <= backlog) {
      const auto taken = peer.engine().accept(peer.listener, 9);
      REQUIRE(taken);
      peer.engine().close(taken.value, close_mode::abort, peer.now());
      peer.engine().release(taken.value, peer.now());
      peer.flush();
      peer.forget();
      REQUIRE(++rounds < 10);
    }
    CHECK(rounds == backlog / 10);
    CHECK(peer.count().listen_overflows > 0);
    peer.forget();
  }
}

TEST_CASE("S126: another backlog holds at once for the SYN queue, up and down") {
  raw_peer peer;
  peer.peer_port = 1;
  peer.listen({.backlog = 4, .syncookies = syncookies::off});
  CHECK(more_syns(peer, 20) == 5);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue_limit == 5);
  CHECK(peer.engine().set_backlog(peer.listener, 9) == error::none);
  CHECK(more_syns(peer, 20) == 10);
  // Those that are there stay.
  CHECK(peer.engine().set_backlog(peer.listener, 1) == error::none);
  CHECK(more_syns(peer, 20) == 10);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue_limit == 2);
  CHECK(peer.engine().listener(peer.listener).value.syn_queue_peak == 10);
}

TEST_CASE("S23: somaxconn and max_syn_backlog hold at once for listeners that exist") {
  raw_peer peer;
  peer.peer_port = 1;
  peer.listen({.backlog = 100, .syncookies = syncookies::off});
  stack_policy policy;
  policy.somaxconn = 3;
  CHECK(peer.engine().set_policy(policy) == error::none);
  CHECK(more_syns(peer, 20) == 4);
  policy.somaxconn = 50;
  policy.max_syn_backlog = 16;
  CHECK(peer.engine().set_policy(policy) == error::none);
  CHECK(more_syns(peer, 20) == 13);
  policy.max_syn_backlog = 1024;
  CHECK(peer.engine().set_policy(policy) == error::none);
  CHECK(more_syns(peer, 100) == 51);
}

TEST_CASE("S30: only legacy_sizing lets a SYN in while the accept queue is full") {
  raw_peer peer;
  peer.peer_port = 1;
  peer.listen({.backlog = 0, .legacy_sizing = true});
  CHECK(more_handshakes(peer, 1) == 1);
  peer.forget();
  // At most one young request may be there when another is let in.
  CHECK(more_syns(peer, 10) == 2);
  CHECK(peer.count().listen_overflows == 8);
  CHECK(peer.count().listen_drops == 8);
  peer.run_for(1s);
  CHECK(more_syns(peer, 10) == 4);
  CHECK(peer.engine().set_listener_policy(peer.listener, {.backlog = 0}) == error::none);
  peer.run_for(1s);
  CHECK(more_syns(peer, 10) == 4);
}

TEST_CASE(
    "S35 S113 ListenDrops, ListenOverflows, TCPReqQFullDrop: every drop, and which queue was "
    "full") {
  raw_peer peer;
  peer.peer_port = 1;
  peer.listen({.backlog = 2, .syncookies = syncookies::off});
  CHECK(more_syns(peer, 5) == 3);
  CHECK(peer.count().req_q_full_drop == 2);
  CHECK(peer.count().listen_overflows == 0);
  CHECK(peer.count().listen_drops == 2);
  peer.run_for(64s);
  peer.forget();
  CHECK(more_handshakes(peer, 7) == 3);
  CHECK(peer.count().req_q_full_drop == 2);
  CHECK(peer.count().listen_overflows == 4);
  CHECK(peer.count().listen_drops == 6);
  const listener_snapshot seen = peer.engine().listener(peer.listener).value;
  CHECK(seen.drops == listener_drops{.accept_queue_full_syns = 4, .syn_queue_full = 2});
  CHECK(seen.drops.total() == peer.count().listen_drops);
}

TEST_CASE("park: whatever happens in whatever order, nothing is lost and nothing is left") {
  raw_peer peer;
  peer.listen({.backlog = 20, .overflow = accept_overflow::park});
  std::mt19937 random(11);
  std::uint64_t taken = 0;
  std::uint32_t first_numbers[61] = {};
  for (int round = 0; round < 20'000; ++round) {
    peer.peer_port = static_cast<std::uint16_t>(1 + random() % 60);
    peer.host_iss = first_numbers[peer.peer_port];
    switch (random() % 8) {
      case 0:
      case 1:
        peer.send_syn();
        if (!peer.said().empty() && peer.said().front().flags() == "SA") {
          first_numbers[peer.peer_port] = peer.said().front().tcp.seq;
        }
        break;
      case 2:
        peer.send({seq(1), ack(1)});
        break;
      case 3:
        peer.send({seq(1), ack(1), text("text")});
        break;
      case 4:
        peer.send({seq(random() % 2 == 0 ? 1 : 5), flags("R")});
        break;
      case 5:
        peer.run_for(std::chrono::milliseconds(random() % 300));
        break;
      case 6:
        peer.engine().set_backlog(peer.listener, static_cast<std::uint32_t>(random() % 25));
        break;
      case 7:
        if (const auto got = peer.engine().accept(peer.listener, 3)) {
          ++taken;
          peer.engine().close(got.value, close_mode::abort, peer.now());
          peer.engine().release(got.value, peer.now());
          peer.flush();
        }
        break;
    }
    peer.forget();
    const listener_snapshot seen = peer.engine().listener(peer.listener).value;
    REQUIRE(seen.syn_queue == peer.engine().memory().half_open);
    REQUIRE(seen.parked <= seen.syn_queue);
    // Who is parked waits for room only.
    REQUIRE((seen.parked == 0 || seen.accept_queue > seen.backlog));
    REQUIRE(seen.accepted == taken + seen.accept_queue);
  }
  CHECK(peer.count().accept_parked > 20);
  peer.run_for(130s);
  CHECK(peer.engine().memory().half_open == 0);
}
