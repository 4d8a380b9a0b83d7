#include "idle.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <string_view>

#include "clock.hpp"

namespace bench {

namespace {

constexpr std::string_view request = "GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";

}  // namespace

idle_holder::idle_holder(const options& given)
    : options_(given),
      connector_(given),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      connections_(given.idle) {
  if (epoll_ < 0) throw std::runtime_error("epoll_create1 failed: no descriptor is left");
}

idle_holder::~idle_holder() {
  for (connection& one : connections_) drop(one);
  ::close(epoll_);
}

bool idle_holder::open_all() {
  std::uint32_t begun = 0;
  std::int64_t last_ns = now_ns();
  while (held_ < connections_.size() && errors_.sum() == 0) {
    while (begun < connections_.size() && under_way_ < options_.connections && errors_.sum() == 0) {
      begin(begun++);
    }
    const int count =
        ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), /*timeout=*/100);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      on_event(static_cast<std::uint32_t>(event.data.u64), event.events);
    }
    const std::int64_t now = now_ns();
    if (count > 0) last_ns = now;
    if (now - last_ns > options_.timeout_ns) errors_.count(ETIMEDOUT);
  }
  return errors_.sum() == 0;
}

void idle_holder::hold(int input) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  const int signals = ::signalfd(-1, &ends, SFD_CLOEXEC);
  std::array<pollfd, 3> waits{{{signals, POLLIN, 0}, {input, POLLIN, 0}, {epoll_, POLLIN, 0}}};
  for (;;) {
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) break;
    if (waits[0].revents != 0) break;
    std::array<char, 256> typed;
    if (waits[1].revents != 0 && ::read(input, typed.data(), typed.size()) <= 0) break;
    const int count =
        ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), /*timeout=*/0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      on_event(static_cast<std::uint32_t>(event.data.u64), event.events);
    }
  }
  ::close(signals);
}

void idle_holder::begin(std::uint32_t index) {
  connection& one = connections_[index];
  ++under_way_;
  one.fd = connector_.open();
  if (one.fd < 0) return failed(one, errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = index;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, one.fd, &event) != 0) failed(one, errno);
}

void idle_holder::on_event(std::uint32_t index, std::uint32_t events) {
  connection& one = connections_[index];
  if (one.fd < 0) return;
  if (one.answered) {
    if ((events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) == 0) return;
    ++ended_;
    return drop(one);
  }
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(one.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return failed(one, error != 0 ? error : ECONNRESET);
  }
  if (!one.asked) {
    one.asked = true;
    const ssize_t sent = ::send(one.fd, request.data(), request.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request.size())) failed(one, sent < 0 ? errno : EIO);
    return;
  }
  if ((events & EPOLLIN) == 0) return;
  std::array<char, 4096> buffer;
  const ssize_t got = ::recv(one.fd, buffer.data(), buffer.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return failed(one, got == 0 ? ENODATA : errno);
  // An answer of one segment is what the servers give; one in pieces is no answer here.
  const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
  if (answers_.look(bytes) != answer_state::whole) return failed(one, EBADMSG);
  one.answered = true;
  ++held_;
  --under_way_;
}

void idle_holder::failed(connection& one, int error) {
  errors_.count(error);
  --under_way_;
  drop(one);
}

void idle_holder::drop(connection& one) {
  if (one.fd >= 0) ::close(one.fd);
  one.fd = -1;
}

}  // namespace bench
