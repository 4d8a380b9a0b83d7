// Functions and coroutines that one loop runs for another: values, errors, exceptions, taking back,
// cancelling, killing, and loops that end in the middle.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runnel/call.hpp"
#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/shield.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/loop_thread.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::loop_remote;
using runnel::result;
using runnel::task;
using runnel::testing::gate;
using runnel::testing::loop_thread;

/// Counts how many of it are alive, and says on which thread the last one died.
struct probe {
  explicit probe(std::atomic<int>& count) : alive(&count) { ++*alive; }
  probe(const probe& other) : alive(other.alive) { ++*alive; }
  probe& operator=(const probe&) = delete;
  ~probe() { --*alive; }
  std::atomic<int>* alive;
};

task<std::string> greet(runnel::loop&) {
  co_await runnel::sleep(1us);
  co_return std::string{"hello from over there"};
}

task<> fails() {
  co_await runnel::yield();
  throw std::runtime_error("there");
}

task<result<int>> refuses() {
  co_await runnel::yield();
  co_return std::make_error_code(std::errc::address_in_use);
}

// A loop of the real kernel here, and one there.
template <class Body>
void run_with(loop_thread& there, Body body) {
  runnel::loop here;
  here.run(body(here, there));
}

}  // namespace

TEST_CASE("call: gives the value, the result or the exception of a function run there") {
  loop_thread other;
  run_with(other, [](runnel::loop&, loop_thread& there) -> task<> {
    auto where = co_await runnel::call(there.remote(), [] { return std::this_thread::get_id(); });
    CHECK(where.value() == there.id());
    result<void> nothing = co_await runnel::call(there.remote(), [](runnel::loop&) {});
    CHECK(nothing.has_value());
    auto refuse = []() -> result<int> { return std::make_error_code(std::errc::no_buffer_space); };
    result<int> refused = co_await runnel::call(there.remote(), refuse);
    CHECK(refused.error() == std::errc::no_buffer_space);
    auto boxed = []() { return std::make_unique<int>(7); };
    result<std::unique_ptr<int>> box = co_await runnel::call(there.remote(), boxed);
    CHECK(**box == 7);
    auto give_code = [] { return std::make_error_code(std::errc::io_error); };
    result<std::error_code> code = co_await runnel::call(there.remote(), give_code);
    REQUIRE(code.has_value());
    CHECK(*code == std::errc::io_error);
    std::string said;
    try {
      auto raise = [] { throw std::runtime_error("over there"); };
      co_await runnel::call(there.remote(), raise);
    } catch (const std::runtime_error& e) {
      said = e.what();
    }
    CHECK(said == "over there");
  });
}

TEST_CASE("call: a thousand in a row between two loops, each asleep while the other works") {
  loop_thread other;
  run_with(other, [](runnel::loop&, loop_thread& there) -> task<> {
    int sum = 0;
    for (int i = 0; i < 1000; ++i) {
      auto add = [&sum] { ++sum; };
      result<void> done = co_await runnel::call(there.remote(), add);
      CHECK(done.has_value());
    }
    CHECK(sum == 1000);
  });
}

TEST_CASE("call: cancelled before it was begun it is taken back, and its function dies here") {
  loop_thread other{loop_thread::start::when_told};
  std::atomic<int> alive{0};
  std::atomic<int> ran{0};
  {
    runnel::loop here;
    auto body = [](const loop_remote& there, std::atomic<int>& living,
                   std::atomic<int>& runs) -> task<> {
      auto work = [token = probe{living}, &runs] { ++runs; };
      result<void> done = co_await runnel::with_timeout(1us, runnel::call(there, std::move(work)));
      CHECK(done.error() == errc::deadline_exceeded);
    };
    here.run(body(other.remote(), alive, ran));
    CHECK(alive == 0);
  }
  other.go();
  other.end();
  CHECK(ran == 0);
}

TEST_CASE("call: cancelled while it runs it completes only when the function has ended") {
  loop_thread other;
  gate begun;
  gate may_end;
  std::atomic<bool> ended{false};
  runnel::loop here;
  auto slow = [&] {
    begun.open();
    may_end.pass();
    ended = true;
    return 5;
  };
  // Another thread's post cancels the caller once the function runs.
  auto root = [](const loop_remote& there, const loop_remote& mine, decltype(slow)& work,
                 std::atomic<bool>& over, gate& start, gate& release) -> task<> {
    runnel::cancel_scope& scope = co_await runnel::this_scope();
    std::thread canceller{[&] {
      start.pass();
      CHECK(mine.post([&scope, &over, &release] {
        scope.cancel();
        CHECK(!over.load());
        release.open();
      }));
    }};
    result<int> value = co_await runnel::call(there, std::ref(work));
    CHECK(over.load());
    CHECK(value.value() == 5);
    canceller.join();
  };
  here.run(root(other.remote(), here.remote(), slow, ended, begun, may_end));
}

TEST_CASE("call: to a loop that has ended, or ends before it comes to it, gives an error") {
  auto body = [](loop_thread& there, bool& ran) -> task<> {
    auto& scope = co_await runnel::this_scope();
    runnel::task_group group{scope};
    auto child = [](const loop_remote& to, bool& flag) -> task<> {
      auto work = [&flag] { flag = true; };
      result<void> done = co_await runnel::call(to, work);
      CHECK(done.error() == errc::loop_ended);
    };
    group.spawn(child(there.remote(), ran));
    group.spawn(child(there.remote(), ran));
    co_await runnel::yield();
    there.end_unrun();
    group.spawn(child(there.remote(), ran));
    co_await group.join();
    CHECK(!ran);
  };
  loop_thread other{loop_thread::start::when_told};
  bool ran = false;
  runnel::loop here;
  here.run(body(other, ran));
}

TASK_TEST("call: works on the own loop, and between a simulated and another one is refused") {
  result<int> own = co_await runnel::call(loop.remote(), [] { return 3; });
  CHECK(own.value() == 3);
  loop_thread there;
  result<int> other = co_await runnel::call(there.remote(), [] { return 3; });
  CHECK(other.error() == errc::not_supported);
}

TEST_CASE("call: to a simulated loop of another thread is refused") {
  runnel::loop simulated{{.simulated = 1}};
  loop_remote remote = simulated.remote();
  std::thread other{[&] {
    runnel::loop here;
    auto body = [](loop_remote to) -> task<> {
      result<int> value = co_await runnel::call(to, [] { return 3; });
      CHECK(value.error() == errc::not_supported);
    };
    here.run(body(remote));
  }};
  other.join();
}

TEST_CASE("run_on: runs a coroutine there as a child and moves its value back") {
  loop_thread other;
  run_with(other, [](runnel::loop&, loop_thread& there) -> task<> {
    result<std::string> said = co_await runnel::run_on(there.remote(), greet);
    CHECK(said.value() == "hello from over there");
    result<int> refused = co_await runnel::run_on(there.remote(), refuses);
    CHECK(refused.error() == std::errc::address_in_use);
    std::string what;
    try {
      co_await runnel::run_on(there.remote(), fails);
    } catch (const std::runtime_error& e) {
      what = e.what();
    }
    CHECK(what == "there");
    auto throws_at_once = []() -> task<int> { throw std::runtime_error("before"); };
    auto no_task = [&throws_at_once](runnel::loop&) {
      if (true) throw std::runtime_error("no task");
      return throws_at_once();
    };
    try {
      co_await runnel::run_on(there.remote(), no_task);
    } catch (const std::runtime_error& e) {
      what = e.what();
    }
    CHECK(what == "no task");
  });
}

TEST_CASE("run_on: cancellation goes across, and waits for the child to end") {
  loop_thread other;
  run_with(other, [](runnel::loop&, loop_thread& there) -> task<> {
    auto patient = []() -> task<result<int>> {
      result<void> slept = co_await runnel::sleep(1h);
      CHECK(slept.error() == errc::cancelled);
      // The last words of a cancelled child are heard to their end.
      co_await runnel::shield(runnel::sleep(100us));
      co_return 17;
    };
    result<int> value = co_await runnel::with_timeout(1ms, runnel::run_on(there.remote(), patient));
    // It may have been taken back, before the other loop came to it.
    if (value.has_error()) {
      CHECK(value.error() == errc::deadline_exceeded);
    } else {
      CHECK(value.value() == 17);
    }
  });
}

TEST_CASE("run_on: a child there may itself run one here, and be cancelled through both") {
  loop_thread other;
  run_with(other, [](runnel::loop& here, loop_thread& there) -> task<> {
    loop_remote home = here.remote();
    auto sleeper = []() -> task<result<void>> { co_return co_await runnel::sleep(1h); };
    auto forth = [&home, &sleeper](runnel::loop&) {
      auto back = [](loop_remote to, decltype(sleeper)& fn) -> task<result<void>> {
        result<void> ended = co_await runnel::run_on(to, fn);
        co_return ended;
      };
      return back(home, sleeper);
    };
    result<void> ended = co_await runnel::with_timeout(1ms, runnel::run_on(there.remote(), forth));
    CHECK(ended.error() == errc::deadline_exceeded);
  });
}

TEST_CASE("run_on: the loop there ends while the child waits") {
  std::atomic<int> alive{0};
  auto body = [](loop_thread& there, std::atomic<int>& living) -> task<> {
    runnel::event begun;
    loop_remote home = (co_await runnel::this_loop()).remote();
    auto child = [](loop_remote back, runnel::event& e, std::atomic<int>& count) -> task<> {
      probe token{count};
      CHECK(back.post([&e] { e.set(); }).has_value());
      co_await runnel::sleep(1h);
    };
    auto make = [&] { return child(home, begun, living); };
    auto& scope = co_await runnel::this_scope();
    runnel::task_group group{scope};
    auto caller = [](const loop_remote& to, decltype(make)& fn) -> task<> {
      result<void> ended = co_await runnel::run_on(to, std::ref(fn));
      CHECK(ended.error() == errc::loop_ended);
    };
    group.spawn(caller(there.remote(), make));
    co_await begun.wait();
    CHECK(living == 1);
    there.end();
    CHECK(living == 0);
    co_await group.join();
  };
  loop_thread other;
  runnel::loop here;
  here.run(body(other, alive));
}

TEST_CASE("run_on: the calling loop is gone before the child has ended") {
  std::atomic<int> alive{0};
  loop_thread other;
  {
    std::optional<runnel::loop> here{std::in_place};
    runnel::event begun;
    auto child = [](loop_remote back, runnel::event& e, std::atomic<int>& count) -> task<> {
      probe token{count};
      static_cast<void>(back.post([&e] { e.set(); }));
      co_await runnel::sleep(1h);
    };
    std::function<task<>()> make = [&, home = here->remote()] { return child(home, begun, alive); };
    auto caller = [](loop_remote to, std::function<task<>()>& lent) -> task<> {
      co_await runnel::run_on(to, std::ref(lent));
    };
    runnel::testing::victim waiting = runnel::testing::make_victim(caller(other.remote(), make));
    waiting.start(*here);
    auto until = [](runnel::event& e) -> task<> { co_await e.wait(); };
    here->run(until(begun));
    CHECK(alive == 1);
    here.reset();
    waiting.destroy();
  }
  other.end();
  CHECK(alive == 0);
}

TASK_TEST("run_on: in virtual time on the own loop, with everything that goes wrong there") {
  loop_remote remote = loop.remote();
  runnel::time_point start = loop.now();
  auto nap = []() -> task<int> {
    co_await runnel::sleep(5ms);
    co_return 9;
  };
  result<int> value = co_await runnel::run_on(remote, nap);
  CHECK(value.value() == 9);
  CHECK(loop.now() == start + 5ms);
  // The child is cancelled and ends with a value all the same, which is kept.
  value = co_await runnel::with_timeout(3ms, runnel::run_on(remote, nap));
  CHECK(value.value() == 9);
  CHECK(loop.now() == start + 8ms);
  auto long_nap = []() -> task<result<void>> { co_return co_await runnel::sleep(1h); };
  result<void> late = co_await runnel::with_timeout(3ms, runnel::run_on(remote, long_nap));
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(loop.now() == start + 11ms);
}

TEST_CASE("run_on: a fiber may wait for it") {
  loop_thread other;
  runnel::loop here;
  auto in_fiber = [&](runnel::fiber& self) {
    result<std::string> said = self.await(runnel::run_on(other.remote(), greet));
    CHECK(said.value() == "hello from over there");
    result<int> three = self.await(runnel::call(other.remote(), [] { return 3; }));
    CHECK(three.value() == 3);
  };
  here.run(runnel::run_fiber(in_fiber));
}

namespace {

// Calls and children on the own loop: what is checked is that no letter reaches a dead frame.
task<> all_of_it(runnel::loop& loop, std::uint64_t) {
  loop_remote remote = loop.remote();
  auto nap = []() -> task<> { co_await runnel::sleep(2ms); };
  co_await runnel::call(remote, [] {});
  co_await runnel::run_on(remote, nap);
  auto nested = [remote]() {
    auto inner = [](loop_remote to) -> task<> {
      auto sleeper = []() -> task<> { co_await runnel::sleep(1ms); };
      co_await runnel::run_on(to, sleeper);
      co_await runnel::call(to, [] {});
    };
    return inner(remote);
  };
  co_await runnel::run_on(remote, std::ref(nested));
  co_await runnel::with_timeout(1ms, runnel::run_on(remote, nap));
  co_await runnel::sleep(1ms);
}

loop_thread* neighbour = nullptr;

task<> with_neighbour(runnel::loop&, std::uint64_t) {
  loop_remote remote = neighbour->remote();
  auto nap = []() -> task<int> {
    co_await runnel::sleep(100us);
    co_return 1;
  };
  for (int i = 0; i < 3; ++i) {
    co_await runnel::call(remote, [] { return std::string(100, 'x'); });
    co_await runnel::run_on(remote, nap);
    co_await runnel::with_timeout(50us, runnel::run_on(remote, nap));
  }
}

}  // namespace

TEST_CASE("run_on: the awaiting frame may be destroyed at every suspension point") {
  runnel::testing::kill_everywhere(&all_of_it);
}

TEST_CASE("run_on: the awaiting task may be cancelled at every suspension point") {
  runnel::testing::cancel_everywhere(&all_of_it);
}

TEST_CASE("run_on: killed and cancelled at many points with the child on another thread") {
  loop_thread other;
  neighbour = &other;
  runnel::testing::kill_everywhere_real(&with_neighbour, {.time_step = 100us, .passes = 4});
  runnel::testing::cancel_everywhere_real(&with_neighbour, {.time_step = 100us, .passes = 4});
  neighbour = nullptr;
}
