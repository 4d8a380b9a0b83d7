#include <runnel/net/kernel/child_process.hpp>

#include "net/bytes.hpp"
#include "support/death_test.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::child_options;
using net::kernel::child_process;
using net::kernel::child_stdio;
using net::kernel::input_end;
using test::byte_string;
using test::bytes_of;

namespace {

task<std::string> read_text(input_end& from) {
  std::string text;
  byte_string buffer(1000);
  for (;;) {
    const auto got = co_await from.read(buffer);
    if (!got || *got == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}

child_options shell(std::string script) {
  child_options options;
  options.arguments = {"sh", "-c", std::move(script)};
  return options;
}

/// Whether this process has children, dead ones included.
bool has_children() {
  siginfo_t facts{};
  return ::waitid(P_ALL, 0, &facts, WEXITED | WNOHANG | WNOWAIT) == 0;
}

task<> live(loop& owner, std::uint64_t) {
  child_options options = shell("read line; echo $line");
  options.standard_input = child_stdio::pipe;
  options.standard_output = child_stdio::pipe;
  auto child = child_process::start(owner, options).value();
  const byte_string line = bytes_of("line\n");
  const auto sent = co_await child.input().write(std::span<const std::byte>(line));
  if (!sent) co_return;
  const std::string text = co_await read_text(child.output());
  const auto ended = co_await child.exited();
  static_cast<void>(ended);
}

}  // namespace

RING_TASK_TEST("child process: its exit code and its signal are told, as often as asked") {
  auto child = child_process::start(loop, shell("exit 7")).value();
  for (int i = 0; i < 2; ++i) {
    const auto ended = co_await child.exited();
    CHECK(ended.value().code == 7);
    CHECK(ended.value().signal == 0);
    CHECK_FALSE(ended.value().success());
  }
  CHECK(child.kill(SIGTERM).error() == std::errc::no_such_process);
  child_options endless = shell("read line");
  endless.standard_input = child_stdio::pipe;
  auto killed = child_process::start(loop, endless).value();
  const auto early = co_await with_timeout(2ms, killed.exited());
  CHECK(early.error() == errc::deadline_exceeded);
  CHECK(killed.kill(SIGTERM).has_value());
  const auto ended = co_await killed.exited();
  CHECK(ended.value().code == -1);
  CHECK(ended.value().signal == SIGTERM);
  CHECK_FALSE(has_children());
}

RING_TASK_TEST("child process: pipes carry its input, its output and its errors") {
  child_options options = shell("cat; echo error >&2");
  options.standard_input = child_stdio::pipe;
  options.standard_output = child_stdio::pipe;
  options.standard_error = child_stdio::pipe;
  auto child = child_process::start(loop, options).value();
  const byte_string hello = bytes_of("hello");
  const auto sent = co_await child.input().write(std::span<const std::byte>(hello));
  CHECK(sent == result<std::size_t>(5));
  child.input().close();
  const std::string out = co_await read_text(child.output());
  CHECK(out == "hello");
  const std::string err = co_await read_text(child.error_output());
  CHECK(err == "error\n");
  const auto ended = co_await child.exited();
  CHECK(ended.value().success());
}

RING_TASK_TEST("child process: arguments, environment and folder are its own") {
  child_options options = shell("echo \"$1|$NAME|$HOME|$(pwd)\"");
  options.arguments.insert(options.arguments.end(), {"sh", "an argument"});
  options.environment = {"NAME=value", "PATH=/usr/bin:/bin"};
  options.directory = "/tmp";
  options.standard_input = child_stdio::null;
  options.standard_output = child_stdio::pipe;
  auto child = child_process::start(loop, options).value();
  const std::string out = co_await read_text(child.output());
  CHECK(out == "an argument|value||/tmp\n");
  const auto ended = co_await child.exited();
  CHECK(ended.value().success());
}

RING_TASK_TEST("child process: SIGPIPE is what it is by default in it") {
  std::signal(SIGPIPE, SIG_IGN);
  auto child = child_process::start(loop, shell("kill -PIPE $$")).value();
  std::signal(SIGPIPE, SIG_DFL);
  const auto ended = co_await child.exited();
  CHECK(ended.value().signal == SIGPIPE);
}

RING_TASK_TEST("child process: what cannot be started is told") {
  child_options options;
  CHECK(child_process::start(loop, options).error() == std::errc::invalid_argument);
  options.arguments = {"/no/such/program"};
  CHECK(child_process::start(loop, options).error() == std::errc::no_such_file_or_directory);
  options.arguments = {"true"};
  options.directory = "/no/such/folder";
  CHECK(child_process::start(loop, options).error() == std::errc::no_such_file_or_directory);
  CHECK_FALSE(has_children());
  co_return;
}

TEST_CASE("child process: one that is destroyed while it runs is killed and leaves no zombie") {
  {
    loop driver;
    const auto body = [](loop& owner) -> task<> {
      child_options options = shell("read line");
      options.standard_input = child_stdio::pipe;
      auto child = child_process::start(owner, options).value();
      CHECK(has_children());
      co_return;
    };
    driver.run(body(driver));
  }
  CHECK_FALSE(has_children());
}

TEST_CASE("child process: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere_real(&live, {.time_step = 1ms, .times = 2, .passes = 4});
  CHECK_FALSE(has_children());
}

TEST_CASE("child process: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere_real(&live, {.time_step = 1ms, .times = 2, .passes = 4});
  CHECK_FALSE(has_children());
}

TEST_CASE("child process: its descriptors are right where this process has none of them") {
  // The numbers are the process's own, so another one closes them.
  const auto lacking = testing::run_in_child([] {
    loop owner;
    for (const int number : {0, 1, 2}) ::close(number);
    std::string said;
    const auto body = [](loop& on, std::string& out) -> task<> {
      for (const auto input : {child_stdio::null, child_stdio::pipe}) {
        for (const auto output : {child_stdio::null, child_stdio::inherit, child_stdio::pipe}) {
          child_options options = shell("read line; echo $line 2>/dev/null; echo error >&2");
          options.standard_input = input;
          options.standard_output = output;
          options.standard_error = child_stdio::pipe;
          auto child = child_process::start(on, options).value();
          if (input == child_stdio::pipe) {
            const byte_string line = bytes_of("line\n");
            const auto sent = co_await child.input().write(std::span<const std::byte>(line));
            static_cast<void>(sent);
          }
          if (output == child_stdio::pipe) out += co_await read_text(child.output());
          out += co_await read_text(child.error_output());
          const auto ended = co_await child.exited();
          static_cast<void>(ended);
        }
      }
    };
    owner.run(body(owner, said));
    ::_exit(said == "error\nerror\n\nerror\nerror\nerror\nline\nerror\n" ? 0 : 1);
  });
  CHECK(lacking.exit_code == 0);
}
