// Each allocation and each operation fails once: everything comes to its end, and nothing is lost.

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "runnel/event.hpp"
#include "runnel/fiber.hpp"
#include "runnel/file.hpp"
#include "runnel/poll.hpp"
#include "runnel/shield.hpp"
#include "runnel/signal.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/testing/replace_new.hpp"
#include "runnel/timeout.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::result;
using runnel::task;
using runnel::testing::fail_everywhere;
using runnel::testing::fail_everywhere_real;
using runnel::testing::fail_options;

task<int> give_after(runnel::duration d, int value) {
  co_await runnel::sleep(d);
  co_return value;
}

task<> wait_for(runnel::event& e, int& seen) {
  co_await e.wait();
  ++seen;
}

task<result<void>> fail_late() {
  co_await runnel::sleep(1ms);
  co_return std::make_error_code(std::errc::io_error);
}

task<> tasks_and_groups(runnel::loop& loop, std::uint64_t) {
  int sum = co_await give_after(1ms, 1);
  result<int> timed = co_await runnel::with_timeout(1s, give_after(1ms, 2));
  sum += timed.value();
  result<void> late = co_await runnel::with_timeout(1us, runnel::sleep(1h));
  CHECK(late.error() == runnel::errc::deadline_exceeded);
  co_await runnel::shield(runnel::with_timeout(1ms, runnel::sleep(1us)));
  CHECK(sum == 3);
  runnel::event gate;
  int seen = 0;
  runnel::task_group group{loop};
  std::exception_ptr failed;
  try {
    for (int i = 0; i < 5; ++i) group.spawn(wait_for(gate, seen));
  } catch (const std::bad_alloc&) {
    failed = std::current_exception();
  }
  gate.set();
  co_await group.join();
  if (failed) std::rethrow_exception(failed);
  CHECK(seen == 5);
  runnel::task_group failing{loop};
  try {
    failing.spawn(fail_late());
    failing.spawn(fail_late());
  } catch (const std::bad_alloc&) {
    failed = std::current_exception();
  }
  result<void> joined = co_await failing.join();
  if (failed) std::rethrow_exception(failed);
  CHECK(joined.error() == std::errc::io_error);
}

task<> fibers(runnel::loop& loop, std::uint64_t) {
  auto body = [](runnel::fiber& self) {
    std::string text(100, 'x');
    int sum = self.await(give_after(1ms, 1));
    runnel::fiber_options own;
    own.stack_size = 64 * 1024;
    auto inner = [](runnel::fiber& other) {
      other.await(runnel::sleep(1ms)).value();
      return std::string(100, 'y');
    };
    text += self.await(runnel::run_fiber(inner, own));
    try {
      throw std::system_error(EIO, std::generic_category());
    } catch (const std::system_error&) {
      self.await(runnel::sleep(1ms)).value();
    }
    return sum + static_cast<int>(text.size());
  };
  int sum = co_await runnel::run_fiber(body);
  CHECK(sum == 201);
  runnel::task_group group{loop};
  std::exception_ptr failed;
  try {
    for (int i = 0; i < 3; ++i) {
      group.spawn(
          runnel::run_fiber([](runnel::fiber& self) { self.await(runnel::sleep(1ms)).value(); }));
    }
  } catch (const std::bad_alloc&) {
    failed = std::current_exception();
  }
  co_await group.join();
  if (failed) std::rethrow_exception(failed);
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for (int fd = 0; fd < 256; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) ++count;
  }
  return count;
}

// A path that no other test process uses.
const char* scratch_path() {
  static const std::string path = "/tmp/runnel_failure_" + std::to_string(::getpid());
  return path.c_str();
}

task<> files(runnel::loop&, std::uint64_t) {
  auto opened = co_await runnel::file::open(scratch_path(), O_RDWR | O_CREAT | O_TRUNC);
  if (!opened) co_return;
  runnel::file file = std::move(*opened);
  const std::array<std::byte, 3> text{std::byte{1}, std::byte{2}, std::byte{3}};
  auto written = co_await file.write(text, 0);
  auto size = co_await file.size();
  if (written && size) CHECK(*size == 3);
  std::array<std::byte, 8> into{};
  auto got = co_await file.read(into, 0);
  if (written && got) CHECK(*got == 3);
  co_await file.close();
}

task<> signals(runnel::loop& loop, std::uint64_t) {
  runnel::signal_set set{loop, {SIGUSR1, SIGUSR2}};
  ::raise(SIGUSR2);
  auto number = co_await set.wait();
  if (number) CHECK(*number == SIGUSR2);
  auto nothing = co_await runnel::with_timeout(1ms, set.wait());
  CHECK(!nothing);
}

class counting_client final : public runnel::fd_watch::client {
 public:
  void on_ready() noexcept override {
    ++calls;
    if (again != nullptr && calls < 5) again->arm();
    woken.set();
  }
  int calls = 0;
  runnel::fd_watch* again = nullptr;
  runnel::event woken;
};

task<> watches(runnel::loop& loop, std::uint64_t) {
  struct pipe_ends {
    pipe_ends() { REQUIRE(::pipe(fd) == 0); }
    ~pipe_ends() {
      ::close(fd[0]);
      ::close(fd[1]);
    }
    int fd[2];
  } ends;
  counting_client client;
  runnel::fd_watch watch{loop, ends.fd[0], client};
  client.again = &watch;
  watch.arm();
  REQUIRE(::write(ends.fd[1], "x", 1) == 1);
  co_await runnel::with_timeout(1s, client.woken.wait());
  auto ready = co_await runnel::with_timeout(1s, runnel::poll_once(ends.fd[0], 1));
  CHECK((!ready || *ready == 1));
  watch.disarm();
}

task<> simulated_file(runnel::loop&, std::uint64_t) {
  auto opened = co_await runnel::file::open("/dev/null", O_RDONLY);
  CHECK(!opened);
}

task<> waits_for_ever_without_memory(runnel::loop&, std::uint64_t) {
  runnel::event never;
  void* memory = ::operator new(1, std::nothrow);
  ::operator delete(memory);
  if (memory == nullptr) co_await never.wait();
}

task<> throws_what_is_no_failure(runnel::loop&, std::uint64_t) {
  std::vector<int> numbers;
  try {
    numbers.resize(10);
  } catch (const std::bad_alloc&) {
  }
  static_cast<void>(numbers.at(9));
  co_return;
}

}  // namespace

TEST_CASE("failure: tasks, timers, deadlines and groups bear every failed allocation") {
  fail_everywhere(&tasks_and_groups);
}

TEST_CASE("failure: fibers bear every failed allocation") {
  fail_everywhere(&fibers);
}

TEST_CASE("failure: an operation that finds no memory, or fails, says so") {
  fail_everywhere(&simulated_file);
  const std::size_t before = open_descriptors();
  fail_everywhere_real(&files);
  CHECK(open_descriptors() == before);
  ::unlink(scratch_path());
}

TEST_CASE("failure: signals bear it") {
  const std::size_t before = open_descriptors();
  fail_everywhere_real(&signals);
  CHECK(open_descriptors() == before);
}

TEST_CASE("failure: a watch that was made is armed without memory") {
  const std::size_t before = open_descriptors();
  fail_everywhere_real(&watches);
  CHECK(open_descriptors() == before);
}

TEST_CASE("failure: a body that waits for ever is found" * doctest::should_fail()) {
  fail_options how;
  how.operations = false;
  fail_everywhere(&waits_for_ever_without_memory, how);
}

TEST_CASE("failure: an exception that is no failure is found" * doctest::should_fail()) {
  fail_everywhere(&throws_what_is_no_failure);
}
