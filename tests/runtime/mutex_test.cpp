#include "runnel/mutex.hpp"

#include <optional>
#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::mutex;
using runnel::mutex_guard;
using runnel::result;
using runnel::task;

struct holders {
  std::vector<int> asked;
  std::vector<int> got;
  std::vector<int> cancelled;
  int inside = 0;
};

task<> hold(mutex& m, holders& seen, int id, runnel::duration time) {
  seen.asked.push_back(id);
  result<mutex_guard> guard = co_await m.lock();
  if (!guard) {
    CHECK(guard.error() == errc::cancelled);
    seen.cancelled.push_back(id);
    co_return;
  }
  seen.got.push_back(id);
  CHECK(++seen.inside == 1);
  // In a cancelled group this still lets others run.
  co_await runnel::sleep(time);
  --seen.inside;
}

}  // namespace

TASK_TEST("mutex: one holder at a time, in the order of asking") {
  mutex m;
  holders seen;
  runnel::task_group group{loop};
  for (int i = 0; i < 20; ++i) {
    group.spawn(hold(m, seen, i, i % 3 == 0 ? 0ms : 1ms));
  }
  co_await group.join();
  CHECK(seen.got.size() == 20);
  CHECK(seen.got == seen.asked);
  CHECK(!m.locked());
}

TASK_TEST("mutex: a free one is taken without waiting, a guard moves and lets go early") {
  mutex m;
  runnel::time_point start = loop.now();
  result<mutex_guard> first = co_await m.lock();
  REQUIRE(first.has_value());
  CHECK(m.locked());
  CHECK(!m.try_lock());
  mutex_guard moved = std::move(*first);
  CHECK(!*first);
  CHECK(moved);
  mutex other;
  moved = other.try_lock();
  CHECK(!m.locked());
  CHECK(other.locked());
  moved.unlock();
  moved.unlock();
  CHECK(!other.locked());
  mutex_guard tried = m.try_lock();
  CHECK(tried);
  CHECK(loop.now() == start);
}

TASK_TEST("mutex: a late waiter leaves the queue and the next one gets the lock") {
  mutex m;
  holders seen;
  runnel::task_group group{loop};
  mutex_guard mine = m.try_lock();
  result<mutex_guard> late = co_await runnel::with_timeout(1s, m.lock());
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  group.spawn(hold(m, seen, 1, 1ms));
  co_await runnel::sleep(1ms);
  mine.unlock();
  co_await group.join();
  CHECK(seen.got == std::vector<int>{1});
}

TASK_TEST("mutex: who was handed the lock and is cancelled before going on gives it on") {
  mutex m;
  holders seen;
  runnel::task_group first{loop};
  runnel::task_group second{loop};
  mutex_guard mine = m.try_lock();
  first.spawn(hold(m, seen, 1, 1ms));
  co_await runnel::sleep(1ms);
  second.spawn(hold(m, seen, 2, 1ms));
  co_await runnel::sleep(1ms);
  mine.unlock();
  first.cancel();
  co_await first.join();
  co_await second.join();
  CHECK(seen.cancelled == std::vector<int>{1});
  CHECK(seen.got == std::vector<int>{2});
  CHECK(!m.locked());
}

TASK_TEST("mutex: a waiter that is destroyed, handed the lock or not, is passed over") {
  mutex m;
  holders seen;
  mutex_guard mine = m.try_lock();
  auto waiting = runnel::testing::make_victim(hold(m, seen, 1, 1ms));
  auto heir = runnel::testing::make_victim(hold(m, seen, 2, 1ms));
  waiting.start(loop);
  co_await runnel::sleep(1ms);
  heir.start(loop);
  co_await runnel::sleep(1ms);
  runnel::task_group group{loop};
  group.spawn(hold(m, seen, 3, 1ms));
  co_await runnel::sleep(1ms);
  waiting.destroy();
  mine.unlock();
  heir.destroy();
  co_await group.join();
  CHECK(seen.got == std::vector<int>{3});
  CHECK(!m.locked());
}

TASK_TEST("mutex: a task that is destroyed with the lock in hand lets go of it") {
  mutex m;
  holders seen;
  auto holder = runnel::testing::make_victim(hold(m, seen, 1, 1h));
  holder.start(loop);
  co_await runnel::sleep(1ms);
  CHECK(m.locked());
  holder.destroy();
  CHECK(!m.locked());
}

TASK_TEST("mutex: a cancelled scope does not get a free lock") {
  mutex m;
  loop.root_scope().cancel();
  result<mutex_guard> guard = co_await m.lock();
  REQUIRE(guard.has_error());
  CHECK(guard.error() == errc::cancelled);
  CHECK(!m.locked());
  CHECK(m.try_lock());
}

TASK_TEST("mutex: may die before its waiters and holder where the frame around them dies") {
  holders seen;
  auto body = [](runnel::loop& on, holders& out) -> task<> {
    runnel::task_group group{on};
    std::optional<mutex> m{std::in_place};
    for (int i = 0; i < 3; ++i) {
      group.spawn(hold(*m, out, i, 1h));
    }
    co_await group.join();
  };
  auto owner = runnel::testing::make_victim(body(loop, seen));
  owner.start(loop);
  co_await runnel::sleep(1ms);
  owner.destroy();
  CHECK(seen.got.size() == 1);
  CHECK(seen.asked.size() == 3);
}
