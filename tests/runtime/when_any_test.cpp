#include "runnel/when_any.hpp"

#include <stdexcept>
#include <vector>

#include "runnel/channel.hpp"
#include "runnel/event.hpp"
#include "runnel/mutex.hpp"
#include "runnel/shield.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::channel;
using runnel::errc;
using runnel::result;
using runnel::task;

task<int> value_after(runnel::duration d, int value) {
  co_await runnel::sleep(d);
  co_return value;
}

task<> count_after(runnel::duration d, int& count) {
  co_await runnel::sleep(d);
  ++count;
}

task<result<int>> fail_after(runnel::duration d) {
  co_await runnel::sleep(d);
  co_return std::make_error_code(std::errc::io_error);
}

task<int> throw_after(runnel::duration d) {
  co_await runnel::sleep(d);
  throw std::runtime_error("child failed");
}

}  // namespace

TASK_TEST("when_any: the first to end wins, the others are cancelled and awaited") {
  runnel::time_point start = loop.now();
  int count = 0;
  auto first = co_await runnel::when_any(count_after(1h, count), value_after(2s, 5),
                                         runnel::sleep(3s), fail_after(1h));
  CHECK(first.index == 1);
  CHECK(std::get<1>(first.value) == 5);
  CHECK(count == 1);
  CHECK(loop.now() == start + 2s);
}

TASK_TEST("when_any: a failure is an end as any other") {
  auto first = co_await runnel::when_any(value_after(5s, 1), fail_after(1s));
  REQUIRE(first.index == 1);
  CHECK(std::get<1>(first.value).error() == std::errc::io_error);
  bool thrown = false;
  try {
    co_await runnel::when_any(value_after(5s, 1), throw_after(1s));
  } catch (const std::runtime_error&) {
    thrown = true;
  }
  CHECK(thrown);
  auto quiet = co_await runnel::when_any(value_after(1s, 1), throw_after(1h));
  CHECK(quiet.index == 0);
}

TASK_TEST("when_any: a range gives index and value, and must not be empty") {
  std::vector<task<int>> many;
  for (int i = 0; i < 10; ++i) many.push_back(value_after(std::chrono::seconds(10 - i), i));
  auto first = co_await runnel::when_any(std::move(many));
  CHECK(first.index == 9);
  CHECK(first.value == 9);
  std::vector<task<>> none;
  bool thrown = false;
  try {
    co_await runnel::when_any(std::move(none));
  } catch (const std::logic_error&) {
    thrown = true;
  }
  CHECK(thrown);
}

TASK_TEST("when_any: what a loser was to take stays there") {
  channel<int> a{2};
  channel<int> b{2};
  co_await a.send(1);
  co_await b.send(2);
  auto first = co_await runnel::when_any(a.receive(), b.receive());
  CHECK(a.size() + b.size() == 1);
  std::size_t other = 1 - first.index;
  first = co_await runnel::when_any(a.receive(), b.receive());
  CHECK(first.index == other);
  CHECK(a.empty());
  CHECK(b.empty());
}

TASK_TEST("when_any: values that come for two waiting receivers at once are not lost") {
  channel<int> a{2};
  channel<int> b{2};
  auto send_both = [](channel<int>& to, channel<int>& too) -> task<> {
    co_await runnel::sleep(1ms);
    CHECK(to.try_send(1).has_value());
    CHECK(too.try_send(2).has_value());
  };
  runnel::task_group group{loop};
  group.spawn(send_both(a, b));
  auto first = co_await runnel::when_any(a.receive(), b.receive());
  co_await group.join();
  CHECK(a.size() + b.size() == 1);
  result<int> left = first.index == 0 ? b.try_receive() : a.try_receive();
  CHECK(left.value() == (first.index == 0 ? 2 : 1));
}

TASK_TEST("when_any: what a loser gives all the same is given back before it returns") {
  runnel::mutex m;
  auto stubborn = [](runnel::mutex& it) -> task<runnel::mutex_guard> {
    result<runnel::mutex_guard> guard = co_await runnel::shield(it.lock());
    co_return std::move(*guard);
  };
  // Each of the two needs the lock to end, and the second one only gets it from the first.
  auto slow = [](runnel::mutex& it) -> task<> {
    co_await runnel::sleep(1ms);
    result<runnel::mutex_guard> guard = co_await runnel::shield(it.lock());
  };
  runnel::mutex_guard mine = m.try_lock();
  auto release = [](runnel::mutex_guard held) -> task<> {
    co_await runnel::sleep(5ms);
    held.unlock();
  };
  runnel::task_group group{loop};
  group.spawn(release(std::move(mine)));
  auto first = co_await runnel::when_any(runnel::sleep(2ms), stubborn(m), slow(m));
  CHECK(first.index == 0);
  CHECK(!m.locked());
  co_await group.join();
}

TASK_TEST("when_any: cancellation from outside ends all children") {
  runnel::time_point start = loop.now();
  auto late =
      co_await runnel::with_timeout(1s, runnel::when_any(runnel::sleep(1h), runnel::sleep(2h)));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 1s);
}

TASK_TEST("when_any: a loop over two sources takes every value of both") {
  channel<int> a{1};
  channel<int> b{1};
  auto feed = [](runnel::loop& on, channel<int>& to, int first) -> task<> {
    for (int i = 0; i < 50; ++i) {
      int value = first + i;
      co_await to.send(std::move(value));
      if (on.random().below(2) == 0) co_await runnel::sleep(1ms);
    }
  };
  runnel::task_group group{loop};
  group.spawn(feed(loop, a, 0));
  group.spawn(feed(loop, b, 1000));
  int next_a = 0;
  int next_b = 1000;
  while (next_a < 50 || next_b < 1050) {
    auto first = co_await runnel::when_any(a.receive(), b.receive());
    if (first.index == 0) {
      CHECK(std::get<0>(first.value).value() == next_a++);
    } else {
      CHECK(std::get<1>(first.value).value() == next_b++);
    }
  }
  co_await group.join();
}
