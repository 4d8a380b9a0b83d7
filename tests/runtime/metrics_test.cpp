#include "runnel/metrics.hpp"

#include <unistd.h>

#include <array>
#include <sstream>
#include <string>

#include "runnel/event.hpp"
#include "runnel/file.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::gauges_of;
using runnel::task;

task<> wait_for(runnel::event& e) {
  co_await e.wait();
}

task<> sleep_long() {
  co_await runnel::sleep(1h);
}

}  // namespace

TASK_TEST("metrics: what waits, is ready and is armed is counted") {
  runnel::event done;
  const auto before = gauges_of(loop);
  CHECK(before.waiting == 0);
  CHECK(before.ready == 0);
  CHECK(before.timers == 0);
  runnel::task_group group{loop};
  for (int i = 0; i < 100; ++i) {
    group.spawn(wait_for(done));
    group.spawn(sleep_long());
  }
  const auto spawned = gauges_of(loop);
  CHECK(spawned.ready == 200);
  CHECK(spawned.frames >= before.frames + 400);
  CHECK(spawned.frame_bytes >= before.frame_bytes + 400 * 64);
  co_await runnel::sleep(1s);
  const auto waiting = gauges_of(loop);
  CHECK(waiting.waiting == 200);
  CHECK(waiting.ready == 0);
  CHECK(waiting.timers == 100);
  CHECK(loop.metrics().resumed_most >= 200);
  group.cancel();
  co_await group.join();
  const auto after = gauges_of(loop);
  CHECK(after.waiting == 0);
  CHECK(after.timers == 0);
  CHECK(after.frames == before.frames);
  CHECK(after.frame_bytes == before.frame_bytes);
}

TASK_TEST("metrics: frames that are freed or too large for the pool are counted as well") {
  const auto before = gauges_of(loop);
  {
    auto large = []() -> task<> {
      std::array<std::byte, 16 * 1024> room{};
      co_await runnel::yield();
      CHECK(room[5] == std::byte{0});
    };
    task<> never = large();
    const auto with = gauges_of(loop);
    CHECK(with.frames == before.frames + 1);
    CHECK(with.frame_bytes >= before.frame_bytes + 16 * 1024);
    co_await std::move(never);
  }
  CHECK(gauges_of(loop).frames == before.frames);
  CHECK(gauges_of(loop).frame_bytes == before.frame_bytes);
}

RING_TASK_TEST("metrics: operations in flight and their buffers are counted") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto read_one = [](int fd) -> task<> {
    std::array<std::byte, 8> into{};
    co_await runnel::read_at(fd, into, runnel::current_position);
  };
  runnel::task_group group{loop};
  group.spawn(read_one(ends[0]));
  co_await runnel::yield();
  CHECK(gauges_of(loop).operations == 1);
  CHECK(gauges_of(loop).buffers == 1);
  CHECK(::write(ends[1], "x", 1) == 1);
  co_await group.join();
  CHECK(gauges_of(loop).operations == 0);
  CHECK(gauges_of(loop).buffers == 1);
  CHECK(loop.metrics().completions_per_enter() > 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("metrics: no more tasks run in one turn than the bound") {
  runnel::loop loop{{.simulated = 0}};
  auto body = [](runnel::loop& l) -> task<> {
    runnel::task_group group{l};
    runnel::event done;
    done.set();
    for (unsigned i = 0; i < 2 * runnel::loop::ready_per_turn; ++i) {
      group.spawn(wait_for(done));
    }
    co_await group.join();
  };
  loop.run(body(loop));
  CHECK(loop.metrics().resumed_most == runnel::loop::ready_per_turn);
}

TEST_CASE("metrics: turns that only busy polling keeps awake are counted") {
  runnel::loop_options options;
  options.busy_poll = 1h;
  runnel::loop busy{options};
  auto body = []() -> task<> { co_await runnel::sleep(1ms); };
  busy.run(body());
  runnel::loop idle;
  idle.run(body());
  CHECK(busy.metrics().busy_turns > 0);
  CHECK(idle.metrics().busy_turns == 0);
}

TEST_CASE("metrics: a simulated loop does not poll busily, as its time would stand still") {
  runnel::loop_options options;
  options.simulated = 0;
  options.busy_poll = 1ms;
  runnel::loop loop{options};
  loop.run(sleep_long());
  CHECK(loop.metrics().busy_turns == 0);
}

TEST_CASE("metrics: the table has one number a line, in columns") {
  runnel::loop loop{{.simulated = 0}};
  auto body = []() -> task<> { co_await runnel::sleep(1s); };
  loop.run(body());
  std::ostringstream out;
  runnel::print_metrics(loop, out);
  const std::string text = out.str();
  std::istringstream lines(text);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    ++count;
    INFO(line);
    REQUIRE(line.size() >= 40);
    CHECK(line[39] != ' ');
    CHECK((line.size() == 40 || line[40] == ' '));
  }
  CHECK(count == 18);
  CHECK(text.find("timers fired                           1\n") != std::string::npos);
  // Nobody measured callbacks.
  CHECK(text.find("longest callback") == std::string::npos);
}
