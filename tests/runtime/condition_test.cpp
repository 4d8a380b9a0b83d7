#include "runnel/condition.hpp"

#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::condition;
using runnel::errc;
using runnel::mutex;
using runnel::mutex_guard;
using runnel::result;
using runnel::task;

struct shared {
  mutex m;
  condition changed;
  int value = 0;
  int inside = 0;
  std::vector<int> asked;
  std::vector<int> told;
  std::vector<int> cancelled;
};

task<> wait_once(shared& s, int id) {
  result<mutex_guard> guard = co_await s.m.lock();
  if (!guard) co_return;
  s.asked.push_back(id);
  result<void> told = co_await s.changed.wait(*guard);
  CHECK(*guard);
  CHECK(++s.inside == 1);
  (told ? s.told : s.cancelled).push_back(id);
  co_await runnel::yield();
  --s.inside;
}

task<> wait_for_value(shared& s, int wanted, int& seen) {
  result<mutex_guard> guard = co_await s.m.lock();
  if (!guard) co_return;
  auto reached = [&s, wanted] { return s.value >= wanted; };
  result<void> told = co_await s.changed.wait(*guard, reached);
  CHECK(*guard);
  if (told) seen = s.value;
}

}  // namespace

TASK_TEST("condition: notify_one tells the one that has waited longest, notify_all everybody") {
  shared s;
  runnel::task_group group{loop};
  for (int i = 0; i < 6; ++i) group.spawn(wait_once(s, i));
  co_await runnel::sleep(1ms);
  CHECK(!s.m.locked());
  s.changed.notify_one();
  co_await runnel::sleep(1ms);
  CHECK(s.told.size() == 1);
  s.changed.notify_one();
  s.changed.notify_all();
  co_await group.join();
  CHECK(s.told == s.asked);
  CHECK(s.told.size() == 6);
  s.changed.notify_one();
}

TASK_TEST("condition: who is notified waits for the mutex before it goes on") {
  shared s;
  runnel::task_group group{loop};
  group.spawn(wait_once(s, 1));
  co_await runnel::sleep(1ms);
  mutex_guard mine = s.m.try_lock();
  s.changed.notify_all();
  co_await runnel::sleep(1ms);
  CHECK(s.told.empty());
  mine.unlock();
  co_await group.join();
  CHECK(s.told == std::vector<int>{1});
}

TASK_TEST("condition: a predicate is waited for until it holds") {
  shared s;
  int seen = 0;
  runnel::task_group group{loop};
  group.spawn(wait_for_value(s, 3, seen));
  for (int i = 0; i < 5; ++i) {
    result<mutex_guard> guard = co_await s.m.lock();
    ++s.value;
    s.changed.notify_all();
    guard->unlock();
    co_await runnel::sleep(1ms);
  }
  co_await group.join();
  CHECK(seen == 3);
  int at_once = 0;
  co_await wait_for_value(s, 2, at_once);
  CHECK(at_once == 5);
}

TASK_TEST("condition: a cancelled wait takes the mutex again before it says so") {
  shared s;
  runnel::task_group group{loop};
  group.spawn(wait_once(s, 1));
  co_await runnel::sleep(1ms);
  mutex_guard mine = s.m.try_lock();
  group.cancel();
  co_await runnel::sleep(5ms);
  CHECK(s.cancelled.empty());
  mine.unlock();
  co_await group.join();
  CHECK(s.cancelled == std::vector<int>{1});
  CHECK(!s.m.locked());
  s.changed.notify_all();
}

TASK_TEST("condition: a deadline ends the wait with the mutex in hand") {
  shared s;
  mutex_guard guard = s.m.try_lock();
  runnel::time_point start = loop.now();
  result<void> told = co_await runnel::with_timeout(1s, s.changed.wait(guard));
  REQUIRE(told.has_error());
  CHECK(told.error() == errc::deadline_exceeded);
  CHECK(guard);
  CHECK(loop.now() == start + 1s);
  auto never = [] { return false; };
  told = co_await runnel::with_timeout(1s, s.changed.wait(guard, never));
  CHECK(told.error() == errc::deadline_exceeded);
  CHECK(s.m.locked());
}

TASK_TEST("condition: in a cancelled scope the mutex is not let go of") {
  shared s;
  mutex_guard guard = s.m.try_lock();
  loop.root_scope().cancel();
  result<void> told = co_await s.changed.wait(guard);
  REQUIRE(told.has_error());
  CHECK(told.error() == errc::cancelled);
  CHECK(guard);
}

TASK_TEST("condition: notified and then cancelled is notified") {
  shared s;
  runnel::task_group group{loop};
  group.spawn(wait_once(s, 1));
  co_await runnel::sleep(1ms);
  mutex_guard mine = s.m.try_lock();
  s.changed.notify_one();
  group.cancel();
  co_await runnel::sleep(1ms);
  mine.unlock();
  co_await group.join();
  CHECK(s.told == std::vector<int>{1});
}

TASK_TEST("condition: a notification of a task that is destroyed first goes to the next one") {
  for (bool mutex_taken : {false, true}) {
    shared s;
    auto victim = runnel::testing::make_victim(wait_once(s, 1));
    victim.start(loop);
    co_await runnel::sleep(1ms);
    runnel::task_group group{loop};
    group.spawn(wait_once(s, 2));
    co_await runnel::sleep(1ms);
    mutex_guard mine;
    if (mutex_taken) mine = s.m.try_lock();
    s.changed.notify_one();
    victim.destroy();
    mine.unlock();
    co_await group.join();
    CHECK(s.told == std::vector<int>{2});
    CHECK(!s.m.locked());
  }
}

TASK_TEST("condition: may die before its waiters where the frame around them dies") {
  for (int passes = 0; passes < 5; ++passes) {
    std::vector<int> told;
    auto body = [](runnel::loop& on) -> task<> {
      runnel::task_group group{on};
      shared s;
      for (int i = 0; i < 3; ++i) group.spawn(wait_once(s, i));
      co_await runnel::sleep(1ms);
      s.changed.notify_one();
      co_await runnel::yield();
      s.changed.notify_all();
      s.changed.notify_one();
      co_await runnel::sleep(1h);
      co_await group.join();
    };
    auto owner = runnel::testing::make_victim(body(loop));
    owner.start(loop);
    co_await runnel::sleep(1ms);
    for (int i = 0; i < passes; ++i) co_await runnel::yield();
    owner.destroy();
  }
}
