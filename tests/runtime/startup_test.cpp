// What the kernel refuses at the start must be one plain sentence. A system call filter in a child
// process plays the kernel that refuses.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "runnel/loop.hpp"
#include "runnel/sleep.hpp"
#include "support/death_test.hpp"
#include "support/system_call_filter.hpp"
#include "support/task_test.hpp"

namespace {

using runnel::backend_kind;
using runnel::testing::death;
using runnel::testing::run_in_child;

bool refuse_io_uring(int error) {
  // What the environment of the test says is not to decide.
  ::unsetenv("RUNNEL_BACKEND");
  return runnel::testing::refuse_system_call(SYS_io_uring_setup, static_cast<unsigned>(error));
}

// The child's exit code: 0 when the refusal came as a startup_error with that errno.
death start_with_refusal(int error) {
  return run_in_child([error] {
    if (!refuse_io_uring(error)) ::_exit(77);
    try {
      runnel::loop_options options;
      options.backend = backend_kind::io_uring;
      runnel::loop loop{options};
    } catch (const runnel::startup_error& e) {
      std::fputs(e.what(), stderr);
      ::_exit(e.code().value() == error ? 0 : 2);
    }
    ::_exit(3);
  });
}

// The same with the choice left to the loop: the child says what it chose and why.
death fall_back_from(int error) {
  return run_in_child([error] {
    if (!refuse_io_uring(error)) ::_exit(77);
    runnel::loop_options options;
    options.log = [](std::string_view line) { std::fputs(std::string(line).c_str(), stderr); };
    runnel::loop loop{options};
    if (loop.backend() != backend_kind::epoll) ::_exit(2);
    auto body = []() -> runnel::task<> { co_await runnel::sleep(std::chrono::microseconds{1}); };
    loop.run(body());
  });
}

// What a loop becomes with RUNNEL_BACKEND set to `value`.
death start_with_environment(const char* value) {
  return run_in_child([value] {
    ::setenv("RUNNEL_BACKEND", value, 1);
    try {
      runnel::loop loop;
      std::fputs(loop.description().c_str(), stderr);
    } catch (const runnel::startup_error& e) {
      std::fputs(e.what(), stderr);
      ::_exit(1);
    }
  });
}

void check_sentence(const death& d, const char* names, const char* mends) {
  if (d.exit_code == 77) {
    MESSAGE("skipped: this kernel takes no system call filter");
    return;
  }
  CHECK(d.exit_code == 0);
  CHECK(d.said.find(names) != std::string::npos);
  CHECK(d.said.find(mends) != std::string::npos);
  CHECK(d.said.find('\n') == std::string::npos);
  CHECK(d.said.ends_with("."));
}

}  // namespace

TEST_CASE("startup: a container that forbids io_uring is named with the way out") {
  check_sentence(start_with_refusal(EPERM), "io_uring", "seccomp");
}

TEST_CASE("startup: a kernel without io_uring is named with the way out") {
  check_sentence(start_with_refusal(ENOSYS), "no io_uring", "6.1");
}

TEST_CASE("startup: too little locked memory is named with the way out") {
  check_sentence(start_with_refusal(ENOMEM), "memory", "ulimit -l");
}

TEST_CASE("startup: no free descriptor is named with the way out") {
  check_sentence(start_with_refusal(EMFILE), "file descriptor", "ulimit -n");
}

TEST_CASE("startup: a refusal of every flag ends the ladder with the kernel's reason") {
  check_sentence(start_with_refusal(EINVAL), "io_uring ring", "Invalid argument");
}

TEST_CASE("startup: where io_uring is refused the loop runs on epoll and says why") {
  for (const int error : {EPERM, ENOSYS, ENOMEM, EINVAL}) {
    INFO("errno ", error);
    check_sentence(fall_back_from(error), "epoll backend: ", "io_uring is refused here (");
  }
  check_sentence(fall_back_from(EPERM), "Operation not permitted", "seccomp");
}

TEST_CASE("startup: RUNNEL_BACKEND decides what automatic is") {
  const death epoll = start_with_environment("epoll");
  CHECK(epoll.exit_code == 0);
  CHECK(epoll.said.starts_with("epoll backend: "));
  CHECK(epoll.said.find("RUNNEL_BACKEND") != std::string::npos);
  const death ring = start_with_environment("io_uring");
  CHECK(ring.said.starts_with(ring.exit_code == 0 ? "io_uring backend: " : "io_uring"));
  const death nothing = start_with_environment("");
  CHECK(nothing.exit_code == 0);
}

TEST_CASE("startup: a wrong RUNNEL_BACKEND is one sentence") {
  const death wrong = start_with_environment("kqueue");
  CHECK(wrong.exit_code == 1);
  CHECK(wrong.said.find("RUNNEL_BACKEND is 'kqueue'") != std::string::npos);
  CHECK(wrong.said.ends_with("."));
}

TEST_CASE("startup: what the program names comes before the environment") {
  const death d = run_in_child([] {
    ::setenv("RUNNEL_BACKEND", "kqueue", 1);
    runnel::loop_options options;
    options.backend = backend_kind::epoll;
    runnel::loop loop{options};
    ::_exit(loop.backend() == backend_kind::epoll ? 0 : 2);
  });
  CHECK(d.exit_code == 0);
  runnel::loop_options options;
  options.backend = backend_kind::simulated;
  CHECK_THROWS_AS(runnel::loop{options}, std::logic_error);
}

TEST_CASE("startup: a simulated loop needs nothing of the kernel") {
  death d = run_in_child([] {
    if (!refuse_io_uring(EPERM)) ::_exit(77);
    runnel::loop loop{{.simulated = 1}};
    auto body = []() -> runnel::task<> { co_return; };
    loop.run(body());
  });
  bool as_expected = d.exit_code == 0 || d.exit_code == 77;
  CHECK(as_expected);
}
