#include "runnel/task_group.hpp"

#include <stdexcept>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<> add_after(runnel::duration d, int& sum) {
  co_await runnel::sleep(d);
  ++sum;
}

task<result<void>> fail_after(runnel::duration d, std::errc why) {
  co_await runnel::sleep(d);
  co_return std::make_error_code(why);
}

task<> throw_after(runnel::duration d) {
  co_await runnel::sleep(d);
  throw std::runtime_error("child failed");
}

task<result<void>> wait_long() {
  co_return co_await runnel::sleep(1h);
}

task<> spawn_more(runnel::task_group& group, int depth, int& sum) {
  co_await runnel::sleep(1ms);
  ++sum;
  if (depth > 0) {
    group.spawn(spawn_more(group, depth - 1, sum));
    group.spawn(spawn_more(group, depth - 1, sum));
  }
}

}  // namespace

TASK_TEST("task_group: join waits for all children, also those spawned meanwhile") {
  int sum = 0;
  runnel::task_group group{loop};
  CHECK(group.empty());
  group.spawn(spawn_more(group, 5, sum));
  CHECK(group.size() == 1);
  result<void> joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(sum == 63);
  CHECK(group.empty());
}

TASK_TEST("task_group: an empty group joins at once") {
  runnel::task_group group{loop};
  result<void> joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("task_group: the first error cancels the rest and is what join gives") {
  runnel::time_point start = loop.now();
  runnel::task_group group{loop};
  group.spawn(wait_long());
  group.spawn(fail_after(2s, std::errc::broken_pipe));
  group.spawn(fail_after(3s, std::errc::io_error));
  result<void> joined = co_await group.join();
  REQUIRE(joined.has_error());
  CHECK(joined.error() == std::errc::broken_pipe);
  CHECK(loop.now() == start + 2s);
  CHECK(group.cancelled());
}

TASK_TEST("task_group: an exception of a child comes out of join") {
  runnel::task_group group{loop};
  group.spawn(wait_long());
  group.spawn(throw_after(1s));
  bool thrown = false;
  try {
    co_await group.join();
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(group.empty());
}

TASK_TEST("task_group: in collect mode the others go on and failures are counted") {
  int sum = 0;
  runnel::task_group group{loop, runnel::on_failure::collect};
  group.spawn(fail_after(1s, std::errc::broken_pipe));
  group.spawn(fail_after(2s, std::errc::io_error));
  group.spawn(add_after(5s, sum));
  result<void> joined = co_await group.join();
  CHECK(joined.error() == std::errc::broken_pipe);
  CHECK(group.failures() == 2);
  CHECK(sum == 1);
}

TASK_TEST("task_group: cancel ends every child and is no failure of theirs") {
  runnel::task_group group{loop};
  for (int i = 0; i < 10; ++i) {
    group.spawn(wait_long());
  }
  co_await runnel::sleep(1s);
  group.cancel();
  CHECK(group.size() == 10);
  result<void> joined = co_await group.join();
  CHECK(joined.error() == errc::cancelled);
  CHECK(group.failures() == 0);
}

TASK_TEST("task_group: a cancelled join cancels the children and still waits for them") {
  int sum = 0;
  runnel::time_point start = loop.now();
  runnel::task_group group{loop};
  group.spawn(add_after(1h, sum));
  result<void> joined = co_await runnel::with_timeout(2s, group.join());
  CHECK(joined.error() == errc::deadline_exceeded);
  CHECK(sum == 1);
  CHECK(group.empty());
  CHECK(loop.now() == start + 2s);
}

TASK_TEST("task_group: a child spawned into a cancelled group runs but waits for nothing") {
  int sum = 0;
  runnel::time_point start = loop.now();
  runnel::task_group group{loop};
  group.cancel();
  group.spawn(add_after(1h, sum));
  co_await group.join();
  CHECK(sum == 1);
  CHECK(loop.now() == start);
}

TEST_CASE("task_group: dies with the suspended frame that holds it, children first") {
  int sum = 0;
  runnel::loop loop{{.simulated = 3}};
  runnel::event never;
  auto child = [](runnel::event& e, int& s) -> task<> {
    co_await e.wait();
    ++s;
  };
  auto body = [](runnel::loop& l, runnel::event& e, int& s, auto make) -> task<> {
    runnel::task_group group{l};
    group.spawn(make(e, s));
    group.spawn(make(e, s));
    co_await group.join();
  };
  CHECK_THROWS_AS(loop.run(body(loop, never, sum, child)), runnel::deadlock_error);
  CHECK(sum == 0);
}

TASK_TEST("task_group: takes any awaitable that gives nothing or a result of nothing") {
  runnel::time_point start = loop.now();
  runnel::event e;
  runnel::task_group group{loop};
  group.spawn(runnel::sleep(2s));
  group.spawn(e.wait());
  group.spawn(runnel::with_timeout(3s, wait_long()));
  co_await runnel::sleep(1s);
  e.set();
  result<void> joined = co_await group.join();
  CHECK(joined.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 3s);
}

namespace {

// What a capturing lambda that is a coroutine compiles to.
struct adder {
  std::vector<int> mine;
  int* sum;

  task<> operator()(const std::vector<int>& more) {
    co_await runnel::sleep(1s);
    for (int value : mine) *sum += value;
    for (int value : more) *sum += value;
  }
};

}  // namespace

TASK_TEST("task_group: a callable and its arguments live as long as the child made from them") {
  int sum = 0;
  runnel::task_group group{loop};
  group.spawn(adder{{1, 2}, &sum}, std::vector<int>{3, 4});
  group.spawn(&add_after, 1s, std::ref(sum));
  CHECK(group.size() == 2);
  co_await group.join();
  CHECK(sum == 11);
}

namespace {

task<> set_and_end(runnel::event& told) {
  co_await runnel::sleep(1ms);
  told.set();
}

task<> spawn_when_told(runnel::event& told, runnel::task_group& into, bool& spawned, bool& ended) {
  co_await told.wait();
  const auto child = [](bool& done) -> task<> {
    co_await runnel::sleep(1ms);
    done = true;
  };
  spawned = true;
  into.spawn(child(ended));
}

}  // namespace

TASK_TEST(
    "task_group: join waits for a child that comes after the last one and before it goes on") {
  runnel::event told;
  bool spawned = false;
  bool ended = false;
  runnel::task_group group{loop};
  runnel::task_group outside{loop};
  outside.spawn(spawn_when_told(told, group, spawned, ended));
  group.spawn(set_and_end(told));
  co_await group.join();
  // In another order of what is ready it may be spawned after join has ended.
  CHECK(spawned == ended);
  if (seed == 0) CHECK(ended);
  co_await outside.join();
  co_await group.join();
  CHECK(ended);
}
