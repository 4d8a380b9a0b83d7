// Readiness on both backends of the kernel: what poll(2) says, whoever else polls, and whatever the
// number of the descriptor was before.

#include "runnel/poll.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/file.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/backends.hpp"
#include "support/kill_test.hpp"
#include "support/pipe_pair.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;
using runnel::testing::pipe_pair;

task<> poll_into(int fd, std::uint32_t events, result<std::uint32_t>& out) {
  out = co_await runnel::poll_once(fd, events);
}

task<> count_ready(int fd, int& count) {
  const auto events = co_await runnel::poll_once(fd, POLLIN);
  if (events.has_value()) ++count;
}

class counter final : public runnel::fd_watch::client {
 public:
  void on_ready() noexcept override { ++count; }
  int count = 0;
};

// A watch that asks again each time, as a TUN device does.
class again final : public runnel::fd_watch::client {
 public:
  again(runnel::loop& owner, int fd) : watch(owner, fd, *this) {}
  void on_ready() noexcept override {
    ++count;
    watch.arm();
  }
  int count = 0;
  runnel::fd_watch watch;
};

// Without a sleep in between, so that the kernel is not told that nobody asks any more.
task<> called(const counter& calls) {
  while (calls.count == 0) {
    co_await runnel::yield();
  }
}

// Makes `number` the descriptor of `file`'s read end, and nothing else of it.
void take_number(int number, const pipe_pair& file) {
  REQUIRE(::dup2(file.reader(), number) == number);
}

bool allow_descriptors(rlim_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  if (limit.rlim_cur < count) limit.rlim_cur = std::min(count, limit.rlim_max);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= count;
}

}  // namespace

BOTH_TASK_TEST("poll: errors and hang-ups come unasked, as poll(2) says them") {
  pipe_pair left;
  left.close_writer();
  const auto hung_up = co_await runnel::poll_once(left.reader(), POLLIN);
  CHECK(hung_up.value() == POLLHUP);
  pipe_pair broken;
  broken.close_reader();
  const auto failed = co_await runnel::poll_once(broken.writer(), POLLOUT);
  CHECK(failed.value() == (POLLOUT | POLLERR));
  const auto unasked = co_await runnel::poll_once(broken.writer(), 0);
  CHECK(unasked.value() == POLLERR);
  pipe_pair both;
  both.put("x");
  both.close_writer();
  const auto last = co_await runnel::poll_once(both.reader(), POLLIN | POLLPRI);
  CHECK(last.value() == (POLLIN | POLLHUP));
}

BOTH_TASK_TEST("poll: a number without a file is bad, however large") {
  for (const int fd : {-1, -2, 100'000'000, 0x7fff'ffff}) {
    const auto bad = co_await runnel::poll_once(fd, POLLIN);
    CHECK(bad.error() == std::errc::bad_file_descriptor);
  }
  pipe_pair pipe;
  const int closed = pipe.reader();
  pipe.put("x");
  const auto first = co_await runnel::poll_once(closed, POLLIN);
  CHECK(first.value() == POLLIN);
  pipe.close_reader();
  const auto bad = co_await runnel::poll_once(closed, POLLIN);
  CHECK(bad.error() == std::errc::bad_file_descriptor);
}

BOTH_TASK_TEST("poll: a file that cannot be polled is always ready") {
  runnel::file file{::open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
  const auto ready = co_await runnel::poll_once(file.descriptor(), POLLIN);
  CHECK(ready.value() == POLLIN);
  const auto both = co_await runnel::poll_once(file.descriptor(), POLLIN | POLLOUT);
  CHECK(both.value() == (POLLIN | POLLOUT));
  const auto never = co_await runnel::poll_once(file.descriptor(), POLLPRI);
  CHECK(never.error() == std::errc::invalid_argument);
}

BOTH_TASK_TEST("poll: several wait for one descriptor, each for his own events") {
  pipe_pair pipe;
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  const runnel::file here{ends[0]};
  const runnel::file there{ends[1]};
  result<std::uint32_t> first{std::error_code{}};
  result<std::uint32_t> second{std::error_code{}};
  result<std::uint32_t> writable{std::error_code{}};
  runnel::task_group group{loop};
  group.spawn(poll_into(ends[0], POLLIN, first));
  group.spawn(poll_into(ends[0], POLLOUT, writable));
  group.spawn(poll_into(ends[0], POLLIN, second));
  while (!writable) {
    co_await runnel::sleep(100us);
  }
  CHECK(*writable == POLLOUT);
  CHECK(!first);
  CHECK(!second);
  REQUIRE(::write(ends[1], "x", 1) == 1);
  co_await group.join();
  CHECK(first.value() == POLLIN);
  CHECK(second.value() == POLLIN);
  const auto late = co_await runnel::with_timeout(1ms, runnel::poll_once(ends[0], POLLPRI));
  CHECK(late.error() == errc::deadline_exceeded);
}

BOTH_TASK_TEST("poll: one of two waiters is cancelled, the other is not disturbed") {
  pipe_pair pipe;
  int ready = 0;
  runnel::task_group stays{loop};
  stays.spawn(count_ready(pipe.reader(), ready));
  const auto late = co_await runnel::with_timeout(1ms, runnel::poll_once(pipe.reader(), POLLIN));
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(ready == 0);
  pipe.put("x");
  co_await stays.join();
  CHECK(ready == 1);
}

BOTH_TASK_TEST("poll: copies of a descriptor are told apart") {
  pipe_pair pipe;
  const runnel::file copy{::dup(pipe.reader())};
  int ready = 0;
  runnel::task_group group{loop};
  group.spawn(count_ready(pipe.reader(), ready));
  group.spawn(count_ready(copy.descriptor(), ready));
  co_await runnel::sleep(1ms);
  pipe.put("x");
  co_await group.join();
  CHECK(ready == 2);
}

BOTH_TASK_TEST("poll: a number that was closed and given away is the new file's") {
  for (int round = 0; round < 3; ++round) {
    pipe_pair before;
    const int number = before.reader();
    before.put("x");
    const auto first = co_await runnel::poll_once(number, POLLIN);
    CHECK(first.value() == POLLIN);
    before.close_reader();
    pipe_pair after;
    if (after.reader() != number) take_number(number, after);
    int ready = 0;
    runnel::task_group group{loop};
    group.spawn(count_ready(number, ready));
    co_await runnel::sleep(1ms);
    CHECK(ready == 0);
    after.put("y");
    co_await group.join();
    CHECK(ready == 1);
    if (after.reader() != number) ::close(number);
  }
}

BOTH_TASK_TEST("poll: a file that lives on elsewhere is not heard under its old number") {
  pipe_pair before;
  const int number = before.reader();
  const runnel::file elsewhere{::dup(number)};
  {
    // Destroyed while it waits; the number is given away before the loop turns.
    int never = 0;
    auto waiting = runnel::testing::make_victim(count_ready(number, never));
    waiting.start(loop);
    co_await runnel::sleep(1ms);
    CHECK(!waiting.done());
  }
  pipe_pair after;
  take_number(number, after);
  int ready = 0;
  runnel::task_group group{loop};
  group.spawn(count_ready(number, ready));
  before.put("x");
  co_await runnel::sleep(1ms);
  CHECK(ready == 0);
  after.put("y");
  co_await group.join();
  CHECK(ready == 1);
}

BOTH_TASK_TEST("fd_watch: a dead watch's file that lives on elsewhere neither spins nor is heard") {
  pipe_pair before;
  const int number = before.reader();
  const runnel::file elsewhere{::dup(number)};
  {
    counter calls;
    runnel::fd_watch watch{loop, number, calls};
    watch.arm();
    before.put("x");
    co_await called(calls);
  }
  pipe_pair after;
  take_number(number, after);
  again fresh{loop, number};
  fresh.watch.arm();
  const std::uint64_t turns = loop.metrics().turns;
  co_await runnel::sleep(3ms);
  CHECK(loop.metrics().turns - turns < 6);
  CHECK(fresh.count == 0);
  after.put("y");
  while (fresh.count == 0) {
    co_await runnel::sleep(100us);
  }
  after.drain();
}

BOTH_TASK_TEST("fd_watch: a dead watch's number is the new file's, by a watch or without") {
  for (int round = 0; round < 2; ++round) {
    pipe_pair before;
    const int number = before.reader();
    {
      counter calls;
      runnel::fd_watch watch{loop, number, calls};
      watch.arm();
      before.put("x");
      co_await called(calls);
    }
    before.close_reader();
    pipe_pair after;
    if (after.reader() != number) take_number(number, after);
    after.put("y");
    if (round == 0) {
      counter calls;
      runnel::fd_watch watch{loop, number, calls};
      watch.arm();
      co_await called(calls);
    } else {
      const auto ready = co_await runnel::poll_once(number, POLLIN);
      CHECK(ready.value() == POLLIN);
    }
    if (after.reader() != number) ::close(number);
  }
}

BOTH_TASK_TEST("fd_watch: two on one descriptor, and what one does not ask for does not spin") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
  const runnel::file here{ends[0]};
  const runnel::file there{ends[1]};
  counter reads;
  counter writes;
  runnel::fd_watch incoming{loop, ends[0], reads};
  runnel::fd_watch outgoing{loop, ends[0], writes};
  for (int round = 1; round <= 3; ++round) {
    incoming.arm(POLLIN);
    outgoing.arm(POLLOUT);
    while (writes.count < round) {
      co_await runnel::sleep(100us);
    }
    const std::uint64_t turns = loop.metrics().turns;
    co_await runnel::sleep(2ms);
    CHECK(loop.metrics().turns - turns < 6);
    CHECK(reads.count == round - 1);
    REQUIRE(::write(ends[1], "x", 1) == 1);
    while (reads.count < round) {
      co_await runnel::sleep(100us);
    }
    // Readable, and nobody asks.
    const std::uint64_t idle = loop.metrics().turns;
    co_await runnel::sleep(2ms);
    CHECK(loop.metrics().turns - idle < 6);
    CHECK(reads.count == round);
    char byte;
    REQUIRE(::read(ends[0], &byte, 1) == 1);
  }
}

BOTH_TASK_TEST("poll: very many are ready at once, and none is left out") {
  constexpr int count = 1500;
  if (!allow_descriptors(2 * count + 100)) {
    MESSAGE("skipped: too few descriptors may be open");
    co_return;
  }
  std::vector<std::unique_ptr<pipe_pair>> pipes;
  int ready = 0;
  runnel::task_group group{loop};
  for (int i = 0; i < count; ++i) {
    pipes.push_back(std::make_unique<pipe_pair>());
    group.spawn(count_ready(pipes.back()->reader(), ready));
  }
  co_await runnel::sleep(1ms);
  for (const auto& pipe : pipes) {
    pipe->put("x");
  }
  co_await group.join();
  CHECK(ready == count);
}

BOTH_TASK_TEST("poll: hundreds that are always ready do not starve one that is ready once") {
  std::vector<std::unique_ptr<pipe_pair>> pipes;
  std::vector<std::unique_ptr<again>> busy;
  for (int i = 0; i < 300; ++i) {
    pipes.push_back(std::make_unique<pipe_pair>());
    pipes.back()->put("x");
    busy.push_back(std::make_unique<again>(loop, pipes.back()->reader()));
    busy.back()->watch.arm();
  }
  co_await runnel::sleep(1ms);
  pipe_pair one;
  one.put("x");
  const std::uint64_t turns = loop.metrics().turns;
  const auto ready = co_await runnel::poll_once(one.reader(), POLLIN);
  CHECK(ready.value() == POLLIN);
  CHECK(loop.metrics().turns - turns < 20);
  const auto least = std::min_element(
      busy.begin(), busy.end(), [](const auto& a, const auto& b) { return a->count < b->count; });
  CHECK((*least)->count > 0);
}
