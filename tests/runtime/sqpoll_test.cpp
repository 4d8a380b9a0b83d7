#include <fcntl.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "runnel/file.hpp"
#include "runnel/loop.hpp"
#include "runnel/poll.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/pipe_pair.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::backend_kind;
using runnel::task;

runnel::loop_options polled() {
  runnel::loop_options options;
  options.backend = backend_kind::io_uring;
  options.sqpoll_idle = 10ms;
  return options;
}

task<> send_bytes(int to, int count) {
  for (int i = 0; i < count; ++i) {
    const std::array<std::byte, 1> one{static_cast<std::byte>(i)};
    auto written = co_await runnel::write_at(to, one, runnel::current_position);
    CHECK(written.has_value());
  }
}

task<> count_bytes(int from, int count) {
  for (int heard = 0; heard < count;) {
    std::array<std::byte, 16> some;
    auto got = co_await runnel::read_at(from, some, runnel::current_position);
    REQUIRE(got.has_value());
    for (std::size_t i = 0; i < *got; ++i) {
      CHECK(some[i] == static_cast<std::byte>(heard++));
    }
  }
}

task<> exchange(runnel::loop& on) {
  runnel::testing::pipe_pair pipe;
  // A read then waits for bytes instead of giving EAGAIN.
  REQUIRE(::fcntl(pipe.reader(), F_SETFL, 0) == 0);
  runnel::task_group group{on};
  group.spawn(send_bytes(pipe.writer(), 200));
  group.spawn(count_bytes(pipe.reader(), 200));
  static_cast<void>(co_await group.join());
  auto late = co_await runnel::with_timeout(1ms, runnel::poll_once(pipe.reader(), 1));
  CHECK(late.error() == runnel::errc::deadline_exceeded);
}

using pipe_list = std::vector<std::unique_ptr<runnel::testing::pipe_pair>>;

task<> hear(int fd, std::size_t& heard) {
  const auto ready = co_await runnel::poll_once(fd, 1);
  if (ready.has_value()) ++heard;
}

task<> tell(int fd) {
  co_await runnel::yield();
  CHECK(::write(fd, "x", 1) == 1);
}

task<> hear_all(runnel::loop& on, pipe_list& pipes, std::size_t& heard) {
  runnel::task_group group{on};
  for (auto& pipe : pipes) group.spawn(hear(pipe->reader(), heard));
  for (auto pipe = pipes.rbegin(); pipe != pipes.rend(); ++pipe) {
    group.spawn(tell((*pipe)->writer()));
  }
  static_cast<void>(co_await runnel::with_timeout(30s, group.join()));
}

}  // namespace

TEST_CASE("sqpoll: a loop whose submissions the kernel polls does what any other does") {
  runnel::loop driver{polled()};
  CHECK(driver.description().find("SQPOLL") != std::string::npos);
  CHECK(driver.description().find("DEFER_TASKRUN") == std::string::npos);
  driver.run(exchange(driver));
}

TEST_CASE("sqpoll: a loop that ends with operations in flight waits for the kernel") {
  runnel::testing::pipe_pair pipe;
  for (int i = 0; i < 20; ++i) {
    runnel::loop driver{polled()};
    const auto leave = [](int fd) -> task<> {
      auto late = co_await runnel::with_timeout(100us, runnel::poll_once(fd, 1));
      CHECK(!late.has_value());
    };
    driver.run(leave(pipe.reader()));
  }
}

TEST_CASE("sqpoll: it is ignored where there is no ring") {
  runnel::loop_options options = polled();
  options.backend = backend_kind::epoll;
  runnel::loop driver{options};
  driver.run(exchange(driver));
}

TEST_CASE("sqpoll: what does not fit into the ring at once is not forgotten") {
  runnel::loop_options options = polled();
  options.ring_entries = 8;
  runnel::loop driver{options};
  constexpr std::size_t count = 200;
  pipe_list pipes;
  for (std::size_t i = 0; i < count; ++i) {
    pipes.push_back(std::make_unique<runnel::testing::pipe_pair>());
  }
  std::size_t heard = 0;
  driver.run(hear_all(driver, pipes, heard));
  CHECK(heard == count);
}
