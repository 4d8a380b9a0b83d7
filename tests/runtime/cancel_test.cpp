#include "runnel/cancel.hpp"

#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/shield.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<> sleeper(runnel::duration d) {
  co_await runnel::sleep(d);
}

task<result<void>> deep(int depth) {
  if (depth > 0) co_return co_await deep(depth - 1);
  co_return co_await runnel::sleep(1ms);
}

task<> set_later(runnel::event& e) {
  co_await runnel::sleep(3ms);
  e.set();
}

// Has every kind of wait of the runtime in it, one millisecond apart.
task<> everything(runnel::loop& loop, std::uint64_t) {
  co_await runnel::sleep(1ms);
  co_await deep(5);
  runnel::event ready;
  runnel::task_group group{loop};
  group.spawn(sleeper(2ms));
  group.spawn(set_later(ready));
  co_await ready.wait();
  co_await runnel::with_timeout(1ms, sleeper(1h));
  co_await runnel::with_deadline(loop.now() + 1ms, runnel::sleep(1h));
  co_await group.join();
  auto in_fiber = [](runnel::fiber& self) {
    self.await(sleeper(1ms));
    self.await(runnel::with_timeout(1ms, runnel::sleep(1h)));
  };
  co_await runnel::run_fiber(in_fiber);
  co_await runnel::shield(runnel::sleep(1ms));
  co_await runnel::yield();
}

}  // namespace

TEST_CASE("cancel: a task may be destroyed at every suspension point") {
  runnel::testing::kill_everywhere(&everything, {.time_step = 1ms, .times = 14, .passes = 5});
}

TEST_CASE("cancel: a task may be cancelled at every suspension point and comes to its end") {
  runnel::testing::cancel_everywhere(&everything, {.time_step = 1ms, .times = 14, .passes = 5});
}

TASK_TEST("cancel: reaches through awaited tasks and wakes in a later pass") {
  runnel::task_group group{loop};
  bool woken = false;
  auto body = [](bool& flag) -> task<> {
    result<void> slept = co_await runnel::sleep(1h);
    flag = slept.has_error() && slept.error() == errc::cancelled;
  };
  group.spawn(body(woken));
  co_await runnel::sleep(1ms);
  group.cancel();
  CHECK(!woken);
  co_await group.join();
  CHECK(woken);
}

TASK_TEST("cancel: what is awaited in a cancelled scope is not started") {
  runnel::time_point start = loop.now();
  loop.root_scope().cancel();
  result<void> slept = co_await runnel::sleep(1h);
  CHECK(slept.error() == errc::cancelled);
  runnel::event set;
  set.set();
  result<void> waited = co_await set.wait();
  CHECK(waited.has_value());
  set.reset();
  waited = co_await set.wait();
  CHECK(waited.error() == errc::cancelled);
  CHECK(loop.now() == start);
}

TASK_TEST("cancel: a scope below is cancelled with the one above, not the other way round") {
  runnel::cancel_scope& mine = co_await runnel::this_scope();
  runnel::cancel_scope above{mine};
  runnel::cancel_scope below{above};
  runnel::task_group group{below};
  group.spawn(sleeper(1h));
  co_await runnel::sleep(1ms);
  above.cancel();
  CHECK(below.cancelled());
  CHECK(!mine.cancelled());
  co_await group.join();
  runnel::cancel_scope late{above};
  CHECK(late.cancelled());
}

TASK_TEST("cancel: a shielded wait goes on in a cancelled scope, and keeps its own deadline") {
  runnel::time_point start = loop.now();
  loop.root_scope().cancel();
  result<void> slept = co_await runnel::shield(runnel::sleep(1s));
  CHECK(slept.has_value());
  slept = co_await runnel::shield(runnel::with_timeout(2s, deep(3)));
  CHECK(slept.has_value());
  slept = co_await runnel::shield(runnel::with_timeout(2s, runnel::sleep(1h)));
  CHECK(slept.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 3s + 1ms);
  slept = co_await runnel::sleep(1s);
  CHECK(slept.error() == errc::cancelled);
}

TASK_TEST("cancel: codes compare with the standard conditions") {
  std::error_code cancelled = errc::cancelled;
  std::error_code late = errc::deadline_exceeded;
  CHECK(cancelled == std::errc::operation_canceled);
  CHECK(late == std::errc::timed_out);
  CHECK(cancelled != late);
  CHECK(std::string{cancelled.category().name()} == "runnel");
  co_return;
}
