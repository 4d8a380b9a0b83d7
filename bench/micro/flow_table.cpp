// The look-up table with 10 to 1,000,000 entries: a hit in an order that no cache foresees, a miss,
// and an entry that goes and another one that comes. The hash is not included; see hashes.cpp.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tcp/engine/flow_table.hpp"
#include "tcp/engine/slab.hpp"

using namespace runnel::tcp::detail;

namespace {

struct object {
  std::uint32_t next = 0;
  std::uint64_t hash = 0;
};
using objects = slab<object, 4096>;

struct links {
  objects& of;
  std::uint32_t& next(entry_ref entry) noexcept { return of[entry.index()].next; }
  std::uint64_t hash(entry_ref entry) noexcept { return of[entry.index()].hash; }
};

class filled_table {
 public:
  explicit filled_table(std::int64_t size) {
    for (std::int64_t i = 0; i < size; ++i) {
      const std::uint64_t hash = random_();
      enter(hash);
      order_.push_back(hash);
    }
    std::shuffle(order_.begin(), order_.end(), random_);
  }

  entry_ref find(std::uint64_t hash) noexcept {
    for (chain_link at = table_.first(hash); at;
         at = chain_link(objects_[at.entry().index()].next)) {
      if (at.may_have(hash) && objects_[at.entry().index()].hash == hash) return at.entry();
      if (at.is_last()) break;
    }
    return {};
  }
  void enter(std::uint64_t hash) {
    const std::uint32_t index = objects_.allocate();
    objects_[index].hash = hash;
    table_.insert(links{objects_}, entry_ref(entry_kind::connection, index), hash);
  }
  void leave(std::uint64_t hash) {
    const entry_ref at = find(hash);
    table_.remove(links{objects_}, at, hash);
    objects_.release(at.index());
  }
  const std::vector<std::uint64_t>& order() const { return order_; }
  std::uint64_t random() { return random_(); }

 private:
  std::mt19937_64 random_{1};
  objects objects_;
  flow_table table_;
  std::vector<std::uint64_t> order_;
};

void flow_hit(benchmark::State& state) {
  filled_table table(state.range(0));
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(table.order()[i]));
    if (++i == table.order().size()) i = 0;
  }
}

void flow_miss(benchmark::State& state) {
  filled_table table(state.range(0));
  std::vector<std::uint64_t> strangers(65'536);
  for (std::uint64_t& each : strangers) each = table.random();
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(table.find(strangers[i++ % strangers.size()]));
}

void flow_replace(benchmark::State& state) {
  filled_table table(state.range(0));
  std::vector<std::uint64_t> order = table.order();
  std::size_t i = 0;
  for (auto _ : state) {
    table.leave(order[i]);
    order[i] = table.random();
    table.enter(order[i]);
    if (++i == order.size()) i = 0;
  }
}

}  // namespace

BENCHMARK(flow_hit)->RangeMultiplier(10)->Range(10, 1'000'000);
BENCHMARK(flow_miss)->RangeMultiplier(10)->Range(10, 1'000'000);
BENCHMARK(flow_replace)->RangeMultiplier(10)->Range(10, 1'000'000);
