#include <bit>

#include "raw_peer.hpp"

// How many requests the SYN queue takes: what Linux 6.18 was measured to do, and what the seed
// documents say of it.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// The three knobs, and how many half-open entries they allow.
struct sizes {
  std::uint32_t somaxconn;
  std::uint32_t max_syn_backlog;
  std::uint32_t backlog;
  std::uint32_t requests;
  /// What Linux 2.6 to 4.3 did, as one seed has it.
  std::size_t legacy;
  /// Linux 6.18 with net.ipv4.tcp_syncookies = 0, and = 1 until cookies start.
  std::size_t without_cookies;
  std::size_t with_cookies;
};

constexpr sizes measured[] = {
    {128, 128, 5, 600, 16, 6, 6},
    {128, 128, 10, 600, 16, 11, 11},
    {128, 128, 50, 600, 64, 51, 51},
    {128, 128, 128, 600, 256, 97, 129},
    {128, 128, 5000, 600, 256, 97, 129},
    {1024, 128, 128, 600, 256, 97, 129},
    {1024, 1024, 128, 600, 256, 129, 129},
    {4096, 4096, 128, 600, 256, 129, 129},
    {4096, 4096, 4096, 5000, 8192, 3073, 4097},
};

/// S20: pre-4.4 Linux as one seed remembers it.
std::size_t formula_1(const sizes& of) {
  return std::max(8U, std::bit_ceil(std::min(of.backlog, of.max_syn_backlog)));
}
/// S21: Linux 2.6 to 4.3 as it was.
std::size_t formula_2(const sizes& of) {
  return std::bit_ceil(std::max(8U, std::min({of.backlog, of.somaxconn, of.max_syn_backlog})) + 1);
}
/// S22: an approximation that another seed has.
std::size_t formula_3(const sizes& of) {
  const std::uint32_t bounded = std::min(of.somaxconn, of.backlog);
  return 2 * (of.max_syn_backlog > bounded ? bounded : of.max_syn_backlog);
}

/// The SYN queue of a listener with the row's knobs.
std::size_t limit_of(const sizes& of, listener_policy policy) {
  raw_peer peer([&](host_options& options) {
    options.policy.somaxconn = of.somaxconn;
    options.policy.max_syn_backlog = of.max_syn_backlog;
  });
  policy.backlog = of.backlog;
  peer.listen(policy);
  return peer.engine().listener(peer.listener).value.syn_queue_limit;
}

/// How many of the row's SYNs, each from a port of its own, become half-open entries.
std::size_t admitted(const sizes& of, const listener_policy& with) {
  raw_peer peer([&](host_options& options) {
    options.policy.somaxconn = of.somaxconn;
    options.policy.max_syn_backlog = of.max_syn_backlog;
  });
  listener_policy policy = with;
  policy.backlog = of.backlog;
  peer.listen(policy);
  for (std::uint32_t i = 0; i < of.requests; ++i) {
    peer.send_syn({mss(1460), from_port(static_cast<std::uint16_t>(10'000 + i))});
  }
  const std::size_t result = peer.engine().memory().half_open;
  const listener_snapshot seen = peer.engine().listener(peer.listener).value;
  CHECK(seen.syn_queue == result);
  CHECK(seen.syn_queue_peak == result);
  if (policy.syncookies == syncookies::off) {
    CHECK(peer.said().size() == result);
    CHECK(peer.count().req_q_full_do_cookies == 0);
    CHECK(peer.count().listen_drops == of.requests - result);
    CHECK(seen.drops.total() == of.requests - result);
  } else {
    CHECK(peer.count().req_q_full_do_cookies == of.requests - result);
    CHECK(peer.count().req_q_full_drop == 0);
  }
  return result;
}

}  // namespace

TEST_CASE("S23: the SYN queue is as long as Linux's, every cell of the table") {
  for (const sizes& row : measured) {
    CAPTURE(row.somaxconn);
    CAPTURE(row.max_syn_backlog);
    CAPTURE(row.backlog);
    CHECK(admitted(row, {.syncookies = syncookies::off}) == row.without_cookies);
    CHECK(admitted(row, {.syncookies = syncookies::on_overflow}) == row.with_cookies);
  }
}

TEST_CASE("S21, S23: legacy_sizing gives the seed's own column of the table") {
  for (sizes row : measured) {
    CAPTURE(row.somaxconn);
    CAPTURE(row.max_syn_backlog);
    CAPTURE(row.backlog);
    // More than the largest queue of the column holds.
    row.requests = static_cast<std::uint32_t>(row.legacy) + 500;
    CHECK(admitted(row, {.syncookies = syncookies::on_overflow, .legacy_sizing = true}) ==
          row.legacy);
  }
}

TEST_CASE(
    "S20, S21, S22: only the second formula is what legacy_sizing gives, and none is today's") {
  std::size_t right_1 = 0;
  std::size_t right_2 = 0;
  std::size_t right_3 = 0;
  for (const sizes& row : measured) {
    CAPTURE(row.backlog);
    const std::size_t legacy = limit_of(row, {.legacy_sizing = true});
    CHECK(legacy == row.legacy);
    right_1 += formula_1(row) == legacy ? 1 : 0;
    right_2 += formula_2(row) == legacy ? 1 : 0;
    right_3 += formula_3(row) == legacy ? 1 : 0;
    const std::size_t today = limit_of(row, {.legacy_sizing = false});
    CHECK(today == row.with_cookies);
    CHECK(formula_1(row) != today);
    CHECK(formula_2(row) != today);
    CHECK(formula_3(row) != today);
  }
  // The first rounds up before the one more is added; the third doubles, which is the same only for
  // powers of two.
  CHECK(right_1 == 2);
  CHECK(right_2 == std::size(measured));
  CHECK(right_3 == 6);
}

TEST_CASE("S26: listeners with the backlogs of Nginx, Redis, old Linux and Java take so many") {
  for (const std::uint32_t backlog : {511U, 128U, 50U}) {
    CAPTURE(backlog);
    raw_peer peer;
    peer.listen({.backlog = backlog, .syncookies = syncookies::off});
    CHECK(peer.engine().listener(peer.listener).value.backlog == backlog);
    // One more waits for `accept`, as in Linux, and the next finds it full.
    for (std::uint32_t i = 0; i < backlog + 2; ++i) {
      peer.peer_port = static_cast<std::uint16_t>(1000 + i);
      peer.peer_next = peer.peer_iss;
      peer.send_syn({from_port(peer.peer_port)});
      if (i <= backlog) peer.send({seq(1), ack(1)});
      peer.forget();
    }
    const listener_snapshot seen = peer.engine().listener(peer.listener).value;
    CHECK(seen.accept_queue == backlog + 1);
    CHECK(seen.drops == listener_drops{.accept_queue_full_syns = 1});
  }
  raw_peer plain;
  plain.listen();
  CHECK(plain.engine().listener(plain.listener).value.backlog == 4096);
}

TEST_CASE("S31: without cookies the last quarter of max_syn_backlog stays free") {
  const auto cap = [](std::uint32_t max_syn_backlog, syncookies cookies) {
    return admitted({128, max_syn_backlog, 128, 600, 0, 0, 0}, {.syncookies = cookies});
  };
  CHECK(cap(16, syncookies::off) == 13);
  CHECK(cap(128, syncookies::off) == 97);
  CHECK(cap(16, syncookies::on_overflow) == 129);
}

TEST_CASE("S31: a SYN in the free quarter counts as a drop only") {
  raw_peer peer([](host_options& options) { options.policy.max_syn_backlog = 4; });
  peer.listen({.syncookies = syncookies::off});
  for (std::uint16_t port = 1; port <= 6; ++port) peer.send_syn({from_port(port)});
  CHECK(peer.said().size() == 4);
  CHECK(peer.count().req_q_full_drop == 0);
  CHECK(peer.count().listen_drops == 2);
  CHECK(peer.engine().listener(peer.listener).value.drops ==
        listener_drops{.syn_backlog_reserve = 2});
}

TEST_CASE("S29: a SYN beyond the SYN queue is dropped and counted by both names") {
  raw_peer peer;
  peer.listen({.backlog = 1, .syncookies = syncookies::off});
  for (std::uint16_t port = 1; port <= 3; ++port) peer.send_syn({from_port(port)});
  CHECK(peer.said().size() == 2);
  CHECK(peer.count().req_q_full_drop == 1);
  CHECK(peer.count().listen_drops == 1);
  CHECK(peer.count().listen_overflows == 0);
  CHECK(peer.engine().listener(peer.listener).value.drops == listener_drops{.syn_queue_full = 1});
}
