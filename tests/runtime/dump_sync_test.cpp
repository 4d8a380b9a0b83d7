// What a dump says of tasks that wait for each other.

#include <string>
#include <vector>

#include "runnel/channel.hpp"
#include "runnel/condition.hpp"
#include "runnel/dump.hpp"
#include "runnel/event.hpp"
#include "runnel/mutex.hpp"
#include "runnel/semaphore.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/when_all.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;
using runnel::task_record;

task<> hold(runnel::mutex& m) {
  const auto locked = co_await m.lock();
  CHECK(locked.has_value());
  co_await runnel::sleep(1h);
}

task<> want(runnel::mutex& m) {
  co_await m.lock();
}

task<> receive(runnel::channel<int>& from) {
  co_await from.receive();
}

task<> wait_for(runnel::event& e) {
  co_await e.wait();
}

task<> both(runnel::event& e, unsigned& line) {
  line = __LINE__ + 1;
  co_await runnel::when_all(wait_for(e), wait_for(e));
}

std::vector<task_record> those(const std::vector<task_record>& all, std::string_view what) {
  std::vector<task_record> found;
  for (const task_record& each : all) {
    if (each.what == what) found.push_back(each);
  }
  return found;
}

}  // namespace

TASK_TEST("dump: waits for a mutex and a channel are named") {
  runnel::mutex m;
  runnel::channel<int> numbers(1);
  runnel::task_group group{loop};
  group.spawn(hold(m));
  co_await runnel::sleep(1s);
  group.spawn(want(m));
  group.spawn(receive(numbers));
  co_await runnel::sleep(1s);
  const auto all = runnel::list_tasks(loop);
  CHECK(those(all, "mutex").size() == 1);
  CHECK(those(all, "channel receive").size() == 1);
  group.cancel();
  co_await group.join();
}

TASK_TEST("dump: the children of when_all have its place above them") {
  runnel::event done;
  unsigned line = 0;
  runnel::task_group group{loop};
  group.spawn(both(done, line));
  co_await runnel::sleep(1s);
  const auto waiting = those(runnel::list_tasks(loop), "event");
  REQUIRE(waiting.size() == 2);
  for (const task_record& each : waiting) {
    REQUIRE(each.chain.size() == 2);
    CHECK(each.chain[1].line() == line);
    CHECK(each.spawned.line() != 0);
  }
  done.set();
  co_await group.join();
}

TASK_TEST("dump: a leaf that was spawned as it is stands without a task of its own") {
  runnel::event done;
  runnel::task_group group{loop};
  group.spawn(done.wait());
  co_await runnel::sleep(1s);
  const auto waiting = those(runnel::list_tasks(loop), "event");
  REQUIRE(waiting.size() == 1);
  CHECK(waiting[0].chain.empty());
  CHECK(waiting[0].spawned.line() != 0);
  done.set();
  co_await group.join();
}
