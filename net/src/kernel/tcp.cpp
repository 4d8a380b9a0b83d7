#include "runnel/net/kernel/tcp.hpp"

#include "acceptor.hpp"
#include "channel.hpp"
#include "owned_fd.hpp"
#include "socket_address.hpp"
#include "socket_option.hpp"

#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

namespace runnel::net::kernel {
namespace {

using detail::last_error;
using detail::owned_fd;
using detail::set;
using detail::socket_address;

// A listener's options are those of the connections it accepts.
bool apply(int fd, const tcp_options& options) noexcept {
  const auto idle = static_cast<int>(options.keepalive_idle.count());
  const auto interval = static_cast<int>(options.keepalive_interval.count());
  const auto limit = static_cast<int>(options.user_timeout.count());
  bool good = set(fd, IPPROTO_TCP, TCP_NODELAY, options.nodelay ? 1 : 0);
  if (idle != 0) {
    good = good && set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) && set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle);
  }
  if (interval != 0) good = good && set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval);
  if (options.keepalive_probes != 0) {
    good = good && set(fd, IPPROTO_TCP, TCP_KEEPCNT, options.keepalive_probes);
  }
  if (limit != 0) good = good && set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, limit);
  return good &&
         detail::set_common(fd, options.send_buffer, options.receive_buffer, options.device);
}

int make_socket(const endpoint& like) noexcept {
  const int family = like.address.is_v6() ? AF_INET6 : AF_INET;
  return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

bool bind_to(int fd, const endpoint& at) noexcept {
  const socket_address name(at);
  return ::bind(fd, &name.any, name.size) == 0;
}

}  // namespace

endpoint tcp_stream::local_endpoint() const noexcept {
  return detail::bound_endpoint(checked().fd());
}
endpoint tcp_stream::remote_endpoint() const noexcept {
  return checked().remote;
}
void tcp_stream::set_nodelay(bool on) noexcept {
  detail::channel& to = checked();
  if (to.fd() < 0 || to.nodelay == on) return;
  if (set(to.fd(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0)) to.nodelay = on;
}

result<tcp_listener> tcp_listener::listen(loop& owner, const endpoint& at,
                                          const tcp_listener_options& options) {
  if (owner.simulated()) return errc::not_supported;
  owned_fd fd(make_socket(at));
  if (fd.get() < 0) return last_error();
  const bool ready =
      set(fd.get(), SOL_SOCKET, SO_REUSEADDR, options.reuse_address ? 1 : 0) &&
      (!options.reuse_port || set(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1)) &&
      (!at.address.is_v6() || set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6only ? 1 : 0)) &&
      apply(fd.get(), options.connection) && bind_to(fd.get(), at) &&
      ::listen(fd.get(), options.backlog) == 0;
  if (!ready) return last_error();
  auto* const made = new (std::nothrow) detail::acceptor(
      owner, fd.get(), detail::medium::tcp, options.connection.nodelay,
      options.multishot ? detail::accept_mode::multishot : detail::accept_mode::asking);
  if (made == nullptr) return std::make_error_code(std::errc::not_enough_memory);
  fd.release();
  return tcp_listener(detail::acceptor_ptr(made));
}

void tcp_listener::close() noexcept {
  if (acceptor_) acceptor_->close();
}
endpoint tcp_listener::local_endpoint() const noexcept {
  return detail::bound_endpoint(descriptor());
}
int tcp_listener::descriptor() const noexcept {
  return acceptor_ ? acceptor_->fd() : -1;
}

tcp_connect_awaiter::~tcp_connect_awaiter() {
  abandon();
  if (fd_ >= 0) ::close(fd_);
}

// True when the outcome is known without waiting.
bool tcp_connect_awaiter::connected_at_once() noexcept {
  if (loop_->simulated()) {
    error_ = errc::not_supported;
    return true;
  }
  if (to_.address.family() == family::unspecified) {
    error_ = std::make_error_code(std::errc::address_family_not_supported);
    return true;
  }
  fd_ = make_socket(to_);
  const endpoint& from = options_->local;
  const bool wants_address = from.address.family() != family::unspecified || from.port != 0;
  endpoint local = from;
  if (wants_address && from.address.family() == family::unspecified) {
    local.address = address::any(to_.address.family());
  }
  if (fd_ < 0 || !apply(fd_, options_->connection) || (wants_address && !bind_to(fd_, local))) {
    error_ = last_error();
    return true;
  }
  const socket_address peer(to_);
  if (::connect(fd_, &peer.any, peer.size) == 0) return true;
  if (errno != EINPROGRESS) {
    error_ = last_error();
    return true;
  }
  request_ = {.kind = runnel::detail::op_kind::poll, .fd = fd_, .flags = POLLOUT};
  return false;
}

result<tcp_stream> tcp_connect_awaiter::await_resume() noexcept {
  if (error_) return error_;
  if (result_ < 0) return runnel::detail::kernel_error(result_);
  int failed = 0;
  socklen_t size = sizeof failed;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) return last_error();
  if (failed != 0) return detail::system_error(failed);
  auto made = detail::channel::make(*loop_, fd_, detail::medium::tcp);
  if (made == nullptr) return std::make_error_code(std::errc::not_enough_memory);
  fd_ = -1;
  made->remote = to_;
  made->nodelay = options_->connection.nodelay;
  return tcp_stream(std::move(made));
}

}  // namespace runnel::net::kernel
