// The client of the echo figures: plain epoll, one message of 64 bytes under way on each
// connection, the same for every server. Prints the rate and the round trips.
//
//   echo_load PORT CONNECTIONS MESSAGES     MESSAGES in all; 0 connects, says so and waits

#include "figures.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace {

constexpr std::size_t message_size = 64;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "echo_load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

struct peer {
  int fd = -1;
  std::size_t heard = 0;
  figures::clock::time_point sent;
};

int open_connection(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) fail("socket");
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fail("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void send_message(peer& to) {
  static constexpr std::array<char, message_size> message{};
  to.heard = 0;
  to.sent = figures::clock::now();
  if (::send(to.fd, message.data(), message.size(), MSG_NOSIGNAL) != ssize_t{message_size}) {
    fail("send");
  }
}

// True when the whole message is back.
bool receive_some(peer& from) {
  std::array<char, message_size> bytes;
  const ssize_t size = ::recv(from.fd, bytes.data(), message_size - from.heard, 0);
  if (size <= 0) fail("recv");
  from.heard += static_cast<std::size_t>(size);
  return from.heard == message_size;
}

void exchange(std::vector<peer>& peers, std::uint64_t messages) {
  const int poller = ::epoll_create1(EPOLL_CLOEXEC);
  for (peer& one : peers) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &one;
    if (::epoll_ctl(poller, EPOLL_CTL_ADD, one.fd, &event) != 0) fail("epoll_ctl");
  }
  std::vector<std::int64_t> trips;
  trips.reserve(messages + peers.size());
  const auto begin = figures::clock::now();
  for (peer& one : peers) {
    send_message(one);
  }
  std::array<epoll_event, 256> events;
  while (trips.size() < messages) {
    const int count = ::epoll_wait(poller, events.data(), int{events.size()}, -1);
    for (int i = 0; i < count; ++i) {
      peer& one = *static_cast<peer*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (!receive_some(one)) continue;
      trips.push_back((figures::clock::now() - one.sent).count());
      if (trips.size() < messages) send_message(one);
    }
  }
  const std::chrono::duration<double> took = figures::clock::now() - begin;
  figures::print("echo_rate", static_cast<double>(trips.size()) / took.count(), "1/s");
  std::sort(trips.begin(), trips.end());
  figures::print("echo_p50", static_cast<double>(trips[trips.size() / 2]) / 1e3, "us");
  figures::print("echo_p99", static_cast<double>(trips[trips.size() * 99 / 100]) / 1e3, "us");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s PORT CONNECTIONS MESSAGES\n", argv[0]);
    return 2;
  }
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  std::vector<peer> peers(static_cast<std::size_t>(std::atoll(argv[2])));
  for (peer& one : peers) {
    one.fd = open_connection(static_cast<std::uint16_t>(std::atoi(argv[1])));
  }
  const auto messages = static_cast<std::uint64_t>(std::atoll(argv[3]));
  if (messages == 0) {
    std::printf("open\n");
    std::fflush(stdout);
    while (::getchar() != EOF) {
    }
    return 0;
  }
  exchange(peers, messages);
}
