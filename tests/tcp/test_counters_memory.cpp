#include "crowd.hpp"
#include "loss_peer.hpp"

// What the counters of memory and of duplicates that were told of count, with Linux's meaning.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

void with_one_mib(host_options& options) {
  options.policy.memory_limit = mib;
}

/// Connections that send a segment each in turn, ahead of a hole or not, until this happens.
struct senders : crowd {
  explicit senders(std::uint32_t count) : crowd(with_one_mib) {
    for (std::uint32_t i = 0; i < count; ++i) peers.push_back(&join(i));
  }
  template <class Happened>
  void send_until(std::uint32_t first, const Happened& happened) {
    for (std::uint32_t at = first; at + size < 65'000; at += size) {
      for (peer* p : peers) {
        if (happened()) return;
        send(*p, at, size);
      }
    }
  }
  const tcp::counters& count() const { return engine.counters(); }

  static constexpr std::uint32_t size = 1400;
  std::vector<peer*> peers;
};

}  // namespace

TEST_CASE("S113 TCPMemoryPressures: how often two thirds of the memory came to be in use") {
  senders all(40);
  std::size_t before = 0;
  all.send_until(2, [&] {
    if (all.count().memory_pressures > 0) return true;
    before = all.engine.memory().buffer_bytes;
    return false;
  });
  CHECK(all.count().memory_pressures == 1);
  CHECK(before <= mib / 3 * 2 + 4096);
  CHECK(before >= mib / 3 * 2 - 8192);
}

TEST_CASE("S113 OfoPruned, TCPOFODrop: text ahead of a hole that went, and that was not taken") {
  senders all(40);
  all.send_until(2, [&] { return all.count().ofo_drop + all.count().ofo_pruned > 0; });
  const std::uint64_t dropped = all.count().ofo_drop;
  const std::uint64_t pruned = all.count().ofo_pruned;
  CHECK(dropped == 1);
  CHECK(all.count().memory_pressures == 1);
  // Each segment that comes then is not taken, and some others' queues go.
  const std::size_t held = all.engine.memory().buffer_bytes;
  all.send(*all.peers[0], 60'000, 1400);
  CHECK(all.count().ofo_drop == dropped + 1);
  CHECK(all.count().ofo_pruned > pruned);
  CHECK(all.engine.memory().buffer_bytes < held);
  CHECK(all.count().rcv_q_drop == 0);
}

TEST_CASE("S113 PruneCalled, TCPRcvCollapsed: a full buffer, and packets whose text was packed") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.receive_buffer = 40'000;
  peer.establish(policy);
  std::uint32_t sent = 0;
  while (peer.count().prune_called == 0 && sent < 20'000) {
    peer.send({length(600)});
    sent += 600;
    peer.forget();
  }
  CHECK(peer.count().prune_called == 1);
  // Every packet but the last one, which came when there was room again.
  CHECK(peer.count().rcv_collapsed == sent / 600 - 1);
  CHECK(peer.count().ofo_pruned == 0);
  CHECK(peer.count().rcv_q_drop == 0);
  CHECK(peer.look().unread_bytes == sent);
}

TEST_CASE("S113 TCPRcvQDrop, RcvPruned: text in order that was not taken for want of memory") {
  senders all(30);
  all.send_until(1, [&] { return all.count().rcv_q_drop > 0; });
  CHECK(all.count().rcv_q_drop == 1);
  CHECK(all.count().rcv_pruned == 1);
  CHECK(all.count().prune_called > 0);
  CHECK(all.count().memory_pressures == 1);
  CHECK(all.count().ofo_drop == 0);
}

TEST_CASE("S113 TCPDSACKRecv, TCPDSACKOfoRecv: duplicates that the peer tells of") {
  loss_peer peer;
  peer.open({});
  peer.send_full(10);
  // What is acknowledged came twice.
  peer.send({peer.upto(2), peer.block(0, 1)});
  CHECK(peer.count().dsack_recv == 1);
  CHECK(peer.count().dsack_ofo_recv == 0);
  // What waits ahead of a hole came twice, and its block follows.
  peer.send({peer.upto(2), peer.block(4, 5), peer.block(3, 6)});
  CHECK(peer.count().dsack_recv == 1);
  CHECK(peer.count().dsack_ofo_recv == 1);
  // Two blocks side by side are none.
  peer.send({peer.upto(2), peer.block(8, 9), peer.block(3, 6)});
  CHECK(peer.count().dsack_recv == 1);
  CHECK(peer.count().dsack_ofo_recv == 1);
}
