#include <array>
#include <deque>
#include <random>

#include "packets.hpp"
#include "runnel/wire/coalesce.hpp"

// An engine behind `wire::coalesce` hears of the same stream as one that is not.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

struct outcome_of_run {
  std::string received;
  std::uint64_t packets_to_server = 0;
  std::uint64_t acknowledgements = 0;
  std::uint64_t bytes_counted = 0;
};

/// A client sends to a server, over a wire with faults that gives its packets in bursts. What the
/// server gets goes through `coalesce` when it `joins`.
outcome_of_run transfer(std::uint64_t seed, bool joins, const std::string& what, int loss,
                        int reorder) {
  std::mt19937_64 random(seed);
  const auto chance = [&](int percent) {
    return random() % 100 < static_cast<std::uint64_t>(percent);
  };
  const auto make = [&](std::uint8_t last, std::uint64_t keys) {
    host_options options;
    options.addresses = {net::address::v4(10, 0, 0, last)};
    options.keys = keys_from(keys);
    // What `coalesce` says of its own packets.
    options.checksum_offload_rx = last == 2;
    return host(std::move(options));
  };
  net::packet_pool pool;
  outcome_of_run out;
  host client = make(1, seed);
  host server = make(2, seed + 1);
  time_point now(1000s);
  const socket_id listener = server.listen({{}, 80}, {}, 1).value;
  const socket_id from = client.connect({net::address::v4(10, 0, 0, 2), 80}, {}, 2, now).value;
  socket_id to;
  bool accepted = false;
  std::size_t given = 0;
  std::deque<net::packet> flying;
  std::deque<net::packet> back;
  for (int turn = 0; turn < 200'000 && out.received.size() < what.size(); ++turn) {
    now += 1ms;
    std::vector<net::packet> burst;
    while (!flying.empty() && burst.size() < 64) {
      burst.push_back(std::move(flying.front()));
      flying.pop_front();
    }
    std::size_t left = burst.size();
    if (joins) left = wire::coalesce(burst, pool);
    out.packets_to_server += left;
    for (std::size_t i = 0; i < left; ++i) server.on_packet(std::move(burst[i]), now);
    for (; !back.empty(); back.pop_front()) client.on_packet(std::move(back.front()), now);
    for (host* each : {&client, &server}) {
      if (each->poll_timeout() <= now) each->on_timeout(now);
      socket_event happened;
      while (each->poll_event(happened)) {
      }
    }
    if (!accepted) {
      const auto got = server.accept(listener, 3);
      if (got) to = got.value;
      accepted = static_cast<bool>(got);
    }
    if (accepted && given < what.size()) {
      given += client.send(from, bytes_of(std::string_view(what).substr(given)), now).value;
    }
    if (accepted) out.received += receive_all(server, to, now);
    while (const net::tx_packet* packet = client.poll_transmit(now)) {
      net::packet copy = flatten(pool, *packet);
      if (chance(loss)) continue;
      const bool early = chance(reorder) && !flying.empty();
      flying.insert(early ? std::prev(flying.end()) : flying.end(), std::move(copy));
    }
    while (const net::tx_packet* packet = server.poll_transmit(now)) {
      ++out.acknowledgements;
      back.push_back(flatten(pool, *packet));
    }
  }
  out.bytes_counted = accepted ? server.snapshot(to).value.traffic.bytes_received : 0;
  for (host* each : {&client, &server}) CHECK(each->counters().in_csum_errors == 0);
  client.close(from, close_mode::abort, now);
  server.close(to, close_mode::abort, now);
  return out;
}

}  // namespace

TEST_CASE("tcp gro: the same bytes arrive in fewer packets, with no more acknowledgements") {
  const std::string what = numbered_text(3'000'000);
  const outcome_of_run plain = transfer(1, false, what, 0, 0);
  const outcome_of_run joined = transfer(1, true, what, 0, 0);
  CHECK(plain.received == what);
  CHECK(joined.received == what);
  CHECK(joined.bytes_counted == what.size());
  CHECK(joined.packets_to_server * 4 < plain.packets_to_server);
  CHECK(joined.acknowledgements <= plain.acknowledgements);
}

TEST_CASE("tcp gro: whatever the path loses and reorders, every byte arrives in its place") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    const std::string what = numbered_text(200'000, seed);
    const int loss = static_cast<int>(seed % 4) * 2;
    const int reorder = static_cast<int>(seed / 4 % 3) * 10;
    CHECK(transfer(seed, true, what, loss, reorder).received == what);
  }
}
