#include "runnel/timeout.hpp"

#include <memory>
#include <stdexcept>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<int> plain_after(runnel::duration d) {
  co_await runnel::sleep(d);
  co_return 5;
}

task<result<int>> value_even_if_late(runnel::duration d) {
  co_await runnel::sleep(d);
  co_return 6;
}

task<result<void>> clean_up_slowly(runnel::event& allowed, bool& cleaned) {
  result<void> slept = co_await runnel::sleep(1h);
  while (!allowed.is_set()) {
    co_await runnel::yield();
  }
  cleaned = true;
  co_return slept;
}

task<> throw_after(runnel::duration d) {
  co_await runnel::sleep(d);
  throw std::runtime_error("late or not");
}

}  // namespace

TASK_TEST("timeout: gives the target's value when it is in time") {
  result<int> plain = co_await runnel::with_timeout(2s, plain_after(1s));
  CHECK(plain.value() == 5);
  result<void> slept = co_await runnel::with_timeout(2s, runnel::sleep(1s));
  CHECK(slept.has_value());
}

TASK_TEST("timeout: cancels a leaf at the deadline, exactly") {
  runnel::time_point start = loop.now();
  result<void> slept = co_await runnel::with_timeout(2s, runnel::sleep(3s));
  REQUIRE(slept.has_error());
  CHECK(slept.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 2s);
  co_await runnel::sleep(5s);
}

TASK_TEST("timeout: a late target that has a value anyway keeps it") {
  result<int> late = co_await runnel::with_timeout(1s, value_even_if_late(1h));
  CHECK(late.value() == 6);
}

TASK_TEST("timeout: a late target without a result counts as late") {
  result<int> late = co_await runnel::with_timeout(1s, plain_after(1h));
  CHECK(late.error() == errc::deadline_exceeded);
}

namespace {

// As the ending of a stream.
struct ending {
  ending() = default;
  explicit ending(std::error_code error) : why(error) {}
  std::error_code why;
};

task<ending> end_after(runnel::duration d) {
  co_await runnel::sleep(d);
  co_return ending{};
}

}  // namespace

TASK_TEST("timeout: a target whose value could be made from an error is late all the same") {
  result<ending> late = co_await runnel::with_timeout(1s, end_after(1h));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  result<ending> in_time = co_await runnel::with_timeout(2s, end_after(1s));
  CHECK(in_time.has_value());
}

TASK_TEST("timeout: awaits the target after it cancelled it") {
  runnel::event allowed;
  bool cleaned = false;
  runnel::task_group group{loop};
  auto allow = [](runnel::event& e) -> task<> {
    co_await runnel::sleep(10s);
    e.set();
  };
  allowed.set();
  group.spawn(allow(allowed));
  result<void> ended = co_await runnel::with_timeout(1s, clean_up_slowly(allowed, cleaned));
  CHECK(cleaned);
  CHECK(ended.error() == errc::deadline_exceeded);
  co_await group.join();
}

TASK_TEST("timeout: the nearest of nested deadlines wins and says so") {
  runnel::time_point start = loop.now();
  result<void> inner =
      co_await runnel::with_timeout(5s, runnel::with_timeout(1s, runnel::sleep(1h)));
  CHECK(inner.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 1s);
  result<void> outer =
      co_await runnel::with_timeout(1s, runnel::with_timeout(5s, runnel::sleep(1h)));
  CHECK(outer.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 2s);
}

TASK_TEST("timeout: cancellation from outside stays cancellation") {
  runnel::task_group group{loop};
  std::error_code seen;
  auto body = [](std::error_code& out) -> task<> {
    result<void> slept = co_await runnel::with_timeout(1h, runnel::sleep(2h));
    out = slept.error();
  };
  group.spawn(body(seen));
  co_await runnel::sleep(1s);
  group.cancel();
  co_await group.join();
  CHECK(seen == errc::cancelled);
}

TASK_TEST("timeout: a deadline in the past cancels what would wait, not what is ready") {
  runnel::event set;
  set.set();
  result<void> ready = co_await runnel::with_deadline(loop.now() - 1s, set.wait());
  CHECK(ready.has_value());
  result<void> waits = co_await runnel::with_deadline(loop.now() - 1s, runnel::sleep(1s));
  CHECK(waits.error() == errc::deadline_exceeded);
}

TASK_TEST("timeout: passes an exception and leaves the outer scope as it was") {
  bool thrown = false;
  try {
    co_await runnel::with_timeout(5s, throw_after(1s));
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  runnel::cancel_scope& scope = co_await runnel::this_scope();
  CHECK(&scope == &loop.root_scope());
  result<void> slept = co_await runnel::sleep(1s);
  CHECK(slept.has_value());
}

namespace {

task<result<std::error_code>> code_after(runnel::duration d) {
  result<void> slept = co_await runnel::sleep(d);
  if (!slept) co_return result<std::error_code>(boost::system::in_place_error, slept.error());
  co_return result<std::error_code>(boost::system::in_place_value,
                                    std::make_error_code(std::errc::io_error));
}

}  // namespace

TASK_TEST("timeout: a value that could be an error is told from one") {
  result<std::error_code> in_time = co_await runnel::with_timeout(1s, code_after(1ms));
  REQUIRE(in_time.has_value());
  CHECK(*in_time == std::errc::io_error);
  result<std::error_code> late = co_await runnel::with_timeout(1ms, code_after(1s));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
}
