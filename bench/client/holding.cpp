#include "holding.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "idle.hpp"
#include "report.hpp"

namespace bench {

namespace {

/// For what is no connection.
constexpr rlim_t other_descriptors = 64;

struct holding_counts {
  std::uint32_t held = 0;
  std::uint32_t ended_by_server = 0;
};

void open_all(idle_holder& holder, std::uint32_t wanted) {
  if (holder.open_all()) return;
  throw std::runtime_error("only " + std::to_string(holder.held()) + " of " +
                           std::to_string(wanted) +
                           " connections were answered; errors: " + to_json(holder.errors()));
}

void say(const char* line) {
  std::puts(line);
  std::fflush(stdout);
}

/// The two ends of a pipe.
struct pipe_ends {
  pipe_ends() {
    std::array<int, 2> made;
    if (::pipe2(made.data(), O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::generic_category(), "no pipe can be had");
    }
    read = made[0];
    write = made[1];
  }
  int read;
  int write;
};

/// A child's part: tells its counts once it holds, and once more in the end.
int hold_part(const options& part, int orders, int answers) {
  try {
    idle_holder holder(part);
    open_all(holder, part.idle);
    holding_counts seen{holder.held(), 0};
    if (::write(answers, &seen, sizeof seen) != sizeof seen) return 1;
    holder.hold(orders);
    seen.ended_by_server = holder.ended_by_server();
    return ::write(answers, &seen, sizeof seen) == sizeof seen ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_client: %s.\n", error.what());
    return 1;
  }
}

/// Children that hold a part each. They end when nobody holds the writing end of their orders any
/// more, so also with their parent, however that ends.
class holding_group {
 public:
  holding_group() = default;
  holding_group(const holding_group&) = delete;
  holding_group& operator=(const holding_group&) = delete;
  ~holding_group() { end(); }

  /// Returns when the part is held.
  void add(const options& part) {
    const pipe_ends answers;
    const pid_t process = ::fork();
    if (process < 0) throw std::system_error(errno, std::generic_category(), "no fork");
    if (process == 0) {
      ::close(orders_.write);
      ::_exit(hold_part(part, orders_.read, answers.write));
    }
    ::close(answers.write);
    children_.push_back({process, answers.read});
    holding_counts seen;
    if (::read(answers.read, &seen, sizeof seen) != sizeof seen) {
      throw std::runtime_error("a part of the connections could not be had");
    }
    sum_.held += seen.held;
  }

  holding_counts end() {
    if (orders_.write >= 0) ::close(orders_.write);
    orders_.write = -1;
    for (const child& each : children_) {
      holding_counts seen;
      if (::read(each.answers, &seen, sizeof seen) == sizeof seen) {
        sum_.ended_by_server += seen.ended_by_server;
      }
      ::close(each.answers);
      ::waitpid(each.process, nullptr, 0);
    }
    children_.clear();
    return sum_;
  }

 private:
  struct child {
    pid_t process;
    int answers;
  };

  pipe_ends orders_;
  std::vector<child> children_;
  holding_counts sum_;
};

holding_counts hold_here(const options& given) {
  idle_holder holder(given);
  open_all(holder, given.idle);
  say("holding");
  holder.hold(STDIN_FILENO);
  return {holder.held(), holder.ended_by_server()};
}

holding_counts hold_in_children(const options& given, std::uint32_t room_each) {
  holding_group group;
  for (std::uint32_t left = given.idle; left > 0;) {
    options part = given;
    part.idle = std::min(left, room_each);
    group.add(part);
    left -= part.idle;
  }
  say("holding");
  // With nothing to hold it only waits.
  const options nothing;
  idle_holder(nothing).hold(STDIN_FILENO);
  return group.end();
}

}  // namespace

std::uint32_t room_for_sockets(std::uint32_t wanted) {
  const rlim_t descriptors = rlim_t{wanted} + other_descriptors;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= descriptors) return wanted;
  const rlimit raised{descriptors, std::max(limit.rlim_max, descriptors)};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::uint32_t>(limit.rlim_cur - std::min(limit.rlim_cur, other_descriptors));
}

int hold(const options& given) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  const std::uint32_t room = room_for_sockets(given.idle);
  if (room == 0) {
    throw std::runtime_error(
        "this user may open too few descriptors; raise the hard limit "
        "(ulimit -Hn)");
  }
  const holding_counts seen = room >= given.idle ? hold_here(given) : hold_in_children(given, room);
  std::printf("{\"held\": %u, \"ended_by_server\": %u}\n", seen.held, seen.ended_by_server);
  return 0;
}

}  // namespace bench
