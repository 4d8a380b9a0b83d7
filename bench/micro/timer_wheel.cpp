// The timer wheel among 1,000 and 1,000,000 armed timers: one more armed and cancelled, one moved
// as each acknowledgement does it, and all of them expired, counted for each.

#include <benchmark/benchmark.h>

#include <random>

#include "tcp/engine/slab.hpp"
#include "tcp/engine/timer_wheel.hpp"

using namespace runnel::tcp::detail;

namespace {

struct object {
  std::uint32_t next = 0;
  timer_node node;
};
using objects = slab<object, 4096>;
using wheel = timer_wheel<objects, &object::node>;

/// Timers between 1 ms and two minutes away, as connections have them.
class filled_wheel {
 public:
  explicit filled_wheel(std::int64_t size) : size_(static_cast<std::uint32_t>(size)) {
    // Objects that have been used before have their own nodes' values.
    for (std::uint32_t i = 0; i < size_; ++i) items[items.allocate()].node = {};
    timers.start(now);
    arm_all();
  }

  void arm_all() {
    for (std::uint32_t i = 0; i < size_; ++i) timers.arm(items, i, now + far());
  }
  std::uint64_t far() { return 1 + random_() % longest; }

  static constexpr std::uint64_t longest = 120'000;
  objects items;
  wheel timers;
  std::uint64_t now = 1'000'000;

 private:
  std::mt19937_64 random_{1};
  std::uint32_t size_;
};

void timer_arm_and_cancel(benchmark::State& state) {
  filled_wheel all(state.range(0));
  const std::uint32_t one = all.items.allocate();
  all.items[one].node = {};
  for (auto _ : state) {
    all.timers.arm(all.items, one, all.now + 200);
    all.timers.cancel(all.items, one);
  }
}

void timer_move(benchmark::State& state) {
  filled_wheel all(state.range(0));
  std::uint32_t one = 0;
  std::uint64_t shift = 0;
  for (auto _ : state) {
    all.timers.arm(all.items, one, all.now + 200 + (shift++ & 63));
    one = one + 1 == static_cast<std::uint32_t>(state.range(0)) ? 0 : one + 1;
  }
}

void timer_expire(benchmark::State& state) {
  filled_wheel all(state.range(0));
  for (auto _ : state) {
    all.now += filled_wheel::longest;
    std::int64_t expired = 0;
    all.timers.advance(all.items, all.now, [&](std::uint32_t) { ++expired; });
    if (expired != state.range(0)) state.SkipWithError("a timer did not expire.");
    state.PauseTiming();
    all.arm_all();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

}  // namespace

BENCHMARK(timer_arm_and_cancel)->Arg(1000)->Arg(1'000'000);
BENCHMARK(timer_move)->Arg(1000)->Arg(1'000'000);
BENCHMARK(timer_expire)->Arg(1000)->Arg(1'000'000);
