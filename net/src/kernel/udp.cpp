#include "runnel/net/kernel/udp.hpp"

#include "owned_fd.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/poll.hpp"
#include "socket_address.hpp"
#include "socket_option.hpp"

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <new>

namespace runnel::net::kernel {
namespace detail {

/// A datagram socket and who waits on it.
class datagram_core {
 public:
  datagram_core(loop& owner, int fd) : fd_(fd), in_(owner, fd, POLLIN), out_(owner, fd, POLLOUT) {}
  datagram_core(const datagram_core&) = delete;
  datagram_core& operator=(const datagram_core&) = delete;
  ~datagram_core() {
    runnel::detail::check((in_.who == nullptr && out_.who == nullptr) ||
                              runnel::detail::this_thread.teardown_depth > 0,
                          "runnel: a kernel::udp_socket was destroyed while an operation on it is "
                          "awaited; cancel it first.");
    for (side* each : {&in_, &out_}) {
      if (each->who != nullptr) each->who->place_ = nullptr;
    }
    close();
  }

  bool begin(datagram_waiter& who) noexcept;
  void close() noexcept;
  int fd() const noexcept { return fd_; }

 private:
  /// One direction.
  struct side final : fd_watch::client {
    side(loop& owner, int fd, short wanted)
        : events(static_cast<std::uint32_t>(wanted)), watch(owner, fd, *this) {}
    void on_ready() noexcept override;

    std::uint32_t events;
    datagram_waiter* who = nullptr;
    fd_watch watch;
  };

  int fd_;
  side in_;
  side out_;
};

void datagram_core_deleter::operator()(datagram_core* gone) const noexcept {
  delete gone;
}

bool datagram_core::begin(datagram_waiter& who) noexcept {
  side& here = who.where_ == datagram_waiter::direction::in ? in_ : out_;
  runnel::detail::check(here.who == nullptr,
                        "runnel: a second task receives, or sends, on a kernel::udp_socket while "
                        "one is waiting; one of each kind at a time.");
  here.who = &who;
  who.place_ = &here.who;
  if (fd_ < 0) {
    who.error_ = std::make_error_code(std::errc::bad_file_descriptor);
    return true;
  }
  if (who.attempt()) return true;
  here.watch.arm(here.events);
  return false;
}

void datagram_core::side::on_ready() noexcept {
  if (who == nullptr || !who->waiting()) return;
  if (who->attempt()) return who->wake();
  watch.arm(events);
}

void datagram_core::close() noexcept {
  if (fd_ < 0) return;
  for (side* each : {&in_, &out_}) {
    each->watch.disarm();
    if (each->who != nullptr) each->who->fail(std::make_error_code(std::errc::bad_file_descriptor));
  }
  ::close(std::exchange(fd_, -1));
}

bool datagram_waiter::begin() noexcept {
  return core_->begin(*this);
}

int datagram_waiter::fd() const noexcept {
  return core_->fd();
}

namespace {

constexpr std::size_t most_at_once = 32;

/// Whether a failed call has to be done again when the descriptor is ready.
bool must_wait(std::error_code& error) noexcept {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return true;
  error = last_error();
  return false;
}

bool apply(int fd, const endpoint& at, const udp_options& options) noexcept {
  bool good = true;
  if (options.reuse_address) good = good && set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port) good = good && set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (options.broadcast) good = good && set(fd, SOL_SOCKET, SO_BROADCAST, 1);
  if (at.address.is_v6()) {
    good = good && set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6only ? 1 : 0);
  }
  return good && set_common(fd, options.send_buffer, options.receive_buffer, options.device);
}

}  // namespace

// ---- receiving

bool datagram_readable::attempt() noexcept {
  pollfd one{fd(), POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

result<void> datagram_readable::await_resume() const noexcept {
  if (error_) return error_;
  return {};
}

bool datagram_receive::attempt() noexcept {
  socket_address peer;
  const ssize_t size =
      ::recvfrom(fd(), into_.data(), into_.size(), MSG_DONTWAIT | MSG_TRUNC, &peer.any, &peer.size);
  if (size < 0) return !must_wait(error_);
  got_.size = static_cast<std::size_t>(size);
  got_.from = peer.to_endpoint();
  got_.truncated = got_.size > into_.size();
  return true;
}

result<received_datagram> datagram_receive::await_resume() const noexcept {
  if (error_) return error_;
  return got_;
}

bool datagram_receive_many::attempt() noexcept {
  const std::size_t wanted = std::min(slots_.size(), most_at_once);
  std::array<mmsghdr, most_at_once> headers{};
  std::array<iovec, most_at_once> vectors;
  std::array<socket_address, most_at_once> peers;
  for (std::size_t i = 0; i < wanted; ++i) {
    vectors[i] = {slots_[i].into.data(), slots_[i].into.size()};
    headers[i].msg_hdr.msg_iov = &vectors[i];
    headers[i].msg_hdr.msg_iovlen = 1;
    headers[i].msg_hdr.msg_name = &peers[i].any;
    headers[i].msg_hdr.msg_namelen = peers[i].size;
  }
  if (wanted == 0) return true;
  const int count = ::recvmmsg(fd(), headers.data(), static_cast<unsigned>(wanted),
                               MSG_DONTWAIT | MSG_TRUNC, nullptr);
  if (count < 0) return !must_wait(error_);
  count_ = static_cast<std::size_t>(count);
  for (std::size_t i = 0; i < count_; ++i) {
    slots_[i].got = {.size = headers[i].msg_len,
                     .from = peers[i].to_endpoint(),
                     .truncated = headers[i].msg_len > slots_[i].into.size()};
  }
  return true;
}

result<std::size_t> datagram_receive_many::await_resume() const noexcept {
  if (error_) return error_;
  return count_;
}

// ---- sending

bool datagram_send::attempt() noexcept {
  const socket_address peer(to_);
  const bool connected = to_.address.family() == family::unspecified;
  const ssize_t size = ::sendto(fd(), from_.data(), from_.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                                connected ? nullptr : &peer.any, connected ? 0 : peer.size);
  return size >= 0 || !must_wait(error_);
}

result<std::size_t> datagram_send::await_resume() const noexcept {
  if (error_) return error_;
  return from_.size();
}

bool datagram_send_many::attempt() noexcept {
  while (!left_.empty()) {
    const std::size_t wanted = std::min(left_.size(), most_at_once);
    std::array<mmsghdr, most_at_once> headers{};
    std::array<iovec, most_at_once> vectors;
    std::array<socket_address, most_at_once> peers;
    for (std::size_t i = 0; i < wanted; ++i) {
      const outgoing_datagram& one = left_[i];
      vectors[i] = {const_cast<std::byte*>(one.bytes.data()), one.bytes.size()};
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
      if (one.to.address.family() == family::unspecified) continue;
      peers[i] = socket_address(one.to);
      headers[i].msg_hdr.msg_name = &peers[i].any;
      headers[i].msg_hdr.msg_namelen = peers[i].size;
    }
    const int count = ::sendmmsg(fd(), headers.data(), static_cast<unsigned>(wanted),
                                 MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) return !must_wait(error_);
    count_ += static_cast<std::size_t>(count);
    left_ = left_.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

result<std::size_t> datagram_send_many::await_resume() const noexcept {
  if (error_ && count_ == 0) return error_;
  return count_;
}

}  // namespace detail

// ---- the socket

result<udp_socket> udp_socket::bind(loop& owner, const endpoint& at, const udp_options& options) {
  if (owner.simulated()) return errc::not_supported;
  const int domain = at.address.is_v6() ? AF_INET6 : AF_INET;
  detail::owned_fd fd(::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const detail::socket_address name(at);
  if (fd.get() < 0 || !detail::apply(fd.get(), at, options) ||
      ::bind(fd.get(), &name.any, name.size) != 0) {
    return detail::last_error();
  }
  detail::datagram_core_ptr core(new (std::nothrow) detail::datagram_core(owner, fd.get()));
  if (!core) return std::make_error_code(std::errc::not_enough_memory);
  fd.release();
  return udp_socket(std::move(core));
}

detail::datagram_core* udp_socket::checked() const noexcept {
  runnel::detail::check(core_ != nullptr,
                        "runnel: an operation on a kernel::udp_socket that holds none; it was "
                        "moved from or never bound.");
  return core_.get();
}

result<void> udp_socket::connect(const endpoint& to) noexcept {
  const detail::socket_address name(to);
  if (::connect(checked()->fd(), &name.any, name.size) != 0) return detail::last_error();
  return {};
}

void udp_socket::close() noexcept {
  checked()->close();
}
endpoint udp_socket::local_endpoint() const noexcept {
  return detail::bound_endpoint(checked()->fd());
}
int udp_socket::descriptor() const noexcept {
  return checked()->fd();
}

}  // namespace runnel::net::kernel
