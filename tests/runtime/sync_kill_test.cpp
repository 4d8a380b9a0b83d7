// Every wait that this binary is about, stopped at every point.

#include <array>
#include <memory>
#include <vector>

#include "runnel/channel.hpp"
#include "runnel/condition.hpp"
#include "runnel/fiber.hpp"
#include "runnel/mutex.hpp"
#include "runnel/semaphore.hpp"
#include "runnel/shield.hpp"
#include "runnel/when_all.hpp"
#include "runnel/when_any.hpp"
#include "support/kill_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::channel;
using runnel::result;
using runnel::task;

struct room {
  runnel::mutex m;
  runnel::condition changed;
  runnel::semaphore units{2};
  channel<std::unique_ptr<int>> queue{2};
  channel<std::unique_ptr<int>> handover{0};
  bool flag = false;
};

task<> lock_for(room& r, runnel::duration d) {
  result<runnel::mutex_guard> guard = co_await r.m.lock();
  if (guard) co_await runnel::sleep(d);
}

task<> acquire_for(room& r, std::size_t count, runnel::duration d) {
  result<runnel::semaphore_permit> permit = co_await r.units.acquire(count);
  if (permit) co_await runnel::sleep(d);
}

task<> await_flag(room& r) {
  result<runnel::mutex_guard> guard = co_await r.m.lock();
  if (!guard) co_return;
  auto is_set = [&r] { return r.flag; };
  co_await r.changed.wait(*guard, is_set);
  CHECK(*guard);
}

task<> set_flag(room& r) {
  co_await runnel::sleep(2ms);
  result<runnel::mutex_guard> guard = co_await r.m.lock();
  r.flag = true;
  r.changed.notify_one();
  r.changed.notify_all();
}

task<> feed(channel<std::unique_ptr<int>>& to, int count) {
  for (int i = 0; i < count; ++i) {
    result<void> sent = co_await to.send(std::make_unique<int>(i));
    if (!sent) break;
    co_await runnel::yield();
  }
}

task<> drain(channel<std::unique_ptr<int>>& from, int count) {
  for (int i = 0; i < count; ++i) {
    result<std::unique_ptr<int>> got = co_await from.receive();
    if (!got) break;
    if (i % 2 == 0) co_await runnel::sleep(1ms);
  }
}

task<result<int>> number_after(runnel::duration d, int value) {
  result<void> slept = co_await runnel::sleep(d);
  if (!slept) co_return slept.error();
  co_return value;
}

task<> primitives(runnel::loop& loop, std::uint64_t) {
  runnel::cancel_scope& scope = co_await runnel::this_scope();
  // The room may die before those in it, or after.
  runnel::task_group before{scope, runnel::on_failure::collect};
  room r;
  runnel::task_group after{scope, runnel::on_failure::collect};
  for (runnel::task_group* group : std::array{&before, &after}) {
    group->spawn(lock_for(r, 1ms));
    group->spawn(acquire_for(r, 1, 1ms));
    group->spawn(acquire_for(r, 2, 1ms));
    group->spawn(await_flag(r));
    group->spawn(feed(r.queue, 6));
    group->spawn(drain(r.queue, 6));
    group->spawn(feed(r.handover, 4));
    group->spawn(drain(r.handover, 4));
  }
  after.spawn(set_flag(r));
  co_await lock_for(r, 1ms);
  co_await after.join();
  co_await before.join();
  CHECK(loop.now().time_since_epoch().count() > 0);
}

task<> combinations(runnel::loop&, std::uint64_t) {
  room r;
  runnel::cancel_scope& scope = co_await runnel::this_scope();
  runnel::task_group group{scope, runnel::on_failure::collect};
  group.spawn(feed(r.queue, 4));
  co_await runnel::when_all(number_after(1ms, 1), lock_for(r, 1ms), r.queue.receive());
  std::vector<task<result<int>>> many;
  for (int i = 0; i < 4; ++i) many.push_back(number_after(std::chrono::milliseconds(i), i));
  co_await runnel::when_all(std::move(many));
  co_await runnel::when_any(runnel::sleep(1ms), r.queue.receive(), r.handover.receive(),
                            lock_for(r, 1h));
  std::vector<task<result<int>>> race;
  for (int i = 1; i < 4; ++i) race.push_back(number_after(std::chrono::milliseconds(i), i));
  co_await runnel::when_any(std::move(race));
  co_await runnel::when_all_settled(runnel::when_all(number_after(1ms, 1), runnel::sleep(1ms)),
                                    runnel::when_any(runnel::sleep(2ms), number_after(1ms, 1)));
  auto in_fiber = [&r](runnel::fiber& self) {
    self.await(runnel::when_all(lock_for(r, 1ms), runnel::sleep(1ms)));
    auto guard = self.await(r.m.lock());
    self.await(runnel::when_any(runnel::sleep(1ms), r.handover.receive()));
  };
  co_await runnel::run_fiber(in_fiber);
  r.queue.close();
  co_await group.join();
}

}  // namespace

TEST_CASE("sync: tasks may be destroyed at every suspension point of the primitives") {
  runnel::testing::kill_everywhere(&primitives, {.time_step = 1ms, .times = 12, .passes = 7});
}

TEST_CASE("sync: tasks may be cancelled at every point of the primitives") {
  runnel::testing::cancel_everywhere(&primitives, {.time_step = 1ms, .times = 12, .passes = 7});
}

TEST_CASE("when_all: when_all and when_any may be destroyed at every suspension point") {
  runnel::testing::kill_everywhere(&combinations, {.time_step = 1ms, .times = 12, .passes = 7});
}

TEST_CASE("when_all: when_all and when_any may be cancelled at every point") {
  runnel::testing::cancel_everywhere(&combinations, {.time_step = 1ms, .times = 12, .passes = 7});
}
