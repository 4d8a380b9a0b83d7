// Who waits where for what: the records, and the text made of them.

#include "runnel/dump.hpp"

#include <algorithm>
#include <csignal>
#include <sstream>
#include <string>
#include <vector>

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
using runnel::event;
using runnel::list_tasks;
using runnel::loop;
using runnel::task;
using runnel::task_group;
using runnel::task_record;

std::string dump_of(loop& of, std::size_t lines = 200) {
  std::ostringstream text;
  runnel::dump_tasks(of, text, {.lines = lines});
  return text.str();
}

bool contains(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

std::size_t lines_in(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// The record of the only task that waits for `what`.
task_record only(const std::vector<task_record>& all, std::string_view what) {
  task_record found;
  std::size_t count = 0;
  for (const task_record& each : all) {
    if (each.what != what) continue;
    found = each;
    ++count;
  }
  INFO("looking for ", std::string(what));
  CHECK(count == 1);
  return found;
}

constexpr unsigned inner_line = __LINE__ + 2;
task<> inner(runnel::duration time) {
  co_await runnel::sleep(time);
}

constexpr unsigned outer_line = __LINE__ + 2;
task<> outer(runnel::duration time) {
  co_await inner(time);
}

task<> wait_for(event& e) {
  co_await e.wait();
}

// A leaf of a user, which says what it is, and one that does not.
class quiet_leaf : public runnel::waiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend(h);
    if (cancelled()) wake();
  }
  void await_resume() const noexcept {}

 private:
  void on_cancel() noexcept override { wake(); }
};

class telling_leaf final : public quiet_leaf {
  runnel::wait_description describe() const override { return {"lamp", "no 7"}; }
};

task<> wait_quietly() {
  quiet_leaf leaf;
  co_await leaf;
}

task<> wait_telling() {
  co_await telling_leaf();
}

}  // namespace

TASK_TEST("dump: a record tells the chain, what is waited for and for how long") {
  task_group group{loop};
  group.spawn(outer(10s));
  const unsigned spawn_line = __LINE__ - 1;
  co_await runnel::sleep(3200ms);
  const auto all = list_tasks(loop);
  const task_record record = only(all, "sleep");
  REQUIRE(record.chain.size() == 2);
  CHECK(record.chain[0].line() == inner_line);
  CHECK(record.chain[1].line() == outer_line);
  CHECK(std::string_view(record.chain[0].file_name()).ends_with("dump_test.cpp"));
  CHECK(std::string_view(record.chain[0].function_name()).find("inner") != std::string::npos);
  CHECK(record.spawned.line() == spawn_line);
  CHECK(record.detail == "6.8 s left");
  CHECK(record.waited >= 3199ms);
  CHECK(record.waited <= 3201ms);
  CHECK(!record.ready);
  CHECK(!record.cancelled);
  CHECK(!record.fiber);
  CHECK(record.parent == task_record::none);
  CHECK(contains(dump_of(loop), "outer at dump_test.cpp:" + std::to_string(outer_line) +
                                    " > inner at dump_test.cpp:" + std::to_string(inner_line) +
                                    ": sleep (6.8 s left), for 3.2 s, spawned at dump_test.cpp:" +
                                    std::to_string(spawn_line)));
  group.cancel();
  co_await group.join();
}

TASK_TEST("dump: a callable with its arguments was spawned somewhere, too") {
  event done;
  const auto wait = [](event& e, auto...) { return wait_for(e); };
  task_group group{loop};
  group.spawn([&done] { return wait_for(done); });
  group.spawn(wait, std::ref(done));
  group.spawn(wait, std::ref(done), 1);
  group.spawn(wait, std::ref(done), 1, 2);
  const unsigned last_line = __LINE__ - 1;
  group.spawn(wait, std::ref(done), 1, 2, 3, 4);
  co_await runnel::sleep(1s);
  std::vector<unsigned> lines;
  for (const task_record& each : list_tasks(loop)) {
    if (each.what == "event") lines.push_back(each.spawned.line());
  }
  std::ranges::sort(lines);
  CHECK(lines == std::vector<unsigned>{0, last_line - 3, last_line - 2, last_line - 1, last_line});
  done.set();
  co_await group.join();
}

TASK_TEST("dump: children stand below the task that joins their group") {
  event done;
  auto joiner = [](runnel::loop& l, event& e) -> task<> {
    task_group group{l};
    group.spawn(wait_for(e));
    group.spawn(inner(10s));
    co_await group.join();
  };
  task_group group{loop};
  group.spawn(joiner(loop, done));
  co_await runnel::sleep(1s);
  const auto all = list_tasks(loop);
  REQUIRE(all.size() == 3);
  const task_record join = only(all, "join of a group");
  CHECK(join.detail == "2 children");
  for (const auto& child : {only(all, "event"), only(all, "sleep")}) {
    REQUIRE(child.parent < all.size());
    CHECK(all[child.parent].what == "join of a group");
  }
  const std::string text = dump_of(loop);
  CHECK(contains(text, "3 tasks, of which 0 ready to run\n"));
  CHECK(contains(text, "\n  wait_for at dump_test.cpp:"));
  CHECK(contains(text, "\n  inner at dump_test.cpp:"));
  done.set();
  group.cancel();
  co_await group.join();
}

TASK_TEST("dump: what is ready or has not run yet is said to be") {
  event done;
  task_group group{loop};
  group.spawn(wait_for(done));
  co_await runnel::sleep(1s);
  done.set();
  group.spawn(wait_for(done));
  const auto all = list_tasks(loop);
  REQUIRE(all.size() == 2);
  CHECK(all[0].ready);
  CHECK(all[1].ready);
  const std::string text = dump_of(loop);
  CHECK(contains(text, "2 tasks, of which 2 ready to run\n"));
  CHECK(contains(text, "a task that has not run yet: its turn, spawned at dump_test.cpp:"));
  CHECK(contains(text, "wait_for at dump_test.cpp:"));
  co_await group.join();
}

TASK_TEST("dump: ten thousand tasks that look the same take one line") {
  event done;
  task_group group{loop};
  constexpr int many = 10'000;
  for (int i = 0; i < many; ++i) {
    group.spawn(wait_for(done));
    if (i == many / 2) co_await runnel::sleep(1s);
  }
  group.spawn(outer(1h));
  co_await runnel::sleep(1s);
  const std::string text = dump_of(loop);
  CHECK(lines_in(text) == 3);
  CHECK(contains(text, "\n10000 x wait_for at dump_test.cpp:"));
  CHECK(contains(text, ": event, for 1.0 s to 2.0 s, spawned at"));
  group.cancel();
  co_await group.join();
}

TASK_TEST("dump: the number of lines is bounded, and the rest is counted") {
  auto deep = [](auto self, int depth, event& e) -> task<> {
    if (depth == 0) {
      co_await e.wait();
    } else {
      co_await self(self, depth - 1, e);
    }
  };
  event done;
  task_group group{loop};
  for (int i = 0; i < 12; ++i) {
    group.spawn(deep(deep, i, done));
  }
  co_await runnel::sleep(1s);
  const std::string text = dump_of(loop, 5);
  CHECK(lines_in(text) == 7);
  CHECK(contains(text, "\nand 7 more tasks, which take 7 more lines\n"));
  CHECK(contains(dump_of(loop), " > ... > "));
  done.set();
  co_await group.join();
}

TASK_TEST("dump: a chain without end is cut") {
  auto deep = [](auto self, int depth, event& e) -> task<> {
    if (depth == 0) {
      co_await e.wait();
    } else {
      co_await self(self, depth - 1, e);
    }
  };
  event done;
  task_group group{loop};
  group.spawn(deep(deep, 999, done));
  co_await runnel::sleep(1s);
  const task_record record = only(list_tasks(loop), "event");
  CHECK(record.chain.size() == task_record::chain_limit);
  CHECK(record.deeper == 1000 - task_record::chain_limit);
  CHECK(contains(dump_of(loop), "936 more > "));
  done.set();
  co_await group.join();
}

TASK_TEST("dump: a fiber tells where it waits, through the tasks that it awaits too") {
  event done;
  const unsigned direct_line = __LINE__ + 1;
  auto direct = [&](runnel::fiber& self) { self.await(done.wait()); };
  const unsigned through_line = __LINE__ + 1;
  auto through = [&](runnel::fiber& self) { self.await(outer(10s)); };
  task_group group{loop};
  group.spawn(runnel::run_fiber(direct));
  group.spawn(runnel::run_fiber(through));
  co_await runnel::sleep(1s);
  const auto all = list_tasks(loop);
  const task_record waits = only(all, "event");
  REQUIRE(waits.chain.size() == 1);
  CHECK(waits.chain[0].line() == direct_line);
  CHECK(waits.fiber);
  const task_record sleeps = only(all, "sleep");
  REQUIRE(sleeps.chain.size() == 3);
  CHECK(sleeps.chain[0].line() == inner_line);
  CHECK(sleeps.chain[1].line() == outer_line);
  CHECK(sleeps.chain[2].line() == through_line);
  CHECK(!sleeps.fiber);
  CHECK(contains(dump_of(loop), ", on a fiber, spawned at"));
  done.set();
  group.cancel();
  co_await group.join();
}

TASK_TEST("dump: who waits behind a shield or a deadline is found") {
  event done;
  auto shielded = [](event& e) -> task<> { co_await runnel::shield(wait_for(e)); };
  auto limited = []() -> task<> { co_await runnel::with_timeout(1h, inner(10s)); };
  task_group group{loop};
  group.spawn(shielded(done));
  group.spawn(limited());
  co_await runnel::sleep(1s);
  const auto all = list_tasks(loop);
  CHECK(all.size() == 2);
  CHECK(only(all, "event").chain.size() == 2);
  CHECK(only(all, "sleep").chain.size() == 2);
  group.cancel();
  co_await runnel::yield();
  // The shield still holds.
  CHECK(list_tasks(loop).size() == 1);
  done.set();
  co_await group.join();
}

TASK_TEST("dump: a user's leaf is shown by what it says of itself") {
  task_group group{loop};
  group.spawn(wait_quietly());
  group.spawn(wait_telling());
  co_await runnel::sleep(1s);
  const auto all = list_tasks(loop);
  CHECK(only(all, "something").detail.empty());
  CHECK(only(all, "lamp").detail == "no 7");
  CHECK(contains(dump_of(loop), ": lamp (no 7), for 1.0 s"));
  group.cancel();
  co_await group.join();
}

TEST_CASE("dump: a deadlock says who waits for what") {
  loop loop{{.simulated = 0}};
  event never;
  try {
    loop.run(wait_for(never));
    FAIL("no deadlock");
  } catch (const runnel::deadlock_error& e) {
    const std::string said = e.what();
    CHECK(contains(said, "something that can never happen"));
    CHECK(contains(said, "\nwait_for at dump_test.cpp:"));
    CHECK(contains(said, ": event, for "));
  }
}

TEST_CASE("dump: tasks that join the group they belong to are shown") {
  loop loop{{.simulated = 0}};
  auto join = [](task_group& g) -> task<> { co_await g.join(); };
  auto body = [](runnel::loop& l, auto join_it) -> task<> {
    event never;
    task_group group{l};
    group.spawn(join_it(group));
    co_await never.wait();
  };
  try {
    loop.run(body(loop, join));
    FAIL("no deadlock");
  } catch (const runnel::deadlock_error& e) {
    CHECK(contains(e.what(), ": join of a group (1 child), for "));
  }
}

TEST_CASE("dump: a loop without tasks, and one that has ended") {
  loop loop{{.simulated = 0}};
  CHECK(dump_of(loop) == "0 tasks, of which 0 ready to run\n");
  loop.run(inner(1s));
  CHECK(list_tasks(loop).empty());
}

TEST_CASE("dump: a signal prints it") {
  loop loop;
  auto body = [](runnel::loop& l) -> task<std::string> {
    std::ostringstream out;
    event never;
    task_group group{l};
    group.spawn(runnel::dump_on_signal(l, SIGUSR1, out));
    group.spawn(wait_for(never));
    co_await runnel::yield();
    std::raise(SIGUSR1);
    while (out.str().empty()) {
      co_await runnel::yield();
    }
    group.cancel();
    co_await group.join();
    co_return out.str();
  };
  const std::string text = loop.run(body(loop));
  CHECK(contains(text, "wait_for at dump_test.cpp:"));
  CHECK(contains(text, "pooled bytes now"));
}

namespace {

// Over-aligned promises lie at another offset of their frame.
struct alignas(64) wide {
  int value = 0;
};

task<wide> make_wide(event& e) {
  co_await e.wait();
  co_return wide{3};
}

task<> wait_wide(event& e) {
  const wide got = co_await make_wide(e);
  CHECK(got.value == 3);
}

task<> look_often(loop& of) {
  for (int i = 0; i < 40; ++i) {
    const std::string text = dump_of(of);
    CHECK(!text.empty());
    co_await runnel::sleep(250us);
  }
}

// A bit of everything, looked at while it is being torn down.
task<> busy(loop& of) {
  event done;
  auto on_fiber = [&](runnel::fiber& self) {
    self.await(runnel::with_timeout(2ms, runnel::sleep(1h)));
    self.await(done.wait());
  };
  task_group group{of};
  group.spawn(wait_wide(done));
  group.spawn(outer(3ms));
  group.spawn(runnel::run_fiber(on_fiber));
  co_await runnel::with_timeout(1ms, wait_for(done));
  co_await runnel::shield(inner(2ms));
  done.set();
  co_await group.join();
}

task<> busy_and_looked_at(runnel::loop& loop, std::uint64_t) {
  task_group group{loop};
  group.spawn(look_often(loop));
  group.spawn(busy(loop));
  co_await group.join();
}

}  // namespace

TASK_TEST("dump: over-aligned results do not mislead it") {
  event done;
  task_group group{loop};
  group.spawn(wait_wide(done));
  co_await runnel::sleep(1s);
  CHECK(only(list_tasks(loop), "event").chain.size() == 2);
  done.set();
  co_await group.join();
}

TEST_CASE("dump: may be taken at any moment of tasks that are destroyed") {
  runnel::testing::kill_everywhere(&busy_and_looked_at);
}

TEST_CASE("dump: may be taken at any moment of tasks that are cancelled") {
  runnel::testing::cancel_everywhere(&busy_and_looked_at);
}
