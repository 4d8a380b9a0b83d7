#include "runnel/testing/trace.hpp"

#include <fcntl.h>

#include <string>

#include "runnel/event.hpp"
#include "runnel/file.hpp"
#include "runnel/random.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;
using runnel::testing::trace_of;

task<> wander(runnel::loop& loop, runnel::event& gate, int number) {
  co_await runnel::sleep(1ms * (number % 3));
  co_await gate.wait();
  co_await runnel::sleep(std::chrono::microseconds{loop.random().below(1000)});
  co_await runnel::with_timeout(1us, runnel::sleep(1h));
}

task<> crowd(runnel::loop& loop, std::uint64_t) {
  runnel::event gate;
  runnel::task_group group{loop};
  for (int i = 0; i < 20; ++i) {
    group.spawn(wander(loop, gate, i));
  }
  co_await runnel::sleep(5ms);
  gate.set();
  co_await group.join();
}

task<> one_sleep(runnel::loop&, std::uint64_t) {
  co_await runnel::sleep(1ms);
}

task<> one_file(runnel::loop&, std::uint64_t) {
  auto opened = co_await runnel::file::open("/dev/null", O_RDONLY);
  CHECK(!opened);
}

// Differs between two runs: what no loop can repeat.
task<> unrepeatable(runnel::loop&, std::uint64_t) {
  static int runs = 0;
  const int times = ++runs;
  for (int i = 0; i < times; ++i) {
    co_await runnel::yield();
  }
}

}  // namespace

TEST_CASE("trace: the same seed gives the same trace, another seed another one") {
  const std::string first = trace_of(&crowd, 7);
  CHECK(first == trace_of(&crowd, 7));
  CHECK(first != trace_of(&crowd, 8));
  CHECK(first != trace_of(&crowd, 0));
  runnel::testing::check_repeatable(&crowd);
}

TEST_CASE("trace: says when, what, and which") {
  CHECK(trace_of(&one_sleep, 0) ==
        "3600.000000000 resumed runnel::detail::starter 0\n"
        "3600.001000000 timers 1\n"
        "3600.001000000 resumed runnel::detail::sleep_awaiter 0\n");
  CHECK(trace_of(&one_file, 0) ==
        "3600.000000000 resumed runnel::detail::starter 0\n"
        "3600.000000000 started open 0\n"
        "3600.000000000 finished open -32767\n"
        "3600.000000000 resumed runnel::detail::open_awaiter 0\n");
}

TEST_CASE("trace: what cannot be repeated is found" * doctest::expected_failures(1)) {
  runnel::testing::check_repeatable(&unrepeatable, {.first = 0, .count = 1});
}

TEST_CASE("trace: an operation that is to fail does, once, without the kernel") {
  class second_fails final : public runnel::loop_observer {
   public:
    void on_entry(const runnel::trace_entry&) noexcept override {}
    int on_operation(std::string_view name, std::uint64_t number) noexcept override {
      CHECK(number == asked++);
      CHECK(name == "open");
      return number == 1 ? EMFILE : 0;
    }
    std::uint64_t asked = 0;
  } observer;
  runnel::loop_options options;
  options.observer = &observer;
  runnel::loop loop{options};
  auto body = []() -> task<> {
    for (int i = 0; i < 3; ++i) {
      auto opened = co_await runnel::file::open("/dev/null", O_RDONLY);
      CHECK(opened.has_value() == (i != 1));
      if (!opened) CHECK(opened.error() == std::errc::too_many_files_open);
    }
  };
  loop.run(body());
  CHECK(observer.asked == 3);
}
