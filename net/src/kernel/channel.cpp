#include "channel.hpp"

#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <new>
#include <utility>

namespace runnel::net::kernel::detail {
namespace {

constexpr duration shortest_look = std::chrono::microseconds{200};
constexpr duration longest_look = std::chrono::milliseconds{200};
// Of more than this the system call is a small part.
constexpr std::size_t most_sent_with_others = 16384;

std::error_code code(std::errc value) noexcept {
  return std::make_error_code(value);
}

bool would_block(int error) noexcept {
  return error == EAGAIN || error == EWOULDBLOCK;
}

// A pipe knows no MSG_NOSIGNAL: the signal is held back in this thread, and taken when it came.
ssize_t write_quietly(int fd, std::span<const iovec> pieces) noexcept {
  sigset_t only_pipe;
  sigset_t before;
  sigset_t pending;
  sigemptyset(&only_pipe);
  sigaddset(&only_pipe, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &only_pipe, &before);
  const ssize_t sent = ::writev(fd, pieces.data(), static_cast<int>(pieces.size()));
  const int error = errno;
  if (sent < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
    const timespec at_once{};
    sigtimedwait(&only_pipe, nullptr, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return sent;
}

}  // namespace

// ---- construction and end

channel_ptr channel::make(loop& owner, int fd, medium kind) noexcept {
  try {
    return channel_ptr(new channel(owner, fd, kind));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

channel::channel(loop& owner, int fd, medium kind)
    : read_deadline(owner, reader),
      write_deadline(owner, writer),
      owner_(&owner),
      watch_(input::watch_number(owner)),
      fd_(fd),
      kind_(kind),
      input_(*this),
      output_(*this),
      hangup_(*this),
      look_(*this) {}

channel::~channel() {
  runnel::detail::check(
      (reader == nullptr && writer == nullptr && drainer == nullptr && closer == nullptr) ||
          runnel::detail::this_thread.teardown_depth > 0,
      "runnel: a kernel stream was destroyed while an operation on it is awaited; cancel it "
      "first.");
  for (channel_waiter* each : {reader, writer, drainer, closer}) {
    if (each != nullptr) each->abandon();
  }
  // The kernel's close resets for the bytes that it still has, and only once nothing is in flight.
  const bool resets = !received_.empty() || (held() && unread());
  if (fd_ >= 0 && kind_ == medium::tcp && resets) {
    reset_peer(fd_, kind_);
    aborted_ = true;
  }
  release();
}

void channel_deleter::operator()(channel* gone) const noexcept {
  delete gone;
}

// A receive that the kernel has not seen yet would otherwise read from whatever gets the number
// next.
void channel::release() noexcept {
  if (fd_ < 0) return;
  look_.cancel();
  const int fd = std::exchange(fd_, -1);
  received_.clear();
  // What keeps it open ends later; the peer learns of the end now all the same.
  if (held() && kind_ != medium::pipe && !aborted_) ::shutdown(fd, SHUT_WR);
  output_.stop();
  hangup_.stop();
  if (!input_.part_with(fd)) ::close(fd);
}

// ---- reading

attempt channel::read(std::span<std::byte> into) noexcept {
  if (!received_.empty()) return {.count = received_.take(into)};
  if (finished_ || into.empty()) return {};
  // What arrived before a reset is given before it.
  if (input_.receiving() || (known_empty_ && !ended_)) return {.blocked = true};
  for (;;) {
    const ssize_t got = kind_ == medium::pipe ? ::read(fd_, into.data(), into.size())
                                              : ::recv(fd_, into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      known_empty_ = static_cast<std::size_t>(got) < into.size();
      return {.count = static_cast<std::size_t>(got)};
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && !would_block(errno)) return {.error = remember(errno)};
    if (ended_) return {.error = ended_};
    if (got == 0) {
      finished_ = true;
      return {};
    }
    known_empty_ = true;
    return {.blocked = true};
  }
}

void channel::on_input(bool ready) noexcept {
  if (heir != nullptr) return heir->on_input();
  if (reader == nullptr || !reader->waiting()) return;
  if (!reader->try_again(ready)) await_input();
}

void channel::input::arm() noexcept {
  if (busy() || of_->fd_ < 0) return;
  const auto& buffers = buffers_of(*of_->owner_);
  receiving_ = of_->kind_ != medium::pipe && buffers != nullptr && buffers->usable() &&
               !of_->hangup_.heard() && of_->hangup_.listen();
  prepare(*of_->owner_,
          {.kind = receiving_ ? runnel::detail::op_kind::receive : runnel::detail::op_kind::poll,
           .fd = of_->fd_,
           .flags = POLLIN,
           .watch = of_->watch_});
  submit();
}

bool channel::hangup::listen() noexcept {
  if (busy()) return true;
  try {
    // Errors and hang-ups are always told.
    prepare(*of_->owner_, {.kind = runnel::detail::op_kind::poll, .fd = of_->fd_});
  } catch (const std::bad_alloc&) {
    return false;
  }
  submit();
  return true;
}

void channel::hangup::on_complete(runnel::detail::operation&, int result) noexcept {
  if (result == -ECANCELED || result == runnel::detail::op_not_supported) return;
  heard_ = true;
  // What it has not taken yet, and the error behind that, is then asked for.
  if (of_->input_.receiving()) of_->input_.stop();
}

bool channel::input::part_with(int fd) noexcept {
  const bool later = receiving();
  if (later) {
    abandon_and_close(fd);
  } else {
    abandon();
  }
  return later;
}

void channel::input::on_progress(runnel::detail::operation&, std::uint16_t id,
                                 std::uint32_t length) noexcept {
  of_->received_.push(buffers_of(*of_->owner_), id, length);
  if (of_->received_.buffers() >= most_unread_buffers) cancel();
  of_->on_input(true);
}

void channel::input::on_complete(runnel::detail::operation&, int result) noexcept {
  of_->known_empty_ = false;
  const bool stopped = result == -ECANCELED || result == -ENOBUFS || result == -EAGAIN ||
                       result == -EINVAL || result == runnel::detail::op_not_supported;
  if (receiving_ && result == 0 && !of_->ended_) of_->finished_ = true;
  if (!receiving_ && result > 0 && (result & POLLERR) != 0) of_->take_socket_error();
  // EPERM: a file that cannot be polled is always ready.
  if (result < 0 && !stopped && (receiving_ || result != -EPERM)) of_->remember(-result);
  of_->on_input(!stopped);
}

// ---- writing

attempt channel::write(std::span<const iovec> pieces) noexcept {
  for (;;) {
    ssize_t sent = 0;
    if (kind_ == medium::pipe) {
      sent = write_quietly(fd_, pieces);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces.data());
      message.msg_iovlen = pieces.size();
      sent = ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (sent >= 0) return {.count = static_cast<std::size_t>(sent)};
    if (errno == EINTR) continue;
    if (would_block(errno)) return {.blocked = true};
    return {.error = remember(errno)};
  }
}

bool channel::output::arm() noexcept {
  if (busy()) return true;
  try {
    prepare(*of_->owner_, {.kind = runnel::detail::op_kind::poll,
                           .fd = of_->fd_,
                           .flags = POLLOUT,
                           .watch = of_->watch_});
  } catch (const std::bad_alloc&) {
    return false;
  }
  submit();
  return true;
}

bool channel::output::send(std::span<const std::byte> bytes) noexcept {
  if (busy()) return false;
  try {
    prepare(*of_->owner_, {.kind = runnel::detail::op_kind::send,
                           .fd = of_->fd_,
                           .length = static_cast<std::uint32_t>(bytes.size()),
                           .from = bytes.data()});
  } catch (const std::bad_alloc&) {
    return false;
  }
  submit();
  return true;
}

bool channel::send_with_others(std::span<const std::byte> bytes) noexcept {
  if (kind_ == medium::pipe || bytes.size() > most_sent_with_others) return false;
  return output::worth_it(*owner_) && output_.send(bytes);
}

void channel::send_held() noexcept {
  if (writer != nullptr) static_cast<write_awaiter*>(writer)->send_now();
}

void channel::on_sent(int result) noexcept {
  if (writer == nullptr) return;
  // Only writes stand there.
  auto& who = *static_cast<write_awaiter*>(writer);
  if (result >= 0) {
    who.on_sent({.count = static_cast<std::size_t>(result)});
  } else if (would_block(-result) || result == -EINTR) {
    who.on_sent({.blocked = true});
  } else {
    who.on_sent({.error = remember(-result)});
  }
}

void channel::output::on_complete(runnel::detail::operation& op, int result) noexcept {
  if (op.request.kind == runnel::detail::op_kind::send) return of_->on_sent(result);
  if (result != -ECANCELED && result != runnel::detail::op_not_supported) of_->on_output();
}

void channel::on_output() noexcept {
  if (writer == nullptr || !writer->waiting() || writer->try_again(true)) return;
  if (!await_output()) writer->fail(code(std::errc::not_enough_memory));
}

// ---- errors

std::error_code channel::local_error() const noexcept {
  if (closing_) return code(std::errc::bad_file_descriptor);
  if (aborted_) return code(std::errc::connection_aborted);
  return {};
}

std::error_code channel::read_error() const noexcept {
  if (const auto error = local_error()) return error;
  if (read_deadline.passed()) return errc::deadline_exceeded;
  return {};
}

std::error_code channel::write_error() noexcept {
  if (const auto error = local_error()) return error;
  if (write_deadline.passed()) return errc::deadline_exceeded;
  if (shut_) return code(std::errc::broken_pipe);
  if (!ended_) return {};
  return std::exchange(writer_told_, true) ? code(std::errc::broken_pipe) : ended_;
}

// The kernel tells each error once, to whoever asks first. A broken pipe is for writers alone: for
// a reader the stream had ended well before it.
std::error_code channel::remember(int error) noexcept {
  if (error != EPIPE && error != ENOTCONN && error != ENOMEM && error != ENOBUFS && !ended_) {
    ended_ = system_error(error);
  }
  return system_error(error);
}

void channel::take_socket_error() noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  if (kind_ == medium::pipe || fd_ < 0) return;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) remember(error);
}

void channel::fail_waiters(std::error_code why) noexcept {
  for (channel_waiter* each : {reader, writer, drainer}) {
    if (each != nullptr) each->fail(why);
  }
}

void channel::deadline::set(time_point when) noexcept {
  when_ = when;
  if (when == time_point::max()) return;
  if (passed()) {
    cancel();
    on_expire();
  } else if (!armed() || timer::deadline() > when) {
    arm(when);
  }
}

void channel::deadline::on_expire() noexcept {
  if (when_ == time_point::max()) return;
  if (!passed()) {
    arm(when_);
  } else if (*who_ != nullptr) {
    (*who_)->fail(errc::deadline_exceeded);
  }
}

// ---- the end

result<void> channel::shutdown() noexcept {
  if (const auto error = local_error()) return error;
  send_held();
  take_socket_error();
  if (ended_) return ended_;
  if (shut_) return {};
  if (kind_ != medium::pipe && ::shutdown(fd_, SHUT_WR) != 0) {
    return errno == ENOTCONN ? code(std::errc::connection_reset) : system_error(errno);
  }
  shut_ = true;
  if (writer != nullptr) writer->fail(code(std::errc::broken_pipe));
  return {};
}

// What close would do only when the last request in flight on it is gone.
void reset_peer(int fd, medium kind) noexcept {
  if (kind != medium::tcp) return;
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  ::connect(fd, &nowhere, sizeof nowhere);
}

void channel::abort() noexcept {
  if (fd_ < 0) return;
  aborted_ = true;
  fail_waiters(code(std::errc::connection_aborted));
  reset_peer(fd_, kind_);
  release();
  if (closer != nullptr) closer->wake();
}

bool channel::held() const noexcept {
  return input_.armed() || output_.armed() || hangup_.armed();
}

bool channel::unread() const noexcept {
  if (!received_.empty() || input_.underway()) return true;
  int bytes = 0;
  return ::ioctl(fd_, FIONREAD, &bytes) == 0 && bytes > 0;
}

bool channel::settled() noexcept {
  if (kind_ != medium::tcp || fd_ < 0) return true;
  send_held();
  int queued = 0;
  if (::ioctl(fd_, SIOCOUTQ, &queued) != 0) return true;
  take_socket_error();
  // The end of the stream counts as one.
  lost_bytes_ = static_cast<std::size_t>(std::max(0, queued - (shut_ ? 1 : 0)));
  if (queued == 0 || ended_) return true;
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return true;
  if (info.tcpi_state != TCP_CLOSE) return false;
  remember(ECONNRESET);
  return true;
}

void channel::await_settling() noexcept {
  if (look_.armed()) return;
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(fd_, IPPROTO_TCP, TCP_INFO, &info, &size);
  look_.start(std::chrono::microseconds(info.tcpi_rtt));
}

void channel::look::start(duration first) noexcept {
  pause_ = std::clamp(first, shortest_look, longest_look);
  arm(after(owner().now(), pause_));
}

void channel::look::on_expire() noexcept {
  if (of_->drainer == nullptr && of_->closer == nullptr) return;
  if (!of_->settled()) return start(pause_ * 2);
  if (of_->drainer != nullptr) of_->drainer->wake();
  if (of_->closer != nullptr) of_->closer->wake();
}

void channel::drop() noexcept {
  closing_ = true;
  fail_waiters(code(std::errc::bad_file_descriptor));
  release();
}

bool channel::begin_close() noexcept {
  if (closing_ || aborted_) return false;
  send_held();
  if (unread()) {
    abort();
    return false;
  }
  take_socket_error();
  if (!ended_ && kind_ != medium::pipe && !shut_) shut_ = ::shutdown(fd_, SHUT_WR) == 0;
  closing_ = true;
  fail_waiters(code(std::errc::bad_file_descriptor));
  input_.stop();
  return !settled();
}

close_ending channel::finish_close(std::error_code why) noexcept {
  if (std::exchange(closed_, true)) return ending_;
  if (!closing_ && !aborted_) begin_close();
  if (aborted_) {
    ending_ = {code(std::errc::connection_aborted), lost_bytes_};
  } else if (why) {
    ending_ = {why, 0};
  } else {
    ending_ = {ended_, ended_ ? lost_bytes_ : 0};
  }
  closing_ = true;
  fail_waiters(code(std::errc::bad_file_descriptor));
  release();
  return ending_;
}

}  // namespace runnel::net::kernel::detail
