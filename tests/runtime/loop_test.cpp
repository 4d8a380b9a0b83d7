#include "runnel/loop.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;
using runnel::time_point;

class recording_hook final : public runnel::turn_hook {
 public:
  explicit recording_hook(std::vector<std::string>& log) : log_(&log) {}

  bool on_receive(time_point now) override {
    received_at = now;
    log_->push_back("receive");
    return std::exchange(more_to_receive, false);
  }
  void on_timers(time_point now) override {
    CHECK(now == received_at);
    log_->push_back("timers");
  }
  bool on_emit(time_point now) override {
    CHECK(now >= received_at);
    log_->push_back("emit");
    return std::exchange(more_to_emit, false);
  }
  time_point deadline() const noexcept override { return wanted; }

  bool more_to_receive = false;
  bool more_to_emit = false;
  time_point received_at{};
  time_point wanted = time_point::max();

 private:
  std::vector<std::string>* log_;
};

task<> note(std::vector<std::string>& log, std::string what) {
  log.push_back(std::move(what));
  co_return;
}

task<> sleep_and_note(std::vector<int>& order, int number) {
  co_await runnel::sleep(1ms * (number % 3));
  order.push_back(number);
}

std::vector<int> order_with_seed(std::uint64_t seed) {
  std::vector<int> order;
  runnel::loop loop{{.simulated = seed}};
  auto body = [](runnel::loop& l, std::vector<int>& out) -> task<> {
    runnel::task_group group{l};
    for (int i = 0; i < 30; ++i) {
      group.spawn(sleep_and_note(out, i));
    }
    co_await group.join();
  };
  loop.run(body(loop, order));
  return order;
}

}  // namespace

TEST_CASE("loop: a turn receives, fires timers, runs tasks, emits") {
  std::vector<std::string> log;
  runnel::loop loop{{.simulated = 0}};
  recording_hook hook{log};
  loop.attach(hook);
  loop.run(note(log, "task"));
  loop.detach(hook);
  CHECK(log == std::vector<std::string>{"receive", "timers", "task", "emit"});
}

TEST_CASE("loop: a hook's deadline and its work left decide when the next turn comes") {
  std::vector<std::string> log;
  runnel::loop loop{{.simulated = 0}};
  recording_hook hook{log};
  loop.attach(hook);
  hook.wanted = loop.now() + 5s;
  hook.more_to_emit = true;
  time_point start = loop.now();
  auto body = [](runnel::loop& l, recording_hook& h, time_point begin) -> task<> {
    co_await runnel::yield();
    CHECK(l.now() == begin);
    co_await runnel::sleep(20s);
    CHECK(h.received_at == l.now());
  };
  auto asleep = [](runnel::loop& l, recording_hook& h, time_point begin) -> task<> {
    co_await runnel::sleep(1ns);
    h.wanted = time_point::max();
    CHECK(l.now() == begin + 1ns);
  };
  loop.run(asleep(loop, hook, start));
  loop.run(body(loop, hook, start + 1ns));
  loop.detach(hook);
}

TASK_TEST("loop: time stands still within a turn and jumps when everybody sleeps") {
  time_point start = loop.now();
  co_await runnel::sleep(90min);
  CHECK(loop.now() == start + 90min);
  CHECK(loop.now() == loop.now());
  co_await runnel::yield();
  CHECK(loop.now() == start + 90min);
}

TEST_CASE("loop: the same seed gives the same order, another seed another one") {
  std::vector<int> first = order_with_seed(7);
  CHECK(first == order_with_seed(7));
  CHECK(first != order_with_seed(8));
  std::vector<int> fifo = order_with_seed(0);
  std::vector<int> by_deadline = fifo;
  std::sort(by_deadline.begin(), by_deadline.end(), [](int a, int b) {
    return std::pair{a % 3, a} < std::pair{b % 3, b};
  });
  CHECK(fifo == by_deadline);
}

TASK_TEST("loop: a run of ready tasks is bounded so that hooks get their turn") {
  std::uint64_t turns = loop.metrics().turns;
  for (unsigned i = 0; i < 10 * runnel::loop::ready_per_turn; ++i) {
    co_await runnel::yield();
  }
  CHECK(loop.metrics().turns - turns >= 9);
}

TEST_CASE("loop: run inside a task is refused") {
  runnel::loop loop{{.simulated = 1}};
  auto inner = []() -> task<> { co_return; };
  auto outer = [](runnel::loop& l, task<> child) -> task<> {
    l.run(std::move(child));
    co_return;
  };
  CHECK_THROWS_AS(loop.run(outer(loop, inner())), std::logic_error);
}

TEST_CASE("loop: run on another thread is refused") {
  runnel::loop loop{{.simulated = 1}};
  auto body = []() -> task<> { co_return; };
  bool refused = false;
  std::thread other{[&] {
    try {
      loop.run(body());
    } catch (const std::logic_error&) {
      refused = true;
    }
  }};
  other.join();
  CHECK(refused);
}

TEST_CASE("loop: says in one line what the kernel granted, and logs it once") {
  std::vector<std::string> lines;
  runnel::loop_options options;
  options.log = [&](std::string_view line) { lines.emplace_back(line); };
  runnel::loop loop{options};
  CHECK(lines == std::vector<std::string>{loop.description()});
  const bool ring = loop.backend() == runnel::backend_kind::io_uring;
  CHECK(loop.description().starts_with(ring ? "io_uring backend: " : "epoll backend: "));
  CHECK(loop.description().find('\n') == std::string::npos);
}

RING_TASK_TEST("loop: real time passes in a sleep, with one wait for it") {
  time_point start = loop.now();
  std::uint64_t waits = loop.metrics().waits;
  co_await runnel::sleep(3ms);
  CHECK(loop.now() - start >= 3ms);
  CHECK(loop.metrics().waits - waits <= 2);
}

TEST_CASE("loop: real loop with nothing to wait for reports the deadlock") {
  runnel::loop loop;
  runnel::event never;
  auto body = [](runnel::event& e) -> task<> { co_await e.wait(); };
  CHECK_THROWS_AS(loop.run(body(never)), runnel::deadlock_error);
}
