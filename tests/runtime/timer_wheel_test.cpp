#include "runnel/detail/timer_wheel.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/random.hpp"
#include "runnel/sleep.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::duration;
using runnel::time_point;

class recorder final : public runnel::timer {
 public:
  recorder(runnel::loop& loop, std::vector<int>& log, int number)
      : runnel::timer(loop), log_(&log), number_(number) {}

  void on_expire() noexcept override {
    on_time = on_time && owner().now() == deadline();
    log_->push_back(number_);
  }

  bool on_time = true;

 private:
  std::vector<int>* log_;
  int number_;
};

}  // namespace

TASK_TEST("timer: fires in the order of deadlines, never early, none left out") {
  runnel::random_source random{42 + seed};
  std::vector<int> fired;
  std::vector<std::unique_ptr<recorder>> timers;
  std::vector<std::pair<time_point, int>> expected;
  time_point last = loop.now();
  for (int i = 0; i < 5000; ++i) {
    timers.push_back(std::make_unique<recorder>(loop, fired, i));
    auto span = static_cast<std::int64_t>(random() >> (20 + random.below(40)));
    time_point deadline = loop.now() + duration{span};
    timers.back()->arm(deadline);
    if (random.below(4) == 0) {
      timers.back()->cancel();
    } else {
      expected.emplace_back(deadline, i);
      last = std::max(last, deadline);
    }
  }
  co_await runnel::sleep_until(last + 1s);
  std::sort(expected.begin(), expected.end());
  REQUIRE(fired.size() == expected.size());
  bool in_order = true;
  bool on_time = true;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    in_order = in_order && fired[i] == expected[i].second;
    on_time = on_time && timers[static_cast<std::size_t>(fired[i])]->on_time;
  }
  CHECK(in_order);
  CHECK(on_time);
}

TASK_TEST("timer: moving one forgets its old deadline, max() is never") {
  std::vector<int> fired;
  recorder moved{loop, fired, 1};
  recorder never{loop, fired, 2};
  moved.arm(loop.now() + 1s);
  moved.arm(loop.now() + 3s);
  never.arm(loop.now() + 1s);
  never.arm(time_point::max());
  CHECK(!never.armed());
  co_await runnel::sleep(2s);
  CHECK(fired.empty());
  co_await runnel::sleep(2s);
  CHECK(fired == std::vector<int>{1});
  CHECK(!moved.armed());
}

TASK_TEST("timer: a deadline in the past fires in the next turn, again and again") {
  class restless final : public runnel::timer {
   public:
    explicit restless(runnel::loop& l) : timer(l) {}
    void on_expire() noexcept override {
      if (++count < 5) arm(owner().now() - 1s);
    }
    int count = 0;
  };
  restless t{loop};
  std::uint64_t turns = loop.metrics().turns;
  t.arm(loop.now() - 1h);
  co_await runnel::sleep(1ns);
  while (t.count < 5) {
    co_await runnel::yield();
  }
  CHECK(loop.metrics().turns - turns >= 5);
}

TASK_TEST("timer: many that share a far slot cost few needless turns") {
  std::vector<int> fired;
  std::vector<std::unique_ptr<recorder>> timers;
  for (int i = 0; i < 1000; ++i) {
    timers.push_back(std::make_unique<recorder>(loop, fired, i));
    timers.back()->arm(loop.now() + 60s + i * 1ns);
  }
  std::uint64_t turns = loop.metrics().turns;
  co_await runnel::sleep(60s);
  CHECK(loop.metrics().turns - turns <= 11);
}
