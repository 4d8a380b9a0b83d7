// Stalls are measured with a clock of the test's own, so that no machine is too slow or too fast.

#include "runnel/stall.hpp"

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timer.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::loop;
using runnel::loop_options;
using runnel::stall_report;
using runnel::task;

std::atomic<runnel::duration::rep> clock_ticks{0};
std::atomic<int> reads_by_others{0};
std::atomic<std::thread::id> own_thread{};

runnel::time_point test_clock() noexcept {
  if (std::this_thread::get_id() != own_thread.load()) ++reads_by_others;
  return runnel::time_point{runnel::duration{clock_ticks.load()}};
}

void pass(runnel::duration time) {
  clock_ticks += time.count();
}

loop_options options_with(std::vector<stall_report>& reports, runnel::duration threshold = 10ms) {
  own_thread = std::this_thread::get_id();
  loop_options options;
  options.simulated = 0;
  options.stall_threshold = threshold;
  options.stall_clock = &test_clock;
  options.on_stall = [&reports](const stall_report& report) { reports.push_back(report); };
  return options;
}

constexpr unsigned before_line = __LINE__ + 2;
task<> hold_for(runnel::duration time) {
  co_await runnel::yield();
  pass(time);
  co_await runnel::yield();
}

task<> hold_at_once(runnel::duration time) {
  pass(time);
  co_return;
}

class holding_timer final : public runnel::timer {
 public:
  using timer::timer;

 private:
  void on_expire() noexcept override { pass(30ms); }
};

}  // namespace

TEST_CASE("stall: a task that holds the loop is told with the await that it went on from") {
  std::vector<stall_report> reports;
  loop loop{options_with(reports)};
  loop.run(hold_for(9ms));
  CHECK(reports.empty());
  CHECK(loop.metrics().stalls == 0);
  CHECK(loop.metrics().longest_callback == 9ms);
  loop.run(hold_for(10ms));
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].what == stall_report::kind::task);
  CHECK(reports[0].from.line() == before_line);
  CHECK(reports[0].length == 10ms);
  CHECK(!reports[0].running);
  CHECK(loop.metrics().stalls == 1);
  CHECK(loop.metrics().longest_callback == 10ms);
  CHECK(reports[0].to_string() ==
        "runnel: the loop was held for 10.0 ms by a task that went on from hold_for at "
        "stall_test.cpp:" +
            std::to_string(before_line));
}

TEST_CASE("stall: the first run of a task is told with where it was spawned") {
  std::vector<stall_report> reports;
  loop loop{options_with(reports)};
  loop.run(hold_at_once(20ms));
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].what == stall_report::kind::first_run);
  CHECK(reports[0].from.line() == 0);
  auto body = [](runnel::loop& l, unsigned& line) -> task<> {
    runnel::task_group group{l};
    line = __LINE__ + 1;
    group.spawn(hold_at_once(20ms));
    co_await group.join();
  };
  unsigned spawn_line = 0;
  loop.run(body(loop, spawn_line));
  REQUIRE(reports.size() == 2);
  CHECK(reports[1].what == stall_report::kind::first_run);
  CHECK(reports[1].from.line() == spawn_line);
  CHECK(
      reports[1].to_string().ends_with("spawned at stall_test.cpp:" + std::to_string(spawn_line)));
}

TEST_CASE("stall: timers and hooks are measured too") {
  std::vector<stall_report> reports;
  loop loop{options_with(reports)};
  holding_timer timer{loop};
  timer.arm(loop.now() + 1ms);
  auto body = []() -> task<> { co_await runnel::sleep(2ms); };
  loop.run(body());
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].what == stall_report::kind::callbacks);
  CHECK(reports[0].length == 30ms);
}

TEST_CASE("stall: what the report itself takes is nobody's stall") {
  std::vector<stall_report> reports;
  loop_options options = options_with(reports);
  options.on_stall = [&reports](const stall_report& report) {
    reports.push_back(report);
    pass(1h);
  };
  loop loop{options};
  loop.run(hold_for(10ms));
  CHECK(reports.size() == 1);
}

TEST_CASE("stall: without a callback the log is told") {
  std::vector<stall_report> unused;
  std::vector<std::string> lines;
  loop_options options = options_with(unused);
  options.on_stall = nullptr;
  options.log = [&lines](std::string_view line) { lines.emplace_back(line); };
  loop loop{options};
  loop.run(hold_for(10ms));
  REQUIRE(lines.size() == 2);
  CHECK(lines[1].starts_with("runnel: the loop was held for 10.0 ms by a task"));
}

TEST_CASE("stall: nothing is measured unless it is asked for") {
  loop_options options;
  options.simulated = 0;
  options.stall_clock = []() noexcept -> runnel::time_point { std::abort(); };
  loop loop{options};
  loop.run(hold_for(1h));
  CHECK(loop.metrics().longest_callback == 0ns);
}

namespace {

struct stuck_reports {
  std::atomic<int> count{0};
  stall_report last;
};

constexpr unsigned stuck_line = __LINE__ + 2;
task<> hold_until_told(runnel::duration time, stuck_reports& reports, int wanted) {
  co_await runnel::yield();
  pass(time);
  while (reports.count.load() < wanted) {
    std::this_thread::yield();
  }
  co_await runnel::yield();
}

runnel::watchdog_options watching(stuck_reports& reports) {
  runnel::watchdog_options options;
  // The watchdog looks four times in this real time; whether it barks is up to the test's clock.
  options.patience = 20ms;
  options.on_stuck = [&reports](const stall_report& report) {
    reports.last = report;
    ++reports.count;
  };
  return options;
}

loop_options watched_options() {
  own_thread = std::this_thread::get_id();
  loop_options options;
  options.simulated = 0;
  options.stall_clock = &test_clock;
  return options;
}

}  // namespace

TEST_CASE("watchdog: tells of a loop that is stuck while it is stuck") {
  stuck_reports reports;
  loop loop{watched_options()};
  const runnel::watchdog dog{loop, watching(reports)};
  loop.run(hold_until_told(2s, reports, 1));
  REQUIRE(reports.count.load() == 1);
  CHECK(reports.last.running);
  CHECK(reports.last.what == stall_report::kind::task);
  CHECK(reports.last.from.line() == stuck_line);
  CHECK(reports.last.length == 2s);
  CHECK(reports.last.to_string().starts_with("runnel: the loop has been held for 2.0 s by a task"));
}

TEST_CASE("watchdog: tells again when the time has doubled") {
  stuck_reports reports;
  loop loop{watched_options()};
  const runnel::watchdog dog{loop, watching(reports)};
  auto body = [](stuck_reports& to) -> task<> {
    co_await runnel::yield();
    for (int told = 0; told < 3; ++told) {
      pass(told == 0 ? 1s : 1s * (1 << (told - 1)));
      while (to.count.load() <= told) {
        std::this_thread::yield();
      }
    }
  };
  loop.run(body(reports));
  CHECK(reports.count.load() == 3);
  CHECK(reports.last.length == 4s);
}

TEST_CASE("watchdog: a loop that only works is left alone") {
  stuck_reports reports;
  loop loop{watched_options()};
  const runnel::watchdog dog{loop, watching(reports)};
  auto body = []() -> task<> {
    co_await runnel::yield();
    pass(19ms);
    // It looks at its clock only while something runs.
    const int before = reads_by_others.load();
    while (reads_by_others.load() < before + 3) {
      std::this_thread::yield();
    }
  };
  loop.run(body());
  CHECK(reports.count.load() == 0);
}

TEST_CASE("watchdog: may come and go, and beside a stall threshold") {
  stuck_reports stuck;
  std::vector<stall_report> stalls;
  loop loop{options_with(stalls)};
  {
    const runnel::watchdog dog{loop, watching(stuck)};
    loop.run(hold_until_told(2s, stuck, 1));
  }
  loop.run(hold_for(2s));
  CHECK(stuck.count.load() == 1);
  CHECK(stalls.size() == 2);
}

TEST_CASE("watchdog: one that is made by a task measures from there") {
  stuck_reports stuck;
  loop loop{watched_options()};
  auto body = [](runnel::loop& on, stuck_reports& reports) -> task<> {
    const runnel::watchdog dog{on, watching(reports)};
    co_await runnel::yield();
  };
  loop.run(body(loop, stuck));
  CHECK(stuck.count.load() == 0);
  CHECK(loop.metrics().longest_callback < 1h);
}
