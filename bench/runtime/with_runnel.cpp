// runnel's side of the runtime's figures; the cases and their shapes are those of with_asio.cpp.

#include "figures.hpp"

#include <runnel/loop.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timer.hpp>

#include <deque>

namespace {

using runnel::task;
using runnel::task_group;

task<> nothing() {
  co_return;
}

task<> spawn_many(runnel::loop& loop, std::uint64_t count) {
  task_group group{loop};
  for (std::uint64_t i = 0; i < count; ++i) {
    group.spawn(nothing());
    if (i % 64 == 63) co_await runnel::yield();
  }
  co_await group.join();
}

task<> call_many(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await nothing();
  }
}

task<> switch_many(std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await runnel::yield();
  }
}

class silent_timer final : public runnel::timer {
 public:
  using timer::timer;

 private:
  void on_expire() noexcept override {}
};

void timers(runnel::loop& loop, std::uint64_t count) {
  std::deque<silent_timer> all;
  for (std::uint64_t i = 0; i < count; ++i) {
    all.emplace_back(loop);
  }
  const auto begin = figures::clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    all[i].arm(loop.now() + std::chrono::milliseconds{1000 + i % 60000});
  }
  figures::print_each("timer_arm", begin, count);
  const auto armed = figures::clock::now();
  for (silent_timer& timer : all) {
    timer.cancel();
  }
  figures::print_each("timer_cancel", armed, count);
  figures::print_each("timer_both", begin, count);
}

task<> two(runnel::loop& loop, task<> left, task<> right) {
  task_group group{loop};
  group.spawn(std::move(left));
  group.spawn(std::move(right));
  co_await group.join();
}

void measure(runnel::loop& loop, const char* name, std::uint64_t count, task<> body) {
  const auto begin = figures::clock::now();
  loop.run(std::move(body));
  figures::print_each(name, begin, count);
}

}  // namespace

int main(int argc, char** argv) {
  const figures::request asked = figures::parse(argc, argv);
  const std::uint64_t count = asked.count;
  runnel::loop loop;
  if (asked.name == "spawn") {
    measure(loop, "spawn", count, spawn_many(loop, count));
  } else if (asked.name == "call") {
    measure(loop, "call", count, call_many(count));
  } else if (asked.name == "switch") {
    measure(loop, "switch", 2 * count, two(loop, switch_many(count), switch_many(count)));
  } else if (asked.name == "timers") {
    timers(loop, count);
  } else {
    figures::unknown(asked);
  }
}
