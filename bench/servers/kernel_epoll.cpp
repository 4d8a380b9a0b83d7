// The least that can be called an HTTP server on the kernel's TCP: edge-triggered epoll, one
// thread, nothing kept for a connection. It takes each read for one request, as bench_client sends
// them. What a TCP in user space is measured against on veth and loopback.
//
//   kernel_epoll --address 10.78.0.2 --port 80

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <system_error>

#include "serving.hpp"

namespace {

class server {
 public:
  explicit server(const bench::serving_options& given)
      : listener_(bench::listen_at(given, bench::waiting::fails)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (epoll_ < 0 || !add(listener_)) {
      throw std::system_error(errno, std::generic_category(), "no epoll can be had");
    }
  }
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server() {
    ::close(epoll_);
    ::close(listener_);
  }

  void run() {
    std::array<epoll_event, 512> events;
    while (!bench::stop_asked()) {
      // A signal may come just before the call.
      const int count =
          ::epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), /*timeout=*/250);
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_all();
        } else {
          serve(fd);
        }
      }
    }
  }

 private:
  bool add(int fd) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        if (!add(fd)) ::close(fd);
        continue;
      }
      if (errno == EAGAIN) return;
      // A peer that has gone, or a passing lack of memory, is none of the others' business.
      if (errno != ECONNABORTED && errno != EINTR) {
        throw std::system_error(errno, std::generic_category(), "no connection can be accepted");
      }
    }
  }

  void serve(int fd) {
    const ssize_t got = ::recv(fd, buffer_.data(), buffer_.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      ::close(fd);
      return;
    }
    const std::string_view request(buffer_.data(), static_cast<std::size_t>(got));
    if (!bench::asks_for_close(request)) {
      const auto& text = bench::keep_alive_answer;
      ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      return;
    }
    // Held until the close, whose FIN then goes with it in one segment.
    const auto& text = bench::last_answer;
    ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_MORE);
    ::close(fd);
  }

  int listener_;
  int epoll_;
  std::array<char, 4096> buffer_;
};

void serve(const bench::serving_options& given) {
  server one(given);
  bench::say_ready();
  one.run();
}

}  // namespace

int main(int argc, char** argv) {
  const auto given =
      bench::read_arguments(argc, argv, bench::path::kernel,
                            "Answers HTTP on the kernel's TCP, by edge-triggered epoll.");
  return bench::run_server("kernel_epoll", &serve, given);
}
