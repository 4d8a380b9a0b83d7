// Random programs of tasks, groups, deadlines, events and fibers, cancelled at random moments: each
// must come to its end, with nothing left behind.

#include <memory>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::result;
using runnel::task;

struct storm {
  explicit storm(runnel::loop& on) : loop(on), events(8) {}

  runnel::duration some_time() { return duration_of(loop.random().below(2'000)); }
  static runnel::duration duration_of(std::uint64_t us) {
    return std::chrono::microseconds{static_cast<std::int64_t>(us)};
  }
  runnel::event& some_event() { return events[loop.random().below(8)]; }

  runnel::loop& loop;
  std::vector<runnel::event> events;
  int started = 0;
  int ended = 0;
};

struct counted_run {
  explicit counted_run(storm& s) : in(s) { ++in.started; }
  counted_run(const counted_run&) = delete;
  counted_run& operator=(const counted_run&) = delete;
  ~counted_run() { ++in.ended; }
  storm& in;
};

task<result<void>> node(storm& s, int depth);

task<> spread(storm& s, int depth) {
  runnel::task_group group{s.loop, runnel::on_failure::collect};
  for (std::uint64_t i = 1 + s.loop.random().below(4); i > 0; --i) {
    group.spawn(node(s, depth - 1));
  }
  co_await runnel::sleep(s.some_time());
  if (s.loop.random().below(2) == 0) group.cancel();
  co_await group.join();
}

task<result<void>> node(storm& s, int depth) {
  counted_run here{s};
  if (depth == 0) co_return co_await runnel::sleep(s.some_time());
  switch (s.loop.random().below(6)) {
    case 0:
      co_await spread(s, depth);
      break;
    case 1:
      co_await runnel::with_timeout(s.some_time(), spread(s, depth));
      break;
    case 2:
      co_await runnel::with_timeout(s.some_time(), s.some_event().wait());
      break;
    case 3:
      s.some_event().set();
      co_await runnel::yield();
      s.some_event().reset();
      break;
    case 4: {
      auto body = [&s, depth](runnel::fiber& self) {
        self.await(spread(s, depth));
        self.await(runnel::with_timeout(s.some_time(), s.some_event().wait()));
      };
      co_await runnel::run_fiber(body);
      break;
    }
    default:
      co_await node(s, depth - 1);
      break;
  }
  co_return co_await runnel::sleep(s.some_time());
}

task<> run_storm(storm& s) {
  for (int i = 0; i < 10; ++i) {
    co_await spread(s, 5);
  }
}

}  // namespace

TEST_CASE("storm: random programs end, for many seeds, and the same seed does the same") {
  int started_in_all = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    INFO("seed ", seed);
    std::uint64_t resumed[2];
    for (std::uint64_t& count : resumed) {
      runnel::loop loop{{.simulated = seed}};
      storm s{loop};
      loop.run(run_storm(s));
      CHECK(s.started == s.ended);
      started_in_all += s.started;
      count = loop.metrics().resumed;
    }
    CHECK(resumed[0] == resumed[1]);
  }
  CHECK(started_in_all > 10'000);
}
