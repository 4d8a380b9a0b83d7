#include "runnel/file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/kill_test.hpp"
#include "support/pipe_pair.hpp"
#include "support/task_test.hpp"
#include "support/temporary_folder.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;
using runnel::testing::pipe_pair;
using runnel::testing::temporary_folder;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}

task<> put_later(const pipe_pair& pipe, runnel::duration d) {
  co_await runnel::sleep(d);
  pipe.put("x");
}

int open_descriptors() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

// Until the kernel has answered for those that are gone, too.
task<> all_answered(runnel::loop& loop) {
  while (loop.metrics().operations != loop.metrics().completions) {
    co_await runnel::sleep(100us);
  }
}

// Waits in the kernel in every way there is, a millisecond apart.
task<> wait_in_kernel(runnel::loop& loop, std::uint64_t) {
  pipe_pair pipe;
  runnel::task_group group{loop};
  group.spawn(put_later(pipe, 1ms));
  co_await runnel::poll_once(pipe.reader(), POLLIN);
  std::byte buffer[16];
  co_await runnel::read_at(pipe.reader(), buffer, runnel::current_position);
  group.spawn(put_later(pipe, 1ms));
  co_await runnel::poll_once(pipe.reader(), POLLIN);
  co_await runnel::with_timeout(1ms, runnel::poll_once(pipe.writer(), POLLIN));
  co_await group.join();
  auto opened = co_await runnel::file::open("/proc/self/status", O_RDONLY);
  if (!opened) co_return;
  co_await opened->read(buffer, 0);
  co_await opened->close();
}

}  // namespace

RING_TASK_TEST("file: written, measured, read back and closed") {
  temporary_folder folder;
  auto opened = co_await runnel::file::open(folder.file("a"), O_RDWR | O_CREAT, 0600);
  REQUIRE(opened.has_value());
  runnel::file f = std::move(*opened);
  std::string text(100'000, 'a');
  for (std::size_t i = 0; i < text.size(); ++i) {
    text[i] = static_cast<char>('a' + i % 26);
  }
  std::size_t done = 0;
  while (done < text.size()) {
    auto wrote = co_await f.write(bytes_of(text).subspan(done), done);
    REQUIRE(wrote.has_value());
    CHECK(*wrote <= 64 * 1024);
    done += *wrote;
  }
  result<std::uint64_t> size = co_await f.size();
  CHECK(size.value() == text.size());
  std::string back(text.size(), '\0');
  std::span<std::byte> room = std::as_writable_bytes(std::span{back.data(), back.size()});
  done = 0;
  for (;;) {
    auto got = co_await f.read(room.subspan(done), done);
    REQUIRE(got.has_value());
    if (*got == 0) break;
    done += *got;
  }
  CHECK(done == text.size());
  CHECK(back == text);
  result<void> closed = co_await f.close();
  CHECK(closed.has_value());
  CHECK(!f);
}

RING_TASK_TEST("file: refusals are errno values") {
  auto missing = co_await runnel::file::open("/nonexistent/runnel", O_RDONLY);
  CHECK(missing.error() == std::errc::no_such_file_or_directory);
  std::byte buffer[4];
  auto bad = co_await runnel::read_at(-1, buffer, 0);
  CHECK(bad.error() == std::errc::bad_file_descriptor);
  auto closed = co_await runnel::file{}.close();
  CHECK(closed.error() == std::errc::bad_file_descriptor);
}

TASK_TEST("file: a simulated loop has no kernel operations and says so") {
  auto opened = co_await runnel::file::open("/dev/null", O_RDONLY);
  CHECK(opened.error() == errc::not_supported);
  std::byte buffer[4];
  auto got = co_await runnel::read_at(0, buffer, 0);
  CHECK(got.error() == errc::not_supported);
  auto ready = co_await runnel::poll_once(0, POLLIN);
  CHECK(ready.error() == std::errc::not_supported);
}

RING_TASK_TEST("poll: tells which events came, and when a descriptor is bad") {
  pipe_pair pipe;
  auto writable = co_await runnel::poll_once(pipe.writer(), POLLOUT);
  CHECK((writable.value() & POLLOUT) != 0);
  runnel::task_group group{loop};
  group.spawn(put_later(pipe, 1ms));
  auto readable = co_await runnel::poll_once(pipe.reader(), POLLIN);
  CHECK((readable.value() & POLLIN) != 0);
  co_await group.join();
  auto bad = co_await runnel::poll_once(-1, POLLIN);
  CHECK(bad.error() == std::errc::bad_file_descriptor);
}

RING_TASK_TEST("poll: a deadline ends it with the kernel's last word") {
  pipe_pair pipe;
  auto late = co_await runnel::with_timeout(2ms, runnel::poll_once(pipe.reader(), POLLIN));
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(loop.metrics().operations == loop.metrics().completions);
}

RING_TASK_TEST("poll: a read that has to wait gets its bytes through the ring") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  runnel::file reader{ends[0]};
  runnel::file writer{ends[1]};
  auto write_later = [](int fd) -> task<> {
    co_await runnel::sleep(1ms);
    std::string text = "later";
    auto wrote = co_await runnel::write_at(fd, bytes_of(text), runnel::current_position);
    CHECK(wrote.value() == 5);
  };
  runnel::task_group group{loop};
  group.spawn(write_later(writer.descriptor()));
  std::byte buffer[16];
  auto got = co_await reader.read(buffer, runnel::current_position);
  CHECK(got.value() == 5);
  CHECK(std::memcmp(buffer, "later", 5) == 0);
  co_await group.join();
}

RING_TASK_TEST("poll: more operations than the ring has entries") {
  runnel::task_group group{loop};
  std::vector<std::unique_ptr<pipe_pair>> pipes;
  int ready = 0;
  auto wait = [](int fd, int& count) -> task<> {
    auto events = co_await runnel::poll_once(fd, POLLIN);
    if (events.has_value()) ++count;
  };
  for (int i = 0; i < 400; ++i) {
    pipes.push_back(std::make_unique<pipe_pair>());
    group.spawn(wait(pipes.back()->reader(), ready));
  }
  co_await runnel::sleep(1ms);
  for (int i = 0; i < 200; ++i) {
    pipes[static_cast<std::size_t>(i)]->put("x");
  }
  while (ready < 200) {
    co_await runnel::sleep(100us);
  }
  group.cancel();
  co_await group.join();
  CHECK(ready == 200);
  CHECK(loop.metrics().operations == loop.metrics().completions);
}

RING_TASK_TEST("fd_watch: one call per arming, none after it is disarmed") {
  class counter final : public runnel::fd_watch::client {
   public:
    void on_ready() noexcept override { ++count; }
    int count = 0;
  };
  pipe_pair pipe;
  counter calls;
  {
    runnel::fd_watch watch{loop, pipe.reader(), calls};
    watch.arm();
    CHECK(watch.armed());
    pipe.put("x");
    while (calls.count == 0) {
      co_await runnel::sleep(100us);
    }
    CHECK(!watch.armed());
    co_await runnel::sleep(1ms);
    CHECK(calls.count == 1);
    watch.arm();
    watch.disarm();
    co_await runnel::sleep(1ms);
    CHECK(calls.count == 1);
    watch.arm();
  }
  co_await runnel::sleep(1ms);
  CHECK(calls.count == 1);
}

TEST_CASE("loop: busy polling sees a completion without sleeping") {
  runnel::loop_options options;
  options.busy_poll = 50ms;
  runnel::loop loop{options};
  pipe_pair pipe;
  auto body = [](runnel::loop& l, const pipe_pair& p) -> task<> {
    co_await runnel::yield();
    std::uint64_t waits = l.metrics().waits;
    runnel::task_group group{l};
    group.spawn(put_later(p, 1ms));
    auto ready = co_await runnel::poll_once(p.reader(), POLLIN);
    CHECK(ready.has_value());
    CHECK(l.metrics().waits == waits);
    co_await group.join();
  };
  loop.run(body(loop, pipe));
}

TEST_CASE("file: a task may be destroyed at every suspension point with the kernel busy") {
  int before = open_descriptors();
  runnel::testing::kill_everywhere_real(&wait_in_kernel,
                                        {.time_step = 1ms, .times = 7, .passes = 4});
  CHECK(open_descriptors() == before);
}

TEST_CASE("file: a task may be cancelled at every suspension point with the kernel busy") {
  int before = open_descriptors();
  runnel::testing::cancel_everywhere_real(&wait_in_kernel,
                                          {.time_step = 1ms, .times = 7, .passes = 4});
  CHECK(open_descriptors() == before);
}

RING_TASK_TEST("file: what was opened for a task that is gone is closed") {
  auto open_null = []() -> task<> {
    auto opened = co_await runnel::file::open("/dev/null", O_RDONLY);
    CHECK(opened.has_value());
  };
  pipe_pair pipe;
  pipe.put("x");
  int before = open_descriptors();
  {
    // Destroyed before the kernel has answered.
    runnel::testing::victim target = runnel::testing::make_victim(open_null());
    target.start(loop);
    co_await runnel::yield();
  }
  co_await all_answered(loop);
  CHECK(open_descriptors() == before);
  {
    // Destroyed between the answer and its resumption: this poll is answered first, in the same
    // turn.
    runnel::testing::victim target = runnel::testing::make_victim(open_null());
    target.start(loop);
    co_await runnel::poll_once(pipe.reader(), POLLIN);
    CHECK(!target.done());
  }
  co_await all_answered(loop);
  CHECK(open_descriptors() == before);
}

TEST_CASE("file: a loop dies with operations in flight") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  runnel::file reader{ends[0]};
  runnel::file writer{ends[1]};
  auto body = [](runnel::loop& l, int fd) -> task<> {
    auto read = [](int from) -> task<> {
      std::byte buffer[16];
      co_await runnel::read_at(from, buffer, runnel::current_position);
    };
    runnel::testing::victim target = runnel::testing::make_victim(read(fd));
    target.start(l);
    co_await runnel::sleep(1ms);
    throw std::runtime_error("leave it behind");
  };
  {
    runnel::loop loop;
    CHECK_THROWS_AS(loop.run(body(loop, ends[0])), std::runtime_error);
  }
  CHECK(reader.descriptor() == ends[0]);
}
