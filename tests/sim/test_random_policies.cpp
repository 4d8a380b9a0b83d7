#include <cstdlib>

#include "random_policy.hpp"
#include "support/pace.hpp"
#include "tcp/random_programs.hpp"

// Random programs at both ends of a random path, under random policies that change as they run.
// What must hold is looked at after each thing that happens. A failure prints its seed;
// RUNNEL_SEED=n plays that one alone.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::sim;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

class random_life : random_programs<network, dice> {
 public:
  explicit random_life(std::uint64_t seed)
      : random_programs(seed, [seed](dice& from) {
          const bool offload = from.once_in(2);
          const path_options there = from.path();
          const path_options back = from.path();
          return network(seed, there, back, [&](int, host_options& options) {
            from.host(options);
            options.checksum_offload_tx = options.checksum_offload_rx = offload;
          });
        }) {
    net_.sent = [this](const seen_packet& seen) { on_sent(seen); };
    net_.delivered = [this](const seen_packet& seen) { on_delivered(seen); };
    connections_ = static_cast<std::uint16_t>(1 + dice_.below(6));
    largest_write_ = std::size_t{1} << (8 + dice_.below(11));
  }

  void run() {
    for (int i = 0; i < 150; ++i) {
      act();
      if (dice_.once_in(25)) change_something();
      for (std::uint64_t steps = dice_.below(20); steps > 0 && net_.step(); --steps) check();
      if (dice_.once_in(10)) pass_time(dice_.milliseconds(0, 3000));
      accept();
    }
    for (int side = 0; side < 2; ++side) net_.path_from(side).change({.delay = 10ms});
    finish();
    net_.drive_for(4000s);
    check_nothing_left();
  }

 private:
  void act() {
    if (connections_made() < connections_ && (links_.empty() || dice_.once_in(8))) {
      return connect();
    }
    auto at = links_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(dice_.below(links_.size())));
    const int side = static_cast<int>(dice_.below(2));
    program_end& mine = at->second.ends[side];
    if (!mine.owned) return;
    const std::uint64_t what = dice_.below(60);
    if (what < 26) {
      write(at->first, side, 1 + dice_.below(largest_write_));
    } else if (what < 52) {
      read(at->first, side, 1 + dice_.below(largest_write_));
    } else if (what < 54) {
      shutdown(side, mine);
    } else if (what < 56) {
      close(side, mine);
    } else if (what < 57) {
      let_go(side, mine);
    } else if (what < 58) {
      net_[side].set_cork(mine.socket, dice_.once_in(2));
    } else {
      CHECK(net_[side].set_policy(mine.socket, dice_.connection()) == error::none);
    }
  }
  void change_something() {
    const int side = static_cast<int>(dice_.below(2));
    if (dice_.once_in(3)) {
      net_.path_from(side).change(dice_.path());
    } else if (dice_.once_in(2)) {
      stack_policy fresh = net_[side].policy();
      dice_.recovery(fresh);
      CHECK(net_[side].set_policy(fresh) == error::none);
    } else {
      connection_policy fresh = dice_.connection();
      fresh.receive_buffer = net_[side].connection_defaults().receive_buffer;
      CHECK(net_[side].set_connection_defaults(fresh) == error::none);
    }
  }
  void check_nothing_left() {
    for (int side = 0; side < 2; ++side) {
      CAPTURE(side);
      const memory_table held = net_[side].memory();
      CHECK(held.connections == 0);
      CHECK(held.half_open == 0);
      CHECK(held.time_wait == 0);
      CHECK(held.buffer_bytes == 0);
      CHECK(held.flight_bytes == 0);
      CHECK(net_[side].counters().curr_estab == 0);
      CHECK(net_[side].counters().in_csum_errors == 0);
      CHECK(net_[side].poll_timeout() == time_point::max());
    }
    CHECK(!net_.anything_flies());
    CHECK(net_.pool_bytes() == 0);
  }

  std::uint16_t connections_ = 1;
  std::size_t largest_write_ = 0;
};

}  // namespace

TEST_CASE("sim random: no path, program or policy loses a byte, doubles one, or leaves memory") {
  const auto play = [](std::uint64_t seed) {
    INFO("RUNNEL_SEED=", seed);
    try {
      random_life(seed).run();
    } catch (const std::exception& failed) {
      FAIL(std::string(failed.what()));
    }
  };
  if (const char* const wanted = std::getenv("RUNNEL_SEED")) {
    return play(std::strtoull(wanted, nullptr, 0));
  }
  for (std::uint64_t seed = 1; seed <= testing::worthwhile(1000U); ++seed) play(seed);
}
