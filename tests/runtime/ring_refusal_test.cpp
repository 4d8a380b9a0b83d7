// A ring whose kernel takes nothing for a while, as it may when memory is short.

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/death_test.hpp"
#include "support/pipe_pair.hpp"
#include "support/system_call_filter.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::task;

constexpr int operations = 200;
constexpr int turns = 10;

task<> wait_for_bytes(int fd) {
  static_cast<void>(co_await runnel::poll_once(fd, 1));
}

// How many system calls each turn may make when nothing is taken: one to make room for what waits,
// and its own.
task<> start_more_than_fit(runnel::loop& on) {
  runnel::testing::pipe_pair silent;
  runnel::task_group group{on};
  for (int i = 0; i < operations; ++i) group.spawn(wait_for_bytes(silent.reader()));
  co_await runnel::sleep(1us);
  const std::uint64_t enters = on.metrics().enters;
  const std::uint64_t first = on.metrics().turns;
  while (on.metrics().turns < first + turns) co_await runnel::sleep(1us);
  ::_exit(on.metrics().enters - enters <= 3 * turns ? 0 : 1);
}

}  // namespace

TEST_CASE("ring: what the kernel does not take is offered once a turn, however much waits") {
  const auto child = runnel::testing::run_in_child([] {
    runnel::loop_options options;
    options.backend = runnel::backend_kind::io_uring;
    options.ring_entries = 8;
    runnel::loop owner{options};
    if (!runnel::testing::refuse_system_call(SYS_io_uring_enter, EBUSY)) ::_exit(77);
    owner.run(start_more_than_fit(owner));
  });
  const bool as_expected = child.exit_code == 0 || child.exit_code == 77;
  CHECK(as_expected);
}
