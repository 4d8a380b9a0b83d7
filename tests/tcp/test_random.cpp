#include <cstdlib>

#include "host_pair.hpp"
#include "random_programs.hpp"
#include "support/pace.hpp"
#include "tests/fuzz/engine_fuzz.hpp"

// Random programs: of two applications over a rough wire, and of packets for one host. A failure
// prints its seed; RUNNEL_SEED=n plays that one alone.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// Calls `play` for each seed.
template <class Play>
void for_each_seed(std::uint64_t count, Play&& play) {
  const char* const wanted = std::getenv("RUNNEL_SEED");
  if (wanted != nullptr) {
    play(std::strtoull(wanted, nullptr, 0));
    return;
  }
  for (std::uint64_t seed = 1; seed <= testing::worthwhile(count); ++seed) {
    INFO("RUNNEL_SEED=", seed);
    play(seed);
  }
}

class seeded_dice {
 public:
  explicit seeded_dice(std::uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15U) {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool once_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

class random_program : random_programs<host_pair, seeded_dice> {
 public:
  explicit random_program(std::uint64_t seed)
      : random_programs(seed, [seed](seeded_dice& dice) {
          return host_pair(seed, {}, [&](int, host_options& options) { adjust(dice, options); });
        }) {
    net_.keep_trace = false;
    net_.faults.latency = 1ms * static_cast<int>(1 + dice_.below(50));
    net_.faults.loss = static_cast<double>(dice_.below(3)) * 0.05;
    net_.faults.duplicate = static_cast<double>(dice_.below(3)) * 0.05;
    net_.faults.reorder = static_cast<double>(dice_.below(3)) * 0.2;
    net_.filter = [this](const seen_packet& seen) {
      on_sent(seen);
      return true;
    };
    net_.delivered = [this](const seen_packet& seen) { on_delivered(seen); };
  }

  void run() {
    for (int i = 0; i < 120; ++i) {
      act();
      for (std::uint64_t steps = dice_.below(6); steps > 0; --steps) net_.step();
      if (dice_.once_in(8)) net_.drive_for(1ms * static_cast<int>(dice_.below(3000)));
      accept();
      check();
    }
    net_.faults = {.latency = net_.faults.latency};
    finish();
    net_.check_nothing_left();
  }

 private:
  static void adjust(seeded_dice& dice, host_options& options) {
    constexpr std::uint32_t buffers[] = {4096, 20'000, 100'000, 1U << 20};
    options.connection.receive_buffer = buffers[dice.below(4)];
    options.connection.send_buffer = 4608 + buffers[dice.below(4)];
    options.connection.nodelay = dice.below(2) == 0;
    options.policy.timestamps = dice.below(4) != 0;
    options.policy.window_scaling = dice.below(4) != 0;
    options.policy.sack = dice.below(2) != 0;
    options.mtu = dice.below(3) == 0 ? small_mtu(576) : 1500;
    options.gso_max_bytes = dice.below(3) == 0 ? 60'000 : 0;
  }

  void act() {
    if (connections_made() < 8 && dice_.once_in(6)) {
      return connect(net_[client].connection_defaults());
    }
    if (links_.empty()) return;
    auto at = links_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(dice_.below(links_.size())));
    const int side = static_cast<int>(dice_.below(2));
    program_end& mine = at->second.ends[side];
    if (!mine.owned) return;
    const std::uint64_t what = dice_.below(40);
    if (what < 16) {
      write(at->first, side, 1 + dice_.below(30'000));
    } else if (what < 34) {
      read(at->first, side, 1 + dice_.below(30'000));
    } else if (what < 37) {
      shutdown(side, mine);
    } else if (what < 39) {
      close(side, mine);
    } else {
      let_go(side, mine);
    }
  }
};

}  // namespace

TEST_CASE("tcp random: programs of two applications over a rough wire keep every promise") {
  for_each_seed(400, [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    random_program(seed).run();
  });
}

TEST_CASE("tcp fuzz: programs of packets, garbage and near misses, do a host no harm") {
  for_each_seed(400, [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    std::mt19937_64 random(seed);
    std::vector<std::byte> bytes(4000);
    for (std::byte& each : bytes) each = static_cast<std::byte>(random());
    CHECK_NOTHROW(fuzz::fuzz_engine(bytes));
  });
}
