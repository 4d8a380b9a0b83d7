#include <cstdlib>

#include "host_pair.hpp"

// What millions of TIME-WAIT entries hold (S88, S94): two hosts, one of which closes first.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t full_count = std::size_t{4} << 20;
constexpr std::size_t full_bytes_v4 = std::size_t{200} << 20;
constexpr std::uint16_t first_local_port = 32'768;
/// Towards one place; a few less than the range has.
constexpr std::size_t local_ports = 28'000;

/// Connections from one address to many listeners, for a port is good for each of them.
struct crowd : host_pair {
  explicit crowd(std::size_t wanted)
      : host_pair(1, {.latency = 10us},
                  [](int, host_options& options) { options.connection.time_wait = 24h; }) {
    keep_trace = false;
    const std::size_t ports = wanted / local_ports + 1;
    for (std::size_t i = 0; i < ports; ++i) {
      listeners.push_back(
          (*this)[server].listen({{}, static_cast<std::uint16_t>(1000 + i)}, {}, 1).value);
    }
  }
  /// One connection to each of the listeners, closed by `closer` first. All of a round have the
  /// same local port, which no other round has: where only the server remembers the old ones, a
  /// client that chooses takes the place of some of them, and never fills the table.
  void round(int closer, std::size_t wanted) {
    REQUIRE(next_local_port < first_local_port + local_ports);
    const net::endpoint local{{}, next_local_port++};
    std::vector<socket_id> ends[2];
    for (std::size_t i = 0; i < std::min(wanted, listeners.size()); ++i) {
      const auto made = (*this)[client].connect(
          {address(server), static_cast<std::uint16_t>(1000 + i)}, {.local = local}, 2, now());
      REQUIRE(made);
      ends[client].push_back(made.value);
    }
    drive_for(100us);
    for (std::size_t i = 0; i < ends[client].size(); ++i) {
      const auto taken = (*this)[server].accept(listeners[i], 3);
      REQUIRE(taken);
      ends[server].push_back(taken.value);
    }
    for (const int side : {closer, 1 - closer}) {
      for (const socket_id id : ends[side]) (*this)[side].release(id, now());
      drive_for(100us);
    }
    for (int side = 0; side < 2; ++side) events_of(side).clear();
  }
  std::size_t waiting() { return (*this)[0].memory().time_wait + (*this)[1].memory().time_wait; }
  std::size_t held_bytes() {
    return (*this)[0].memory().held_bytes + (*this)[1].memory().held_bytes;
  }

  std::vector<socket_id> listeners;
  std::uint16_t next_local_port = first_local_port;
};

}  // namespace

TEST_CASE("tcp S94 TIME-WAIT: an entry takes 48 bytes, 72 with IPv6") {
  const host_pair pair;
  const memory_table held = const_cast<host_pair&>(pair)[0].memory();
  CHECK(held.time_wait_bytes <= 48);
  CHECK(held.time_wait_bytes_v6 <= 72);
}

TEST_CASE("tcp S94 TIME-WAIT: 4 Mi entries are held within 200 MiB") {
  // All of them take a minute; a part tells the same of each.
  const bool all = std::getenv("RUNNEL_LONG") != nullptr;
  const std::size_t count = all ? full_count : full_count / 32;
  const int closer = all ? host_pair::server : host_pair::client;
  crowd pair(count);
  const std::size_t before = pair.held_bytes();
  while (pair.waiting() < count) pair.round(closer, count - pair.waiting());
  CHECK(pair[closer].memory().time_wait == count);
  CHECK(pair[0].memory().connections == 0);
  CHECK(pair[1].memory().connections == 0);
  const std::size_t held = pair.held_bytes();
  const std::size_t full_bytes = speaks_v6() ? full_bytes_v4 / 48 * 72 : full_bytes_v4;
  if (all) CHECK(held <= full_bytes);
  // Memory comes in chunks, so a part may hold some more for each.
  CHECK((held - before) * (full_count / count) + before <= full_bytes);
  MESSAGE(count, " TIME-WAIT entries: ", held, " bytes held");
}
