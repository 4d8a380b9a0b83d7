// What is special about epoll: the thread for files, what it costs, and kernels that refuse this or
// that.

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "runnel/file.hpp"
#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/backends.hpp"
#include "support/death_test.hpp"
#include "support/kill_test.hpp"
#include "support/pipe_pair.hpp"
#include "support/system_call_filter.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;
using runnel::testing::death;
using runnel::testing::pipe_pair;
using runnel::testing::refuse_system_call;
using runnel::testing::run_in_child;

runnel::loop_options on_epoll() {
  runnel::loop_options options;
  options.backend = runnel::backend_kind::epoll;
  return options;
}

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Until the loop's thread for files blocks in open(2).
task<> thread_blocks() {
  const std::string wanted = std::to_string(SYS_openat) + " ";
  for (;;) {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::string call;
      std::getline(std::ifstream(thread.path() / "comm"), name);
      std::getline(std::ifstream(thread.path() / "syscall"), call);
      if (name == "runnel-files" && call.starts_with(wanted)) co_return;
    }
    co_await runnel::sleep(100us);
  }
}

// A FIFO, whose opening blocks until somebody opens the other end.
class fifo {
 public:
  fifo() { REQUIRE(::mkfifo(path().c_str(), 0600) == 0); }
  std::string path() const { return folder_.file("fifo"); }
  // Opens the end to write to once somebody stands at the other, and so lets him go.
  task<> let_go() const {
    for (;;) {
      const int fd = ::open(path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
      if (fd >= 0) {
        ::close(fd);
        co_return;
      }
      co_await runnel::sleep(100us);
    }
  }

 private:
  runnel::testing::temporary_folder folder_;
};

task<> open_into(std::string path, result<void>& out) {
  auto opened = co_await runnel::file::open(path, O_RDONLY);
  if (opened) {
    out = result<void>{};
  } else {
    out = opened.error();
  }
}

}  // namespace

EPOLL_TASK_TEST("epoll: what waits behind a blocked file operation can be called off at once") {
  const int before = open_descriptors();
  fifo blocked;
  result<void> first{std::make_error_code(std::errc::interrupted)};
  result<void> second{std::make_error_code(std::errc::interrupted)};
  result<void> third{std::make_error_code(std::errc::interrupted)};
  runnel::task_group stuck{loop};
  runnel::task_group queued{loop};
  stuck.spawn(open_into(blocked.path(), first));
  queued.spawn(open_into("/dev/null", second));
  stuck.spawn(open_into("/dev/null", third));
  co_await thread_blocks();
  queued.cancel();
  co_await queued.join();
  CHECK(second.error() == errc::cancelled);
  // In the middle of it nothing can be called off: its end comes all the same.
  stuck.cancel();
  co_await blocked.let_go();
  co_await stuck.join();
  CHECK(third.error() == errc::cancelled);
  CHECK(loop.metrics().operations == loop.metrics().completions);
  CHECK(open_descriptors() == before);
}

EPOLL_TASK_TEST("epoll: a task may be destroyed while the thread works for it") {
  const int before = open_descriptors();
  fifo blocked;
  {
    result<void> unused;
    auto target = runnel::testing::make_victim(open_into(blocked.path(), unused));
    target.start(loop);
    co_await thread_blocks();
    CHECK(!target.done());
  }
  co_await blocked.let_go();
  while (loop.metrics().operations != loop.metrics().completions) {
    co_await runnel::sleep(100us);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("epoll: a loop dies with files in flight") {
  const int before = open_descriptors();
  auto open_many = [](runnel::loop& l) -> task<> {
    std::vector<runnel::testing::victim> targets;
    std::vector<result<void>> results(200);
    for (auto& each : results) {
      targets.push_back(runnel::testing::make_victim(open_into("/dev/null", each)));
      targets.back().start(l);
    }
    co_await runnel::yield();
    throw std::runtime_error("leave them behind");
  };
  {
    runnel::loop loop{on_epoll()};
    CHECK_THROWS_AS(loop.run(open_many(loop)), std::runtime_error);
  }
  CHECK(open_descriptors() == before);
}

EPOLL_TASK_TEST("epoll: many files at once are read whole while the loop goes on") {
  constexpr int count = 64;
  int good = 0;
  auto work = [](int& counted) -> task<> {
    auto opened = co_await runnel::file::open("/proc/self/cmdline", O_RDONLY);
    REQUIRE(opened.has_value());
    std::byte buffer[16];
    const auto got = co_await opened->read(buffer, 0);
    const auto closed = co_await opened->close();
    if (got && *got > 0 && closed) ++counted;
  };
  runnel::task_group group{loop};
  for (int i = 0; i < count; ++i) {
    group.spawn(work(good));
  }
  co_await group.join();
  CHECK(good == count);
}

EPOLL_TASK_TEST("epoll: closing a descriptor ends who waits for it") {
  pipe_pair pipe;
  runnel::file copy{::dup(pipe.reader())};
  result<std::uint32_t> ready{std::error_code{}};
  auto wait = [](int fd, result<std::uint32_t>& out) -> task<> {
    out = co_await runnel::poll_once(fd, POLLIN);
  };
  runnel::task_group group{loop};
  group.spawn(wait(copy.descriptor(), ready));
  co_await runnel::sleep(1ms);
  const auto closed = co_await copy.close();
  CHECK(closed.has_value());
  co_await group.join();
  CHECK(ready.error() == std::errc::bad_file_descriptor);
}

BOTH_TASK_TEST("poll: a writer into a full pipe that blocks does not hold up the loop") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  runnel::file reader{ends[0]};
  runnel::file writer{ends[1]};
  constexpr std::size_t total = 1'000'000;
  auto write_all = [](const runnel::file& to) -> task<> {
    const std::vector<std::byte> piece(50'000, std::byte{7});
    for (std::size_t sent = 0; sent < total;) {
      const auto room = std::span(piece).first(std::min(piece.size(), total - sent));
      const auto wrote = co_await to.write(room, runnel::current_position);
      REQUIRE(wrote.has_value());
      sent += *wrote;
    }
  };
  runnel::task_group group{loop};
  group.spawn(write_all(writer));
  co_await runnel::sleep(1ms);
  std::vector<std::byte> buffer(3'000);
  std::size_t got = 0;
  while (got < total) {
    // The ring ignores the offset of what has none, and so must the others.
    const auto part = co_await reader.read(buffer, 0);
    REQUIRE(part.has_value());
    got += *part;
  }
  co_await group.join();
  CHECK(got == total);
}

EPOLL_TASK_TEST("epoll: a watch that is armed again costs one system call a turn, a poll two") {
  class echo final : public runnel::fd_watch::client {
   public:
    echo(runnel::loop& owner, const pipe_pair& p) : pipe(p), watch(owner, p.reader(), *this) {}
    void on_ready() noexcept override {
      ++count;
      pipe.drain();
      watch.arm();
    }
    const pipe_pair& pipe;
    int count = 0;
    runnel::fd_watch watch;
  };
  pipe_pair watched;
  echo on{loop, watched};
  on.watch.arm();
  co_await runnel::sleep(1ms);
  std::uint64_t turns = loop.metrics().turns;
  std::uint64_t enters = loop.metrics().enters;
  for (int i = 1; i <= 50; ++i) {
    watched.put("x");
    while (on.count < i) {
      co_await runnel::yield();
    }
  }
  CHECK(loop.metrics().enters - enters == loop.metrics().turns - turns);
  on.watch.disarm();

  pipe_pair polled;
  polled.put("x");
  turns = loop.metrics().turns;
  enters = loop.metrics().enters;
  for (int i = 0; i < 50; ++i) {
    co_await runnel::poll_once(polled.reader(), POLLIN);
  }
  CHECK(loop.metrics().enters - enters <= 2 * (loop.metrics().turns - turns));
}

EPOLL_TASK_TEST("epoll: with nothing to ask there is no system call") {
  const std::uint64_t enters = loop.metrics().enters;
  for (int i = 0; i < 100; ++i) {
    co_await runnel::yield();
  }
  CHECK(loop.metrics().enters == enters);
  CHECK(loop.backend() == runnel::backend_kind::epoll);
}

EPOLL_TASK_TEST("epoll: no timer fires early, and a sleep is one wait") {
  const std::uint64_t waits = loop.metrics().waits;
  for (const auto time : {1us, 300us, 1700us}) {
    const runnel::time_point start = loop.now();
    co_await runnel::sleep(time);
    CHECK(loop.now() - start >= time);
  }
  CHECK(loop.metrics().waits - waits <= 6);
}

TEST_CASE("epoll: a kernel without epoll_pwait2 gives milliseconds, and no timer fires early") {
  const death d = run_in_child([] {
    if (!refuse_system_call(SYS_epoll_pwait2, ENOSYS)) ::_exit(77);
    runnel::loop loop{on_epoll()};
    auto body = [](runnel::loop& l) -> task<> {
      for (const auto time : {1us, 300us, 1700us}) {
        const runnel::time_point start = l.now();
        const std::uint64_t waits = l.metrics().waits;
        co_await runnel::sleep(time);
        if (l.now() - start < time) ::_exit(2);
        if (l.metrics().waits - waits > 2) ::_exit(3);
      }
    };
    loop.run(body(loop));
    ::_exit(loop.description().find("millisecond") == std::string::npos ? 4 : 0);
  });
  const bool as_expected = d.exit_code == 0 || d.exit_code == 77;
  INFO("exit code ", d.exit_code);
  CHECK(as_expected);
}

TEST_CASE("epoll: without a thread files are read all the same") {
  const death d = run_in_child([] {
    if (!refuse_system_call(SYS_clone3, EAGAIN) || !refuse_system_call(SYS_clone, EAGAIN)) {
      ::_exit(77);
    }
    runnel::loop loop{on_epoll()};
    auto body = []() -> task<> {
      auto opened = co_await runnel::file::open("/proc/self/cmdline", O_RDONLY);
      if (!opened) ::_exit(2);
      std::byte buffer[16];
      const auto got = co_await opened->read(buffer, 0);
      if (!got || *got == 0) ::_exit(3);
      const auto closed = co_await opened->close();
      if (!closed) ::_exit(4);
    };
    loop.run(body());
  });
  const bool as_expected = d.exit_code == 0 || d.exit_code == 77;
  INFO("exit code ", d.exit_code);
  CHECK(as_expected);
}
