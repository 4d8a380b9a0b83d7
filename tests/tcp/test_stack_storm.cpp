#include <algorithm>

#include "runnel/shield.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// Random programs on a rough link: connections that are read, written, half-closed, closed,
// aborted, dropped and cancelled at random moments. What arrives is a prefix of what was written,
// nothing stands still for ever, and nothing is left behind.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

struct storm {
  storm(loop& on, std::uint64_t number) : owner(on), text(pattern(60'000)), seed(number) {}

  bool one_in(std::uint32_t n) { return owner.random().below(n) == 0; }
  duration some_time(std::uint32_t below_us) {
    return std::chrono::microseconds(static_cast<std::int64_t>(owner.random().below(below_us)));
  }

  loop& owner;
  const std::string text;
  std::uint64_t seed;
  int ended = 0;
};

/// Reads; every byte must be the one that was written at its place.
task<> read_some(storm& s, tcp::stream& from) {
  std::size_t place = 0;
  std::vector<std::byte> buffer(1 + s.owner.random().below(8'000));
  const std::uint64_t reads = s.owner.random().below(200);
  for (std::uint64_t i = 0; i < reads; ++i) {
    const auto ready = co_await with_timeout(s.some_time(50'000), from.readable());
    if (!ready && ready.error() != errc::deadline_exceeded) co_return;
    const auto got = co_await with_timeout(s.some_time(50'000), from.read(buffer));
    if (!got && got.error() == errc::deadline_exceeded) continue;
    if (!got || *got == 0) co_return;
    REQUIRE(place + *got <= s.text.size());
    REQUIRE(std::memcmp(buffer.data(), s.text.data() + place, *got) == 0);
    place += *got;
  }
}

task<> write_some(storm& s, tcp::stream& to) {
  std::size_t place = 0;
  while (place < s.text.size() && !s.one_in(20)) {
    const std::size_t size =
        std::min<std::size_t>(1 + s.owner.random().below(20'000), s.text.size() - place);
    const auto sent = co_await with_timeout(s.some_time(100'000),
                                            to.write(bytes_of(s.text).subspan(place, size)));
    if (!sent && sent.error() == errc::deadline_exceeded) continue;
    if (!sent) co_return;
    place += *sent;
    if (s.one_in(4)) co_await sleep(s.some_time(20'000));
  }
  if (s.one_in(2)) to.shutdown();
  if (s.one_in(3)) co_await with_timeout(s.some_time(500'000), to.drained());
}

task<> use(storm& s, tcp::stream given) {
  tcp::stream at = std::move(given);
  task_group group{s.owner, on_failure::collect};
  group.spawn(read_some(s, at));
  group.spawn(write_some(s, at));
  if (s.one_in(4)) {
    co_await sleep(s.some_time(300'000));
    switch (s.owner.random().below(3)) {
      case 0:
        at.abort();
        break;
      case 1:
        co_await with_timeout(s.some_time(100'000), at.close());
        break;
      default:
        group.cancel();
        break;
    }
  }
  co_await group.join();
  switch (s.owner.random().below(4)) {
    case 0:
      break;
    case 1:
      at.abort();
      break;
    default:
      co_await with_timeout(s.some_time(2'000'000), at.close());
      break;
  }
  ++s.ended;
}

task<> serve(storm& s, tcp::listener& on, task_group& group) {
  for (;;) {
    if (s.one_in(3)) co_await sleep(s.some_time(30'000));
    auto accepted = co_await with_timeout(s.some_time(100'000), on.accept());
    if (accepted) {
      group.spawn(use(s, std::move(*accepted)));
    } else if (accepted.error() != errc::deadline_exceeded) {
      co_return;
    }
  }
}

task<> visit(storm& s, tcp::stack& from) {
  co_await sleep(s.some_time(1'000'000));
  auto connected = co_await with_timeout(s.some_time(3'000'000), from.connect(server_endpoint));
  if (connected) co_await use(s, std::move(*connected));
}

task<> run_storm(loop& on, storm& s) {
  tcp::connection_policy policy;
  policy.send_buffer = static_cast<std::uint32_t>(5'000 + s.owner.random().below(100'000));
  policy.receive_buffer = static_cast<std::uint32_t>(5'000 + s.owner.random().below(100'000));
  policy.time_wait = 1s;
  policy.fin_timeout = 5s;
  network both(on, policy, {.queue_packets = 1 + s.owner.random().below(200), .latency = 1ms});
  net::impairment rough;
  rough.loss = 0.02;
  rough.duplicate = 0.02;
  rough.reorder = 0.05;
  rough.reorder_delay = 3ms;
  rough.corrupt = 0.01;
  both.cutter.set_outgoing(rough);
  both.cutter.set_incoming(rough);
  tcp::listener_policy narrow;
  narrow.backlog = 4;
  auto listener = both.listen(narrow);
  task_group servers{on, on_failure::collect};
  task_group clients{on, on_failure::collect};
  servers.spawn(serve(s, listener, servers));
  for (int i = 0; i < 30; ++i) clients.spawn(visit(s, both.client));
  co_await clients.join();
  listener.close();
  co_await servers.join();
  const auto client_idle = co_await with_timeout(30min, both.client.idle());
  CHECK(client_idle.has_value());
  const auto server_idle = co_await with_timeout(30min, both.server.idle());
  CHECK(server_idle.has_value());
  co_await sleep(5min);
  for (const tcp::stack* each : {&both.client, &both.server}) {
    const tcp::memory_table held = each->engine().memory();
    CHECK(held.connections == 0);
    CHECK(held.half_open == 0);
    CHECK(held.time_wait == 0);
    CHECK(held.buffer_bytes == 0);
    CHECK(each->engine().counters().curr_estab == 0);
  }
}

}  // namespace

TEST_CASE("tcp storm: random programs on a rough link end, for many seeds, the same each time") {
  int ended_in_all = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    std::uint64_t resumed[2];
    for (std::uint64_t& count : resumed) {
      loop driver{{.simulated = seed}};
      storm s(driver, seed);
      driver.run(run_storm(driver, s));
      ended_in_all += s.ended;
      count = driver.metrics().resumed;
    }
    CHECK(resumed[0] == resumed[1]);
  }
  CHECK(ended_in_all > 2'000);
}
