#include "runnel/task.hpp"

#include <memory>
#include <stdexcept>
#include <string>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;

task<int> give(int value) {
  co_return value;
}

task<std::unique_ptr<int>> give_owned(int value) {
  co_return std::make_unique<int>(value);
}

task<> throw_it() {
  throw std::runtime_error("out of the task");
  co_return;
}

task<int&> refer_to(int& value) {
  co_return value;
}

task<int> nest(int depth) {
  if (depth == 0) co_return 0;
  int below = co_await nest(depth - 1);
  co_return below + 1;
}

struct counted {
  explicit counted(int& live) : live_(&live) { ++*live_; }
  counted(const counted&) = delete;
  counted& operator=(const counted&) = delete;
  ~counted() { --*live_; }
  int* live_;
};

task<> hold_and_sleep(int& live) {
  counted here{live};
  co_await runnel::sleep(1h);
}

task<> hold_and_call(int& live) {
  counted here{live};
  co_await hold_and_sleep(live);
}

}  // namespace

TASK_TEST("task: gives its value to the one who awaits it") {
  int plain = co_await give(7);
  CHECK(plain == 7);
  std::unique_ptr<int> owned = co_await give_owned(8);
  CHECK(*owned == 8);
  int target = 1;
  int& reference = co_await refer_to(target);
  CHECK(&reference == &target);
}

TASK_TEST("task: passes an exception to the one who awaits it") {
  std::string caught;
  try {
    co_await throw_it();
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  CHECK(caught == "out of the task");
}

TASK_TEST("task: a million synchronous completions use no stack") {
  std::int64_t sum = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    sum += co_await give(1);
  }
  CHECK(sum == 1'000'000);
}

TASK_TEST("task: a chain of 100,000 awaiting tasks ends without deep recursion") {
  int depth = co_await nest(100'000);
  CHECK(depth == 100'000);
}

TASK_TEST("task: a million waits on a set event stay fair to the others") {
  runnel::event set;
  set.set();
  std::uint64_t turns = loop.metrics().turns;
  for (int i = 0; i < 1'000'000; ++i) {
    co_await set.wait();
  }
  std::uint64_t least = 1'000'000 / runnel::loop::budget_per_resume / runnel::loop::ready_per_turn;
  CHECK(loop.metrics().turns - turns >= least);
}

TASK_TEST("task: knows its loop and its scope without suspending") {
  runnel::loop& mine = co_await runnel::this_loop();
  CHECK(&mine == &loop);
  runnel::cancel_scope& scope = co_await runnel::this_scope();
  CHECK(&scope == &loop.root_scope());
}

TEST_CASE("task: run throws what the task throws") {
  runnel::loop loop{{.simulated = 1}};
  CHECK_THROWS_WITH_AS(loop.run(throw_it()), "out of the task", std::runtime_error);
}

TEST_CASE("task: one that never ran is destroyed with its parameters") {
  auto held = std::make_shared<int>(1);
  {
    auto body = [](std::shared_ptr<int> p) -> task<int> { co_return *p; };
    task<int> never = body(held);
    CHECK(held.use_count() == 2);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("task: a deadlock is an exception that destroys the chain of frames") {
  int live = 0;
  runnel::loop loop{{.simulated = 1}};
  runnel::event never;
  auto body = [](runnel::event& e, int& count) -> task<> {
    counted here{count};
    co_await e.wait();
  };
  CHECK_THROWS_AS(loop.run(body(never, live)), runnel::deadlock_error);
  CHECK(live == 0);
}

TEST_CASE("task: may be destroyed while suspended, and after its loop") {
  int live = 0;
  auto body = [](int& count, task<>& out) -> task<> {
    out = hold_and_call(count);
    co_return;
  };
  {
    task<> unfinished;
    {
      runnel::loop loop{{.simulated = 1}};
      loop.run(body(live, unfinished));
    }
    CHECK(live == 0);
  }
  CHECK(live == 0);
}
