// Connections per second of a listener on loopback that accepts and closes: by asking for each, and
// by one multishot accept. A client process connects and closes, with a few connections at a time.
#include <runnel/net/kernel/tcp.hpp>
#include <runnel/task.hpp>

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace runnel;

namespace {

constexpr int connections = 30'000;
constexpr int rounds = 5;

// Each end with a reset, so that no TIME-WAIT fills the port range.
[[noreturn]] void connect_and_reset(std::uint16_t port, int at_a_time) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const linger now{.l_onoff = 1, .l_linger = 0};
  std::vector<int> open;
  for (int done = 0; done < connections; done += at_a_time) {
    for (int i = 0; i < at_a_time; ++i) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) std::_Exit(1);
      open.push_back(fd);
    }
    for (const int fd : open) {
      // The server has accepted it when it closes.
      char byte = 0;
      const auto got = ::recv(fd, &byte, 1, 0);
      static_cast<void>(got);
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
      ::close(fd);
    }
    open.clear();
  }
  std::_Exit(0);
}

task<> accept_all(net::kernel::tcp_listener& listener) {
  for (int i = 0; i < connections; ++i) {
    auto accepted = co_await listener.accept();
    if (!accepted) std::abort();
  }
}

double seconds_of_cpu() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

struct figures {
  double per_second = 0;
  double cpu_us = 0;
};

figures run(bool multishot, int at_a_time) {
  loop driver;
  auto listener = net::kernel::tcp_listener::listen(driver, {net::address::v4(127, 0, 0, 1), 0},
                                                    {.multishot = multishot})
                      .value();
  const pid_t client = ::fork();
  if (client == 0) connect_and_reset(listener.local_endpoint().port, at_a_time);
  const auto begin = std::chrono::steady_clock::now();
  const double cpu_before = seconds_of_cpu();
  driver.run(accept_all(listener));
  const double cpu = seconds_of_cpu() - cpu_before;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  int status = 0;
  ::waitpid(client, &status, 0);
  if (status != 0) std::abort();
  return {connections / took.count(), cpu / connections * 1e6};
}

}  // namespace

int main() {
  for (const int at_a_time : {1, 20, 200}) {
    for (int round = 0; round < rounds; ++round) {
      for (const bool multishot : {false, true}) {
        const figures found = run(multishot, at_a_time);
        std::printf("at_a_time %3d %-9s %8.0f connections/s %6.2f us of CPU each\n", at_a_time,
                    multishot ? "multishot" : "asking", found.per_second, found.cpu_us);
      }
    }
  }
}
