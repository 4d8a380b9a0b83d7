#include "runnel/fiber.hpp"

#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::fiber;
using runnel::result;
using runnel::task;

task<int> give_after(runnel::duration d, int value) {
  co_await runnel::sleep(d);
  co_return value;
}

task<int> give(int value) {
  co_return value;
}

task<> throw_after(runnel::duration d) {
  co_await runnel::sleep(d);
  throw std::runtime_error("from a task");
}

int recurse(fiber& self, int depth) {
  if (depth == 0) return self.await(give_after(1ms, 1));
  return recurse(self, depth - 1) + 1;
}

}  // namespace

TASK_TEST("fiber: awaits tasks and leaves and returns a value") {
  runnel::time_point start = loop.now();
  auto body = [&loop](fiber& self) {
    CHECK(&self.owner() == &loop);
    self.await(runnel::sleep(1s)).value();
    int sum = self.await(give(1)) + self.await(give_after(1s, 2));
    return std::make_unique<int>(sum + recurse(self, 50));
  };
  std::unique_ptr<int> value = co_await runnel::run_fiber(body);
  CHECK(*value == 54);
  CHECK(loop.now() == start + 2s + 1ms);
}

TASK_TEST("fiber: 200,000 synchronous completions use no stack") {
  auto body = [](fiber& self) {
    int sum = 0;
    for (int i = 0; i < 200'000; ++i) {
      sum += self.await(give(1));
    }
    return sum;
  };
  int sum = co_await runnel::run_fiber(body);
  CHECK(sum == 200'000);
}

TASK_TEST("fiber: exceptions go both ways") {
  auto body = [](fiber& self) {
    std::string caught;
    try {
      self.await(throw_after(1s));
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    CHECK(caught == "from a task");
    throw std::logic_error("from a fiber");
  };
  std::string caught;
  try {
    co_await runnel::run_fiber(body);
  } catch (const std::logic_error& e) {
    caught = e.what();
  }
  CHECK(caught == "from a fiber");
}

TASK_TEST("fiber: two that wait inside catch blocks keep their own exceptions") {
  std::vector<std::string> seen(2);
  runnel::task_group group{loop};
  for (int i = 0; i < 2; ++i) {
    auto body = [i, &seen](fiber& self) {
      try {
        throw std::runtime_error("of fiber " + std::to_string(i));
      } catch (...) {
        self.await(runnel::sleep(1s + i * 1s));
        try {
          throw;
        } catch (const std::runtime_error& e) {
          self.await(runnel::sleep(3s - i * 2s));
          seen[static_cast<std::size_t>(i)] = e.what();
        }
      }
      CHECK(std::uncaught_exceptions() == 0);
      CHECK(!std::current_exception());
    };
    group.spawn(runnel::run_fiber(body));
  }
  co_await group.join();
  CHECK(seen == std::vector<std::string>{"of fiber 0", "of fiber 1"});
}

TASK_TEST("fiber: cancellation and deadlines reach what it waits for") {
  auto body = [](fiber& self) -> result<void> {
    result<void> inner = self.await(runnel::with_timeout(1s, runnel::sleep(1h)));
    CHECK(inner.error() == errc::deadline_exceeded);
    return self.await(runnel::sleep(1h));
  };
  runnel::time_point start = loop.now();
  result<void> outer = co_await runnel::with_timeout(3s, runnel::run_fiber(body));
  CHECK(outer.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 3s);
}

TASK_TEST("fiber: runs beside tasks in a group") {
  runnel::event ping;
  runnel::event pong;
  runnel::task_group group{loop};
  auto body = [&](fiber& self) {
    self.await(ping.wait());
    pong.set();
  };
  group.spawn(runnel::run_fiber(body));
  co_await runnel::sleep(1ms);
  ping.set();
  co_await pong.wait();
  co_await group.join();
}

TASK_TEST("fiber: a small stack of its own size is given back") {
  auto body = [](fiber& self) { self.await(runnel::sleep(1ms)); };
  runnel::fiber_options small;
  small.stack_size = 1;
  for (int i = 0; i < 20; ++i) {
    co_await runnel::run_fiber(body, small);
    co_await runnel::run_fiber(body);
  }
}

FIBER_TEST("fiber: a test body may be one") {
  runnel::time_point start = loop.now();
  self.await(runnel::sleep(1s)).value();
  CHECK(loop.now() == start + 1s);
}

TEST_CASE("fiber: destroyed while it waits, it unwinds its stack") {
  int live = 0;
  struct counted {
    explicit counted(int& n) : n_(&n) { ++*n_; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { --*n_; }
    int* n_;
  };
  runnel::event never;
  runnel::loop loop{{.simulated = 1}};
  auto body = [&](fiber& self) {
    counted outer{live};
    try {
      counted inner{live};
      throw std::runtime_error("being handled");
    } catch (const std::runtime_error&) {
      counted handling{live};
      CHECK(live == 2);
      self.await(never.wait());
    }
    FAIL("went on after its end");
  };
  CHECK_THROWS_AS(loop.run(runnel::run_fiber(body)), runnel::deadlock_error);
  CHECK(live == 0);
  CHECK(!std::current_exception());
}

namespace {

// Waits in every way, inside and outside of catch blocks, and lets its owner see how far it came.
task<> fiber_that_waits(runnel::loop&, std::uint64_t) {
  runnel::event never;
  auto body = [&never](fiber& self) -> result<void> {
    std::string text(100, 'x');
    for (int i = 0; i < 3; ++i) {
      try {
        throw std::runtime_error(text);
      } catch (const std::runtime_error&) {
        result<void> slept = self.await(runnel::sleep(1ms));
        if (!slept) return slept;
      }
      auto inner = [&text](fiber& own) {
        std::string copy = text;
        own.await(runnel::sleep(500us)).value();
        return copy;
      };
      std::string copy;
      try {
        copy = self.await(runnel::run_fiber(inner));
      } catch (const std::system_error& e) {
        return e.code();
      }
      result<void> late = self.await(runnel::with_timeout(1ms, never.wait()));
      if (late.error() != errc::deadline_exceeded) return late;
    }
    return {};
  };
  co_await runnel::run_fiber(body);
}

}  // namespace

TEST_CASE("fiber: destroyed at any moment it unwinds, cancelled at any moment it ends") {
  runnel::testing::kill_everywhere(&fiber_that_waits);
  runnel::testing::cancel_everywhere(&fiber_that_waits);
}

TASK_TEST("fiber: a failure in a group cancels the other fibers, which all end") {
  runnel::task_group group{loop};
  int ended = 0;
  for (int i = 0; i < 3; ++i) {
    auto body = [&ended](fiber& self) -> result<void> {
      result<void> slept = self.await(runnel::sleep(1h));
      CHECK(slept.error() == errc::cancelled);
      ++ended;
      return slept;
    };
    group.spawn(runnel::run_fiber(body));
  }
  auto failing = [](fiber& self) {
    self.await(runnel::sleep(1s)).value();
    throw std::runtime_error("of a fiber");
  };
  group.spawn(runnel::run_fiber(failing));
  runnel::time_point start = loop.now();
  std::string caught;
  try {
    co_await group.join();
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  CHECK(caught == "of a fiber");
  CHECK(ended == 3);
  CHECK(loop.now() == start + 1s);
}

TASK_TEST("fiber: one that starts in a cancelled scope runs, and waits for nothing") {
  runnel::task_group group{loop};
  group.cancel();
  bool ran = false;
  auto body = [&ran](fiber& self) {
    CHECK(self.scope().cancelled());
    CHECK(self.await(runnel::sleep(1h)).error() == errc::cancelled);
    ran = true;
  };
  group.spawn(runnel::run_fiber(body));
  co_await group.join();
  CHECK(ran);
}

TASK_TEST("fiber: may own a group of fibers, all under one deadline") {
  auto body = [](fiber& self) {
    runnel::task_group children{self.scope()};
    int sum = 0;
    for (int i = 0; i < 3; ++i) {
      children.spawn(runnel::run_fiber([&sum, i](fiber& own) {
        own.await(runnel::sleep(1ms * i)).value();
        sum += i;
      }));
    }
    self.await(children.join()).value();
    return sum;
  };
  result<int> sum = co_await runnel::with_timeout(1s, runnel::run_fiber(body));
  CHECK(sum.value() == 3);
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("fiber: AddressSanitizer forgets the frames of a stack that was given back") {
  std::byte* top = nullptr;
  auto body = [&top](fiber&) {
    std::byte here[16] = {};
    const auto address = reinterpret_cast<std::uintptr_t>(std::launder(&here[0]));
    top = reinterpret_cast<std::byte*>((address | 4095) + 1);
  };
  {
    runnel::loop loop{{.simulated = 0}};
    loop.run(runnel::run_fiber(body));
  }
  CHECK(__asan_region_is_poisoned(top - 4096, 4096) == nullptr);
}
#endif
