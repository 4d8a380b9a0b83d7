// Broken contracts abort with one sentence in every build.

#include <cstdio>
#include <exception>

#include "runnel/channel.hpp"
#include "runnel/condition.hpp"
#include "runnel/detail/frame_pool.hpp"
#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/mutex.hpp"
#include "runnel/semaphore.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/death_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;
using runnel::testing::death;
using runnel::testing::run_in_child;

task<> sleeper() {
  co_await runnel::sleep(1h);
}

bool one_sentence(const death& d) {
  return d.said.starts_with("runnel: ") && d.said.ends_with(".\n") &&
         d.said.find('\n') == d.said.size() - 1;
}

void run_simulated_once(task<> (*body)(runnel::loop&)) {
  runnel::loop loop{{.simulated = 0}};
  loop.run(body(loop));
}

}  // namespace

TEST_CASE("contract: a task_group that dies with live children aborts") {
  death d = run_in_child([] {
    auto body = [](runnel::loop& loop) -> task<> {
      runnel::task_group group{loop};
      group.spawn(sleeper());
      co_return;
    };
    run_simulated_once(body);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
  CHECK(d.said.find("task_group") != std::string::npos);
}

TEST_CASE("contract: a moved-from task that is awaited aborts") {
  death d = run_in_child([] {
    auto body = [](runnel::loop&) -> task<> {
      task<> first = sleeper();
      task<> second = std::move(first);
      co_await std::move(first);
    };
    run_simulated_once(body);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

TEST_CASE("contract: a second join of a task_group aborts") {
  death d = run_in_child([] {
    auto body = [](runnel::loop& loop) -> task<> {
      runnel::task_group inner{loop};
      runnel::task_group outer{loop};
      inner.spawn(sleeper());
      auto join = [](runnel::task_group& g) -> task<> { co_await g.join(); };
      outer.spawn(join(inner));
      outer.spawn(join(inner));
      co_await outer.join();
    };
    run_simulated_once(body);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

TEST_CASE("contract: an event that dies while somebody waits aborts") {
  death d = run_in_child([] {
    auto body = [](runnel::loop& loop) -> task<> {
      runnel::task_group group{loop};
      auto wait = [](runnel::event& e) -> task<> { co_await e.wait(); };
      {
        runnel::event gone;
        group.spawn(wait(gone));
        co_await runnel::sleep(1ms);
      }
      co_await group.join();
    };
    run_simulated_once(body);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

namespace {

// Lets a task wait for a `Thing`, which then dies.
template <class Thing, class... Args>
task<> outlive(runnel::loop& loop, task<> (*wait)(Thing&), Args... args) {
  runnel::task_group group{loop};
  {
    Thing gone{args...};
    group.spawn(wait(gone));
    co_await runnel::sleep(1ms);
  }
  co_await group.join();
}

task<> wait_for_lock(runnel::mutex& m) {
  auto guard = co_await m.lock();
  co_await runnel::sleep(1h);
}
task<> wait_for_permit(runnel::semaphore& s) {
  auto permit = co_await s.acquire();
  co_await runnel::sleep(1h);
}
task<> wait_for_value(runnel::channel<int>& c) {
  co_await c.receive();
}
task<> wait_for_notice(runnel::condition& c) {
  runnel::mutex m;
  runnel::mutex_guard guard = m.try_lock();
  co_await c.wait(guard);
}

}  // namespace

TEST_CASE("contract: a mutex that dies while somebody holds it aborts") {
  death d = run_in_child(
      [] { run_simulated_once([](runnel::loop& l) { return outlive(l, &wait_for_lock); }); });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
  CHECK(d.said.find("a mutex") != std::string::npos);
}

TEST_CASE("contract: a semaphore that dies while somebody waits or holds a permit aborts") {
  for (std::size_t units : {0u, 1u}) {
    death d = run_in_child([units] {
      runnel::loop loop{{.simulated = 0}};
      loop.run(outlive(loop, &wait_for_permit, units));
    });
    CHECK(d.aborted);
    CHECK(one_sentence(d));
    CHECK(d.said.find("a semaphore") != std::string::npos);
  }
}

TEST_CASE("contract: a channel that dies while somebody waits aborts") {
  death d = run_in_child([] {
    runnel::loop loop{{.simulated = 0}};
    loop.run(outlive(loop, &wait_for_value, std::size_t{1}));
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
  CHECK(d.said.find("a channel") != std::string::npos);
}

TEST_CASE("contract: a condition that dies while somebody waits aborts") {
  death d = run_in_child(
      [] { run_simulated_once([](runnel::loop& l) { return outlive(l, &wait_for_notice); }); });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
  CHECK(d.said.find("a condition") != std::string::npos);
}

TEST_CASE("contract: waiting for a condition without its mutex aborts") {
  death d = run_in_child([] {
    auto body = [](runnel::loop&) -> task<> {
      runnel::condition c;
      runnel::mutex_guard nothing;
      co_await c.wait(nothing);
    };
    run_simulated_once(body);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

TEST_CASE("contract: a fiber that swallows its unwinding and waits again is unwound all the same") {
  death d = run_in_child([] {
    runnel::loop loop{{.simulated = 0}};
    runnel::event never;
    auto body = [&](runnel::fiber& self) {
      auto* escaped = &self;
      try {
        self.await(never.wait());
      } catch (...) {
        std::fputs("", stderr);
      }
      escaped->await(never.wait());
    };
    try {
      loop.run(runnel::run_fiber(body));
    } catch (const runnel::deadlock_error&) {
      ::_exit(3);
    }
  });
  CHECK(d.exit_code == 3);
}

#ifndef NDEBUG
TEST_CASE("contract: the frame canary knows a promise at the wrong place") {
  death d = run_in_child([] {
    void* frame = runnel::detail::allocate_frame(128);
    runnel::detail::check_frame(frame);
    runnel::detail::check_frame(static_cast<std::byte*>(frame) + 8);
  });
  CHECK(d.aborted);
  CHECK(one_sentence(d));
}

TEST_CASE("contract: the frame canary knows a frame that is freed twice") {
  death d = run_in_child([] {
    void* frame = runnel::detail::allocate_frame(64 * 1024);
    runnel::detail::free_frame(frame, 64 * 1024);
    void* small = runnel::detail::allocate_frame(128);
    runnel::detail::free_frame(small, 128);
    runnel::detail::free_frame(small, 128);
  });
  CHECK(d.aborted);
}
#endif
