// Once the pools are warm, nothing that a server does per operation allocates.

#include <unistd.h>

#include "runnel/channel.hpp"
#include "runnel/condition.hpp"
#include "runnel/detail/transfer.hpp"
#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/mutex.hpp"
#include "runnel/poll.hpp"
#include "runnel/semaphore.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "runnel/when_all.hpp"
#include "runnel/when_any.hpp"
#include "support/allocation_count.hpp"
#include "support/task_test.hpp"

#if RUNNEL_COUNT_ALLOCATIONS

namespace {

using namespace std::chrono_literals;
using runnel::task;

task<int> give(int value) {
  co_return value;
}

task<> wait_for(runnel::event& e) {
  co_await e.wait();
}

// One round of everything that must not allocate.
task<> round_of(runnel::loop& loop) {
  co_await runnel::sleep(1us);
  co_await runnel::yield();
  int sum = co_await give(1);
  sum += co_await give(2);
  co_await runnel::with_timeout(1us, runnel::sleep(1h));
  runnel::event e;
  runnel::task_group group{loop};
  for (int i = 0; i < 10; ++i) {
    group.spawn(wait_for(e));
  }
  co_await runnel::yield();
  e.set();
  co_await group.join();
  CHECK(sum == 3);
}

struct shared {
  runnel::mutex m;
  runnel::condition changed;
  runnel::semaphore units{2};
  runnel::channel<int> numbers{3};
  runnel::channel<int> handover{0};
  bool flag = false;
};

task<> use_all(shared& s) {
  {
    auto guard = co_await s.m.lock();
    auto is_set = [&s] { return s.flag; };
    co_await runnel::with_timeout(1ms, s.changed.wait(*guard));
    co_await s.changed.wait(*guard, is_set);
  }
  auto permit = co_await s.units.acquire(2);
  for (int i = 0; i < 10; ++i) {
    co_await s.numbers.send(i);
    co_await s.handover.send(i);
  }
}

task<> take_all(shared& s) {
  for (int i = 0; i < 10; ++i) {
    co_await s.numbers.receive();
    co_await s.handover.receive();
  }
}

task<> set_flag(shared& s) {
  co_await runnel::sleep(5ms);
  auto guard = co_await s.m.lock();
  s.flag = true;
  s.changed.notify_all();
}

// The channels' own buffers are made once, by who has them.
task<> sync_round(shared& s) {
  s.flag = false;
  co_await runnel::when_all(use_all(s), use_all(s), take_all(s), take_all(s), set_flag(s));
  auto first = co_await runnel::when_any(s.numbers.receive(), runnel::sleep(1us), s.m.lock());
  CHECK(first.index == 2);
  co_await runnel::with_timeout(1us, s.handover.send(1));
}

task<> poll_round(int fd) {
  co_await runnel::with_timeout(10us, runnel::poll_once(fd, 1));
}

}  // namespace

TEST_CASE("allocation: tasks, timers, events, groups and deadlines take none once warm") {
  runnel::loop loop{{.simulated = 0}};
  for (int i = 0; i < 3; ++i) {
    loop.run(round_of(loop));
  }
  std::size_t before = allocations;
  for (int i = 0; i < 100; ++i) {
    loop.run(round_of(loop));
  }
  CHECK(allocations == before);
}

TEST_CASE("allocation: channels, locks and combinations of tasks take none once warm") {
  runnel::loop loop{{.simulated = 0}};
  shared s;
  for (int i = 0; i < 3; ++i) {
    loop.run(sync_round(s));
  }
  std::size_t before = allocations;
  for (int i = 0; i < 100; ++i) {
    loop.run(sync_round(s));
  }
  CHECK(allocations == before);
}

TEST_CASE("allocation: a kernel operation and its cancellation take none once warm") {
  runnel::loop loop;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  for (int i = 0; i < 3; ++i) {
    loop.run(poll_round(ends[0]));
  }
  std::size_t before = allocations;
  for (int i = 0; i < 20; ++i) {
    loop.run(poll_round(ends[0]));
  }
  CHECK(allocations == before);
  ::close(ends[0]);
  ::close(ends[1]);
}

#endif
