#include "runnel/when_all.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "runnel/channel.hpp"
#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/mutex.hpp"
#include "runnel/sleep.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<int> value_after(runnel::duration d, int value) {
  co_await runnel::sleep(d);
  co_return value;
}

task<result<std::string>> text_after(runnel::duration d, std::string text) {
  result<void> slept = co_await runnel::sleep(d);
  if (!slept) co_return slept.error();
  co_return text;
}

task<> count_after(runnel::duration d, int& count) {
  co_await runnel::sleep(d);
  ++count;
}

task<result<void>> fail_after(runnel::duration d, std::errc why) {
  co_await runnel::sleep(d);
  co_return std::make_error_code(why);
}

task<int> throw_after(runnel::duration d) {
  co_await runnel::sleep(d);
  throw std::runtime_error("child failed");
}

task<int&> refer(int& to) {
  co_await runnel::yield();
  co_return to;
}

}  // namespace

TASK_TEST("when_all: gives the values of all children in order, in the time of the slowest") {
  runnel::time_point start = loop.now();
  int target = 8;
  int count = 0;
  auto all = co_await runnel::when_all(value_after(3s, 1), value_after(1s, 2), refer(target),
                                       count_after(2s, count));
  CHECK(std::get<0>(all) == 1);
  CHECK(std::get<1>(all) == 2);
  CHECK(&std::get<2>(all).get() == &target);
  CHECK(count == 1);
  CHECK(loop.now() == start + 3s);
}

TASK_TEST("when_all: a child that gives a result makes the whole a result") {
  auto all =
      co_await runnel::when_all(text_after(1s, "text"), value_after(2s, 5), runnel::sleep(1s));
  REQUIRE(all.has_value());
  CHECK(std::get<0>(*all) == "text");
  CHECK(std::get<1>(*all) == 5);
  int count = 0;
  result<void> none = co_await runnel::when_all(count_after(1s, count), runnel::sleep(1s));
  CHECK(none.has_value());
  CHECK(count == 1);
  co_await runnel::when_all(count_after(1s, count), count_after(1s, count));
  CHECK(count == 3);
}

TASK_TEST("when_all: the first error cancels the others, which are awaited, and is given") {
  runnel::time_point start = loop.now();
  int count = 0;
  auto all = co_await runnel::when_all(text_after(1h, "never"), count_after(1h, count),
                                       fail_after(2s, std::errc::broken_pipe),
                                       fail_after(3s, std::errc::io_error));
  REQUIRE(all.has_error());
  CHECK(all.error() == std::errc::broken_pipe);
  CHECK(count == 1);
  CHECK(loop.now() == start + 2s);
}

TASK_TEST("when_all: an exception comes out once all have ended") {
  runnel::time_point start = loop.now();
  int count = 0;
  bool thrown = false;
  try {
    co_await runnel::when_all(throw_after(1s), count_after(1h, count), throw_after(2s));
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(count == 1);
  CHECK(loop.now() == start + 1s);
}

TASK_TEST("when_all: takes leaf operations, deadlines and other combinations") {
  runnel::channel<int> c{1};
  runnel::mutex m;
  runnel::event e;
  e.set();
  auto send = [](runnel::channel<int>& to) -> task<> {
    co_await runnel::sleep(1s);
    co_await to.send(3);
  };
  auto all = co_await runnel::when_all(
      c.receive(), m.lock(), e.wait(), runnel::with_timeout(2s, value_after(1s, 4)), send(c),
      runnel::with_timeout(5s, runnel::when_all(value_after(1s, 5), runnel::sleep(2s))));
  REQUIRE(all.has_value());
  CHECK(std::get<0>(*all) == 3);
  CHECK(m.locked());
  CHECK(std::get<3>(*all) == 4);
  CHECK(std::get<0>(std::get<5>(*all)) == 5);
}

TASK_TEST("when_all: a deadline around it cancels and awaits all children") {
  runnel::time_point start = loop.now();
  int count = 0;
  auto late = co_await runnel::with_timeout(
      2s, runnel::when_all(count_after(1h, count), runnel::sleep(1h), count_after(1s, count)));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(count == 2);
  CHECK(loop.now() == start + 2s);
}

TASK_TEST("when_all: a range gives a vector in order, and an empty one is a success") {
  std::vector<task<int>> many;
  for (int i = 0; i < 50; ++i) many.push_back(value_after(std::chrono::seconds(50 - i), i));
  std::vector<int> values = co_await runnel::when_all(std::move(many));
  REQUIRE(values.size() == 50);
  for (int i = 0; i < 50; ++i) CHECK(values[static_cast<std::size_t>(i)] == i);
  std::vector<task<result<std::string>>> none;
  auto empty = co_await runnel::when_all(std::move(none));
  REQUIRE(empty.has_value());
  CHECK(empty->empty());
  int count = 0;
  std::vector<task<>> plain;
  for (int i = 0; i < 3; ++i) plain.push_back(count_after(1s, count));
  co_await runnel::when_all(std::move(plain));
  CHECK(count == 3);
}

TASK_TEST("when_all: a failure in a range cancels the rest of it") {
  runnel::time_point start = loop.now();
  std::vector<task<result<void>>> many;
  for (int i = 0; i < 10; ++i) {
    many.push_back(fail_after(std::chrono::seconds(10 - i), std::errc::io_error));
  }
  result<void> all = co_await runnel::when_all(std::move(many));
  REQUIRE(all.has_error());
  CHECK(all.error() == std::errc::io_error);
  CHECK(loop.now() == start + 1s);
  std::vector<decltype(runnel::sleep(1s))> leaves;
  for (int i = 0; i < 10; ++i) leaves.push_back(runnel::sleep(1s));
  all = co_await runnel::when_all(std::move(leaves));
  CHECK(all.has_value());
}

TASK_TEST("when_all_settled: gives how each child ended and cancels nobody") {
  int count = 0;
  auto all = co_await runnel::when_all_settled(text_after(1s, "fine"),
                                               fail_after(2s, std::errc::io_error), throw_after(1s),
                                               count_after(4s, count), value_after(3s, 7));
  CHECK(std::get<0>(all).ok());
  CHECK(std::get<0>(all).get().value() == "fine");
  CHECK(!std::get<1>(all).ok());
  CHECK(std::get<1>(all).error() == std::errc::io_error);
  CHECK(!std::get<2>(all).ok());
  CHECK_THROWS_AS(std::get<2>(all).get(), std::runtime_error);
  CHECK(std::get<3>(all).ok());
  CHECK(count == 1);
  CHECK(std::get<4>(all).get() == 7);
  std::vector<task<int>> many;
  many.push_back(value_after(1s, 1));
  many.push_back(throw_after(1s));
  auto outcomes = co_await runnel::when_all_settled(std::move(many));
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].get() == 1);
  CHECK(outcomes[1].exception() != nullptr);
}

TASK_TEST("when_all: what a child awaited is gone when the child has ended") {
  auto held = std::make_shared<int>(1);
  auto keep = [](std::shared_ptr<int> mine) -> task<> {
    co_await runnel::sleep(1ms);
    CHECK(*mine == 1);
  };
  auto look = [](const std::shared_ptr<int>& other) -> task<> {
    co_await runnel::sleep(5ms);
    CHECK(other.use_count() == 1);
  };
  co_await runnel::when_all(keep(held), look(held));
}

TASK_TEST("when_all: in a cancelled scope the children start cancelled") {
  loop.root_scope().cancel();
  int count = 0;
  runnel::time_point start = loop.now();
  result<void> all = co_await runnel::when_all(runnel::sleep(1h), count_after(1h, count));
  REQUIRE(all.has_error());
  CHECK(all.error() == errc::cancelled);
  CHECK(count == 1);
  CHECK(loop.now() == start);
}

TASK_TEST("when_all: that is never awaited runs nothing and leaves nothing") {
  int count = 0;
  {
    auto unused = runnel::when_all(count_after(1s, count), runnel::sleep(1s));
    auto moved = std::move(unused);
  }
  co_await runnel::sleep(2s);
  CHECK(count == 0);
}

FIBER_TEST("when_all: a fiber waits for it as a coroutine does") {
  auto all = self.await(runnel::when_all(value_after(1s, 1), runnel::sleep(2s)));
  REQUIRE(all.has_value());
  CHECK(std::get<0>(*all) == 1);
}
