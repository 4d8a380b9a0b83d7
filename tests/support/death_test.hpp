#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace runnel::testing {

/// How a child process ended and what it wrote to standard error.
struct death {
  bool aborted = false;
  /// What killed it; 0 when it ended by itself.
  int signal = 0;
  int exit_code = -1;
  std::string said;
};

/// Runs `body` in a forked process: for what must abort, and for what changes the whole process,
/// such as a system call filter.
template <class Body>
death run_in_child(Body body) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  std::fflush(nullptr);
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], 2);
    ::close(ends[0]);
    ::close(ends[1]);
    std::signal(SIGABRT, SIG_DFL);
    body();
    ::_exit(0);
  }
  ::close(ends[1]);
  death result;
  char buffer[512];
  for (;;) {
    ssize_t count = ::read(ends[0], buffer, sizeof buffer);
    if (count <= 0) break;
    result.said.append(buffer, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.aborted = result.signal == SIGABRT;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace runnel::testing
