#include "runnel/runtime.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "runnel/call.hpp"
#include "runnel/event.hpp"
#include "runnel/signal.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/death_test.hpp"
#include "support/pace.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::loop_remote;
using runnel::result;
using runnel::runtime;
using runnel::task;

runnel::runtime_options with_threads(unsigned count) {
  runnel::runtime_options options;
  options.threads = count;
  return options;
}

task<result<void>> sleeps_for_ever(runnel::loop&, std::size_t) {
  co_return co_await runnel::sleep(24h);
}

task<std::size_t> index_of(runnel::loop&, std::size_t index) {
  co_await runnel::yield();
  co_return index;
}

// The sanitizers have threads of their own.
std::size_t threads_of_loops() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string name;
    std::ifstream{entry.path() / "comm"} >> name;
    if (name.starts_with("runnel/")) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("runtime: runs one task on each loop and gives their values in the loops' order") {
  runtime cores{with_threads(3)};
  CHECK(cores.size() == 3);
  CHECK(cores.remotes().size() == 3);
  std::vector<std::size_t> values = cores.run(index_of);
  CHECK(values == std::vector<std::size_t>{0, 1, 2});
  auto doubles = [](runnel::loop&, std::size_t index) -> task<result<std::size_t>> {
    co_return index + index;
  };
  result<std::vector<std::size_t>> doubled = cores.run(doubles);
  CHECK(doubled.value() == std::vector<std::size_t>{0, 2, 4});
  std::atomic<int> runs{0};
  auto counts = [&runs](runnel::loop& here, std::size_t) {
    auto body = [](std::atomic<int>& n, runnel::loop& expected) -> task<> {
      runnel::loop& mine = co_await runnel::this_loop();
      CHECK(&mine == &expected);
      ++n;
    };
    return body(runs, here);
  };
  cores.run(counts);
  CHECK(runs == 3);
}

TEST_CASE("runtime: each loop has its own thread, its name, and its core") {
  struct seen {
    std::thread::id id;
    std::string name;
    int cores = 0;
  };
  runnel::runtime_options options = with_threads(2);
  options.name = "a-rather-long-name";
  runtime cores{options};
  auto look = [](runnel::loop&, std::size_t) -> task<seen> {
    seen s;
    s.id = std::this_thread::get_id();
    char name[16] = {};
    ::pthread_getname_np(::pthread_self(), name, sizeof name);
    s.name = name;
    cpu_set_t set;
    CPU_ZERO(&set);
    ::sched_getaffinity(0, sizeof set, &set);
    s.cores = CPU_COUNT(&set);
    co_return s;
  };
  std::vector<seen> all = cores.run(look);
  CHECK(all[0].id != all[1].id);
  CHECK(all[0].id != std::this_thread::get_id());
  CHECK(all[0].name == "a-rather-long/0");
  CHECK(all[1].name == "a-rather-long/1");
  CHECK(all[0].cores == 1);
  options.pin = false;
  runtime loose{options};
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  all = loose.run(look);
  CHECK(all[1].cores == CPU_COUNT(&set));
}

TEST_CASE("runtime: by default there is a loop for each allowed core") {
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(::sched_getaffinity(0, sizeof set, &set) == 0);
  runtime cores;
  CHECK(cores.size() == static_cast<std::size_t>(CPU_COUNT(&set)));
}

TEST_CASE("runtime: the first failure cancels the tasks of the other loops and is given") {
  runtime cores{with_threads(3)};
  auto one_fails = [](runnel::loop& here, std::size_t index) -> task<result<void>> {
    if (index != 1) return sleeps_for_ever(here, index);
    auto refuse = []() -> task<result<void>> {
      co_await runnel::yield();
      co_return std::make_error_code(std::errc::address_in_use);
    };
    return refuse();
  };
  result<void> ended = cores.run(one_fails);
  CHECK(ended.error() == std::errc::address_in_use);
  auto one_throws = [](runnel::loop& here, std::size_t index) -> task<result<void>> {
    if (index != 2) return sleeps_for_ever(here, index);
    throw std::runtime_error("no task");
  };
  CHECK_THROWS_AS(cores.run(one_throws), std::runtime_error);
  // Neither left anything behind.
  CHECK(cores.run(index_of).size() == 3);
}

TEST_CASE("runtime: a failure while all fail at once gives one of them") {
  runtime cores{with_threads(4)};
  for (int round = 0; round < runnel::testing::worthwhile(200); ++round) {
    auto fails = [](runnel::loop&, std::size_t index) -> task<result<int>> {
      if (index % 2 == 0) co_await runnel::yield();
      co_return std::make_error_code(std::errc::connection_reset);
    };
    result<std::vector<int>> ended = cores.run(fails);
    CHECK(ended.error() == std::errc::connection_reset);
  }
}

TEST_CASE("runtime: request_stop from a thread cancels all, and all later runs from the start") {
  for (int round = 0; round < runnel::testing::worthwhile(100); ++round) {
    runtime cores{with_threads(2)};
    std::thread other{[&cores] { cores.request_stop(); }};
    result<void> ended = cores.run(sleeps_for_ever);
    CHECK(ended.error() == errc::cancelled);
    other.join();
    CHECK(cores.stop_requested());
    ended = cores.run(sleeps_for_ever);
    CHECK(ended.error() == errc::cancelled);
  }
}

TEST_CASE("runtime: a signal that one loop handles stops all") {
  runtime cores{with_threads(3)};
  auto root = [&cores](runnel::loop& here, std::size_t index) {
    auto waits = [](runtime& all, runnel::loop& mine) -> task<result<void>> {
      runnel::signal_set signals{mine, {SIGUSR2}};
      ::raise(SIGUSR2);
      result<int> number = co_await signals.wait();
      CHECK(number.value() == SIGUSR2);
      all.request_stop();
      co_return co_await runnel::sleep(24h);
    };
    return index == 0 ? waits(cores, here) : sleeps_for_ever(here, index);
  };
  result<void> ended = cores.run(root);
  CHECK(ended.error() == errc::cancelled);
}

TEST_CASE("runtime: a loop whose task is done still serves the others") {
  runtime cores{with_threads(2)};
  std::atomic<bool> first_done{false};
  auto root = [&](runnel::loop&, std::size_t index) {
    auto body = [](std::atomic<bool>& done, loop_remote first, bool caller) -> task<int> {
      if (!caller) {
        done = true;
        co_return 0;
      }
      while (!done) {
        co_await runnel::yield();
      }
      int sum = 0;
      for (int i = 0; i < 50; ++i) {
        result<int> one = co_await runnel::call(first, [] { return 1; });
        sum += one.value();
      }
      co_return sum;
    };
    return body(first_done, cores.remotes()[0], index == 1);
  };
  std::vector<int> values = cores.run(root);
  CHECK(values[1] == 50);
}

TEST_CASE("runtime: every loop calls every other, with threads posting in between") {
  runtime cores{with_threads(3)};
  constexpr int rounds = runnel::testing::worthwhile(1'000);
  std::atomic<int> posted{0};
  std::vector<std::thread> strangers;
  for (int i = 0; i < 2; ++i) {
    strangers.emplace_back([&cores, &posted] {
      for (int n = 0; n < rounds; ++n) {
        const auto& to = cores.remotes()[static_cast<std::size_t>(n) % 3];
        CHECK(to.post([&posted] { ++posted; }).has_value());
      }
    });
  }
  auto root = [&cores](runnel::loop&, std::size_t index) {
    auto body = [](runtime& all, std::size_t me, int times) -> task<int> {
      int sum = 0;
      for (int i = 0; i < times; ++i) {
        loop_remote to = all.remotes()[(me + 1) % all.size()];
        auto work = []() -> task<int> {
          co_await runnel::yield();
          co_return 1;
        };
        result<int> one = co_await runnel::run_on(to, work);
        sum += one.value();
      }
      co_return sum;
    };
    return body(cores, index, rounds);
  };
  std::vector<int> sums = cores.run(root);
  CHECK(sums == std::vector<int>(3, rounds));
  for (std::thread& t : strangers) {
    t.join();
  }
  // What was posted last is still delivered before a loop begins another run.
  cores.run(index_of);
  CHECK(posted == 2 * rounds);
}

TEST_CASE("runtime: run inside a run, and simulated loops, are refused") {
  runtime cores{with_threads(1)};
  auto root = [&cores](runnel::loop&, std::size_t) {
    auto body = [](runtime& all) -> task<bool> {
      try {
        all.run(index_of);
      } catch (const std::logic_error&) {
        co_return true;
      }
      co_return false;
    };
    return body(cores);
  };
  std::vector<bool> refused = cores.run(root);
  CHECK(refused[0]);
  runnel::runtime_options options = with_threads(1);
  options.loop.simulated = 1;
  CHECK_THROWS_AS(runtime{options}, std::logic_error);
}

TEST_CASE("runtime: may be made, run and destroyed by a task of another loop") {
  runnel::loop outer;
  auto body = []() -> task<> {
    std::vector<std::size_t> seen;
    {
      runtime cores{with_threads(2)};
      // The loops fall asleep first: a task of their own has come and gone.
      seen = cores.run(index_of);
      seen = cores.run(index_of);
    }
    CHECK(seen == std::vector<std::size_t>{0, 1});
    co_await runnel::yield();
  };
  outer.run(body());
}

TEST_CASE("runtime: a run that one of its own loops asks for between two runs is refused") {
  runtime cores{with_threads(2)};
  std::binary_semaphore answered{0};
  bool refused = false;
  auto ask = [&] {
    try {
      cores.run(index_of);
    } catch (const std::logic_error&) {
      refused = true;
    }
    answered.release();
  };
  CHECK(cores.remotes()[0].post(ask).has_value());
  answered.acquire();
  CHECK(refused);
}

TEST_CASE("runtime: remotes outlive it and say that the loops have ended") {
  std::vector<loop_remote> kept;
  {
    runtime cores{with_threads(2)};
    kept.assign(cores.remotes().begin(), cores.remotes().end());
  }
  for (const loop_remote& each : kept) {
    CHECK(each.ended());
    CHECK(each.post([] {}).error() == errc::loop_ended);
  }
}

TEST_CASE("runtime: a loop that cannot start is one error, with no thread left behind") {
  std::atomic<int> started{0};
  runnel::runtime_options options = with_threads(5);
  options.loop.log = [&started](std::string_view) {
    if (++started == 4)
      throw runnel::startup_error(std::make_error_code(std::errc::io_error), "No.");
  };
  std::string said;
  try {
    runtime cores{options};
  } catch (const runnel::startup_error& e) {
    said = e.what();
  }
  CHECK(said == "No.");
  CHECK(started == 4);
  // A thread that was joined may be listed for a moment longer; one left behind would stay.
  while (threads_of_loops() != 0) {
    std::this_thread::yield();
  }
}

// UBSan needs descriptors of its own to look at an exception.
#if !defined(RUNNEL_SANITIZED)
TEST_CASE("runtime: too few descriptors for all loops are named with the way out") {
  auto ended = runnel::testing::run_in_child([] {
    // Room for the first loops but not for all.
    rlimit few{40, 40};
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) ::_exit(77);
    try {
      runtime cores{with_threads(64)};
    } catch (const runnel::startup_error& e) {
      std::fputs(e.what(), stderr);
      ::_exit(0);
    }
    ::_exit(3);
  });
  INFO("it said: ", ended.said);
  CHECK(ended.exit_code == 0);
  CHECK(ended.said.find("ulimit -n") != std::string::npos);
}
#endif
