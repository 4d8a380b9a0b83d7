#include "acceptor.hpp"

#include "socket_address.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

namespace runnel::net::kernel::detail {
namespace {

// What a connection died of before it was accepted says nothing about the listener (accept(2)).
bool concerns_one_connection(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

}  // namespace

acceptor::~acceptor() {
  close();
}

void acceptor_deleter::operator()(acceptor* gone) const noexcept {
  delete gone;
}

bool acceptor::begin(accept_wait& who) noexcept {
  // Those who wait came first.
  if (waiting_.empty() && serve(who)) return true;
  waiting_.push_back(who);
  watch_.arm(POLLIN);
  return false;
}

bool acceptor::serve(accept_wait& who) noexcept {
  if (!returned_.empty()) {
    give(who, returned_.front());
    returned_.pop_front();
    return true;
  }
  for (;;) {
    socket_address peer;
    const int fd = ::accept4(fd_, &peer.any, &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      give(who, fd);
      who.remote_ = peer.to_endpoint();
      return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (concerns_one_connection(errno)) continue;
    who.error_ = system_error(errno);
    static_cast<accept_wait::hook&>(who).unlink();
    return true;
  }
}

void acceptor::give(accept_wait& who, int fd) noexcept {
  static_cast<accept_wait::hook&>(who).unlink();
  given_.push_back(who);
  who.fd_ = fd;
  who.loop_ = owner_;
  who.kind_ = kind_;
  who.nodelay_ = nodelay_;
}

void acceptor::on_ready() noexcept {
  while (!waiting_.empty()) {
    accept_wait& first = waiting_.front();
    if (!serve(first)) break;
    first.wake();
  }
  if (!waiting_.empty()) watch_.arm(POLLIN);
}

void acceptor::put_back(int fd) noexcept {
  if (fd_ < 0) {
    ::close(fd);
  } else if (waiting_.empty()) {
    try {
      returned_.push_front(fd);
    } catch (const std::bad_alloc&) {
      ::close(fd);
    }
  } else {
    accept_wait& next = waiting_.front();
    give(next, fd);
    next.wake();
  }
}

void acceptor::close() noexcept {
  if (fd_ < 0) return;
  watch_.disarm();
  // A request in flight keeps the socket open; it shall take no more connections all the same.
  ::shutdown(fd_, SHUT_RDWR);
  ::close(std::exchange(fd_, -1));
  for (const int fd : returned_) {
    reset_peer(fd, kind_);
    ::close(fd);
  }
  returned_.clear();
  while (!given_.empty()) given_.pop_front().acceptor_ = nullptr;
  while (!waiting_.empty()) {
    waiting_.pop_front().end(std::make_error_code(std::errc::bad_file_descriptor));
  }
}

accept_wait::~accept_wait() {
  if (fd_ < 0) return;
  if (acceptor_ != nullptr) {
    hook::unlink();
    acceptor_->put_back(fd_);
  } else {
    reset_peer(fd_, kind_);
    ::close(fd_);
  }
}

bool accept_wait::begin() noexcept {
  if (acceptor_ == nullptr || acceptor_->fd() < 0) {
    error_ = std::make_error_code(std::errc::bad_file_descriptor);
    return true;
  }
  return acceptor_->begin(*this);
}

void accept_wait::on_cancel() noexcept {
  hook::unlink();
  end(errc::cancelled);
}

void accept_wait::end(std::error_code why) noexcept {
  error_ = why;
  wake();
}

result<channel_ptr> accept_wait::take() noexcept {
  if (fd_ < 0) return error_;
  hook::unlink();
  const int fd = std::exchange(fd_, -1);
  channel_ptr made = channel::make(*loop_, fd, kind_);
  if (made == nullptr) {
    ::close(fd);
    return std::make_error_code(std::errc::not_enough_memory);
  }
  made->remote = remote_;
  made->nodelay = nodelay_;
  return made;
}

}  // namespace runnel::net::kernel::detail
