#include "runnel/semaphore.hpp"

#include <algorithm>
#include <vector>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::semaphore;
using runnel::semaphore_permit;
using runnel::task;

struct holders {
  std::vector<int> asked;
  std::vector<int> got;
  std::size_t inside = 0;
  std::size_t most = 0;
};

task<> work(semaphore& s, holders& seen, int id, std::size_t count, runnel::duration time) {
  seen.asked.push_back(id);
  result<semaphore_permit> permit = co_await s.acquire(count);
  if (!permit) co_return;
  CHECK(permit->count() == count);
  seen.got.push_back(id);
  seen.inside += count;
  seen.most = std::max(seen.most, seen.inside);
  co_await runnel::sleep(time);
  seen.inside -= count;
}

}  // namespace

TASK_TEST("semaphore: lets in as much at once as it has units, in the order of asking") {
  semaphore s{5};
  holders seen;
  runnel::task_group group{loop};
  for (int i = 0; i < 30; ++i) {
    group.spawn(work(s, seen, i, static_cast<std::size_t>(1 + i % 3), 1ms));
  }
  co_await group.join();
  CHECK(seen.got.size() == 30);
  CHECK(seen.most <= 5);
  CHECK(seen.most >= 4);
  CHECK(s.available() == 5);
}

TASK_TEST("semaphore: a large request holds back the small ones behind it until it fits") {
  semaphore s{4};
  holders seen;
  runnel::task_group group{loop};
  semaphore_permit mine = s.try_acquire(2);
  group.spawn(work(s, seen, 1, 4, 1ms));
  co_await runnel::sleep(1ms);
  group.spawn(work(s, seen, 2, 1, 1ms));
  co_await runnel::sleep(1ms);
  CHECK(seen.got.empty());
  CHECK(!s.try_acquire(1));
  mine.release();
  co_await group.join();
  CHECK(seen.got == std::vector<int>{1, 2});
}

TASK_TEST("semaphore: those behind a cancelled large request are served at once") {
  semaphore s{4};
  holders seen;
  runnel::task_group large{loop};
  runnel::task_group small{loop};
  semaphore_permit mine = s.try_acquire(1);
  large.spawn(work(s, seen, 1, 4, 1ms));
  co_await runnel::sleep(1ms);
  small.spawn(work(s, seen, 2, 3, 1ms));
  co_await runnel::sleep(1ms);
  large.cancel();
  co_await large.join();
  co_await small.join();
  CHECK(seen.got == std::vector<int>{2});
  CHECK(s.available() == 3);
}

TASK_TEST("semaphore: units given to a task that is cancelled or destroyed first go back") {
  semaphore s{0};
  holders seen;
  runnel::task_group group{loop};
  group.spawn(work(s, seen, 1, 2, 1ms));
  auto victim = runnel::testing::make_victim(work(s, seen, 2, 1, 1ms));
  co_await runnel::sleep(1ms);
  victim.start(loop);
  co_await runnel::sleep(1ms);
  s.release(3);
  CHECK(s.available() == 0);
  group.cancel();
  victim.destroy();
  co_await group.join();
  CHECK(seen.got.empty());
  CHECK(s.available() == 3);
}

TASK_TEST("semaphore: a request that is destroyed lets the ones behind it through") {
  semaphore s{1};
  holders seen;
  auto victim = runnel::testing::make_victim(work(s, seen, 1, 2, 1ms));
  victim.start(loop);
  co_await runnel::sleep(1ms);
  runnel::task_group group{loop};
  group.spawn(work(s, seen, 2, 1, 1ms));
  co_await runnel::sleep(1ms);
  CHECK(seen.got.empty());
  victim.destroy();
  co_await group.join();
  CHECK(seen.got == std::vector<int>{2});
}

TASK_TEST("semaphore: permits move, are given back early, or kept for good") {
  semaphore s{3};
  result<semaphore_permit> first = co_await s.acquire(2);
  semaphore_permit moved = std::move(*first);
  CHECK(!*first);
  CHECK(moved.count() == 2);
  CHECK(s.available() == 1);
  moved = s.try_acquire(1);
  CHECK(s.available() == 2);
  moved.release();
  CHECK(s.available() == 3);
  {
    semaphore_permit kept = s.try_acquire(3);
    kept.forget();
  }
  CHECK(s.available() == 0);
  s.release(4);
  CHECK(s.available() == 4);
  semaphore_permit none = s.try_acquire(0);
  CHECK(none);
}

TASK_TEST("semaphore: counts signals from one task to another") {
  semaphore ready{0};
  int taken = 0;
  auto consume = [](semaphore& s, int& count) -> task<> {
    for (int i = 0; i < 10; ++i) {
      result<semaphore_permit> got = co_await s.acquire();
      got->forget();
      ++count;
    }
  };
  runnel::task_group group{loop};
  group.spawn(consume(ready, taken));
  for (int i = 0; i < 5; ++i) {
    ready.release(2);
    co_await runnel::sleep(1ms);
    CHECK(taken == 2 * (i + 1));
  }
  co_await group.join();
}

TASK_TEST("semaphore: a deadline ends the wait and takes nothing") {
  semaphore s{1};
  result<semaphore_permit> late = co_await runnel::with_timeout(1s, s.acquire(2));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(s.available() == 1);
}

TASK_TEST("semaphore: may die before its waiters and permits where the frame around them dies") {
  holders seen;
  auto body = [](runnel::loop& on, holders& out) -> task<> {
    runnel::task_group group{on};
    semaphore s{2};
    for (int i = 0; i < 4; ++i) {
      group.spawn(work(s, out, i, 1, 1h));
    }
    co_await runnel::sleep(1ms);
    s.release(1);
    co_await group.join();
  };
  for (int passes = 0; passes < 4; ++passes) {
    auto owner = runnel::testing::make_victim(body(loop, seen));
    owner.start(loop);
    co_await runnel::sleep(1ms);
    for (int i = 0; i < passes; ++i) {
      co_await runnel::yield();
    }
    owner.destroy();
  }
  CHECK(seen.got.size() >= 8);
}
