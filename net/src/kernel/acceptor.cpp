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

// Of one that was reset meanwhile nobody knows it any more.
endpoint peer_of(int fd) noexcept {
  socket_address peer;
  if (::getpeername(fd, &peer.any, &peer.size) != 0) return {};
  return peer.to_endpoint();
}

}  // namespace

acceptor::acceptor(loop& owner, int fd, medium kind, bool nodelay, accept_mode mode)
    : owner_(&owner), fd_(fd), kind_(kind), nodelay_(nodelay), watch_(owner, fd, *this) {
  if (mode == accept_mode::multishot && arrivals::known_to(owner)) multishot_.emplace(*this);
}

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
  await_more();
  return false;
}

void acceptor::await_more() noexcept {
  if (watch_.armed()) return;
  if (multishot_ && multishot_->useful()) {
    multishot_->start();
  } else {
    watch_.arm(POLLIN);
  }
}

bool acceptor::serve(accept_wait& who) noexcept {
  if (!arrived_.empty()) {
    give(who, arrived_.front());
    arrived_.pop_front();
    return true;
  }
  if (multishot_ && multishot_->running()) return false;
  for (;;) {
    socket_address peer;
    const int fd = ::accept4(fd_, &peer.any, &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      give(who, {.fd = fd, .remote = peer.to_endpoint(), .known = true});
      return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (concerns_one_connection(errno)) continue;
    who.error_ = system_error(errno);
    static_cast<accept_wait::hook&>(who).unlink();
    return true;
  }
}

void acceptor::give(accept_wait& who, arrival one) noexcept {
  static_cast<accept_wait::hook&>(who).unlink();
  given_.push_back(who);
  who.fd_ = one.fd;
  who.remote_ = one.known ? one.remote : peer_of(one.fd);
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

// In front of those who came later, also where it comes back.
void acceptor::put_back(int fd, const endpoint& remote) noexcept {
  arrival one{.fd = fd, .remote = remote, .known = true};
  if (fd_ < 0) {
    ::close(fd);
  } else if (waiting_.empty()) {
    try {
      arrived_.push_front(one);
    } catch (const std::bad_alloc&) {
      ::close(fd);
    }
  } else {
    accept_wait& next = waiting_.front();
    give(next, one);
    next.wake();
  }
}

// ---- multishot

void acceptor::arrivals::start() noexcept {
  if (busy()) return;
  prepare(*of_->owner_, {.kind = runnel::detail::op_kind::accept, .fd = of_->fd_});
  submit();
}

bool acceptor::arrivals::part_with(int fd) noexcept {
  if (!busy()) return false;
  abandon_and_close(fd);
  return true;
}

void acceptor::arrivals::on_accepted(runnel::detail::operation&, int fd) noexcept {
  of_->store({.fd = fd});
}

void acceptor::store(arrival&& one) noexcept {
  if (!waiting_.empty()) {
    accept_wait& next = waiting_.front();
    give(next, one);
    next.wake();
    return;
  }
  try {
    arrived_.push_back(one);
  } catch (const std::bad_alloc&) {
    reset_peer(one.fd, kind_);
    ::close(one.fd);
  }
  if (arrived_.size() >= most_arrived) multishot_->stop();
}

// An error is found again where the one who waits asks for a connection: that is what accept(2)
// says of it. He is then told by a poll, and the next one who waits starts this anew.
void acceptor::arrivals::on_complete(runnel::detail::operation&, int result) noexcept {
  if (result == -EAGAIN || result == -ECANCELED) {
    if (!of_->waiting_.empty()) start();
    return;
  }
  if (result == -EINVAL || result == runnel::detail::op_not_supported) useful_ = false;
  of_->on_ready();
}

void acceptor::close() noexcept {
  if (fd_ < 0) return;
  watch_.disarm();
  // A request in flight keeps the socket open; it shall take no more connections all the same.
  ::shutdown(fd_, SHUT_RDWR);
  const int closing = std::exchange(fd_, -1);
  if (!multishot_ || !multishot_->part_with(closing)) ::close(closing);
  for (const arrival& one : arrived_) {
    reset_peer(one.fd, kind_);
    ::close(one.fd);
  }
  arrived_.clear();
  while (!given_.empty()) given_.pop_front().acceptor_ = nullptr;
  while (!waiting_.empty()) {
    waiting_.pop_front().end(std::make_error_code(std::errc::bad_file_descriptor));
  }
}

accept_wait::~accept_wait() {
  if (fd_ < 0) return;
  if (acceptor_ != nullptr) {
    hook::unlink();
    acceptor_->put_back(fd_, remote_);
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
