#pragma once

#include <algorithm>
#include <cstdint>

#include "runnel/event.hpp"
#include "runnel/loop.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "runnel/testing/victim.hpp"

namespace runnel::testing::internal {

/// Destroys a victim in a given turn, before anything runs in it.
class killer final : public turn_hook {
 public:
  killer(loop& on, victim& target, std::uint64_t turn) noexcept
      : loop_(&on), target_(&target), turn_(turn) {
    on.attach(*this);
  }
  killer(const killer&) = delete;
  killer& operator=(const killer&) = delete;
  ~killer() { loop_->detach(*this); }

  bool on_receive(time_point) override { return false; }
  void on_timers(time_point) override {
    if (over.is_set()) return;
    if (loop_->metrics().turns >= turn_) {
      killed = !target_->done();
      target_->destroy();
      over.set();
    } else if (target_->done()) {
      over.set();
    }
  }
  bool on_emit(time_point) override { return false; }
  time_point deadline() const noexcept override { return time_point::max(); }

  event over{};
  bool killed = false;

 private:
  loop* loop_;
  victim* target_;
  std::uint64_t turn_;
};

// What the killed one left in the loop comes due in the hour after.
inline task<> stay_behind(killer& by) {
  static_cast<void>(co_await by.over.wait());
  static_cast<void>(co_await sleep(std::chrono::hours{1}));
}

/// Runs the body that `make(loop)` gives with the seed once to its end, and then again and again,
/// each time destroyed in another turn: at most `points` of them, evenly spread.
template <class Make>
void run_killed(Make make, std::uint64_t seed, std::uint64_t points) {
  const loop_options options{.simulated = seed};
  std::uint64_t turns = 0;
  {
    loop driver{options};
    driver.run(make(driver));
    turns = driver.metrics().turns;
  }
  const std::uint64_t step = std::max<std::uint64_t>(1, turns / std::max<std::uint64_t>(1, points));
  for (std::uint64_t turn = 1; turn <= turns; turn += step) {
    loop driver{options};
    victim target = make_victim(make(driver));
    target.start(driver);
    killer by{driver, target, turn};
    driver.run(stay_behind(by));
  }
}

}  // namespace runnel::testing::internal
