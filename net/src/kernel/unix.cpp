#include "runnel/net/kernel/unix.hpp"

#include "acceptor.hpp"
#include "channel.hpp"
#include "owned_fd.hpp"
#include "socket_address.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <utility>

namespace runnel::net::kernel {
namespace {

using detail::last_error;
using detail::owned_fd;
using detail::socket_address;

constexpr duration first_pause = std::chrono::milliseconds{1};
constexpr duration longest_pause = std::chrono::milliseconds{50};

bool is_abstract(std::string_view path) noexcept {
  return path.starts_with('@');
}

/// False when the name is empty or too long.
bool name_of(std::string_view path, socket_address& out) noexcept {
  constexpr std::size_t room = sizeof out.local.sun_path;
  // A file's name ends with a zero, which the kernel adds itself only behind the room.
  if (path.empty() || path.size() >= room) return false;
  out.local.sun_family = AF_UNIX;
  std::memcpy(out.local.sun_path, path.data(), path.size());
  std::size_t length = path.size() + 1;
  if (is_abstract(path)) {
    out.local.sun_path[0] = '\0';
    length = path.size();
  }
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  return true;
}

int make_socket() noexcept {
  return ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/// Removes a socket file on which nobody listens any more.
bool remove_stale(const std::string& path, const socket_address& name) noexcept {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0 || !S_ISSOCK(facts.st_mode)) return false;
  const owned_fd probe(make_socket());
  if (probe.get() < 0 || ::connect(probe.get(), &name.any, name.size) == 0) return false;
  return errno == ECONNREFUSED && ::unlink(path.c_str()) == 0;
}

/// Binds, and makes the file with these permissions.
bool bind_to(int fd, const std::string& path, const socket_address& name,
             const unix_listener_options& options) noexcept {
  // On a socket that is not bound yet the mode is that of the file to come, less the umask.
  if (!is_abstract(path)) ::fchmod(fd, options.mode);
  if (::bind(fd, &name.any, name.size) == 0) return true;
  if (errno != EADDRINUSE || options.existing != stale_file::replace || is_abstract(path)) {
    return false;
  }
  if (!remove_stale(path, name)) {
    errno = EADDRINUSE;
    return false;
  }
  return ::bind(fd, &name.any, name.size) == 0;
}

detail::channel_ptr make_channel(loop& owner, int fd) noexcept {
  return detail::channel::make(owner, fd, detail::medium::unix_socket);
}

}  // namespace

// ---- stream

result<std::pair<unix_stream, unix_stream>> unix_stream::pair(loop& owner) {
  if (owner.simulated()) return errc::not_supported;
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    return last_error();
  }
  owned_fd one(ends[0]);
  owned_fd other(ends[1]);
  auto first = make_channel(owner, one.get());
  if (!first) return std::make_error_code(std::errc::not_enough_memory);
  one.release();
  auto second = make_channel(owner, other.get());
  if (!second) return std::make_error_code(std::errc::not_enough_memory);
  other.release();
  return std::pair(unix_stream(std::move(first)), unix_stream(std::move(second)));
}

result<unix_stream::credentials> unix_stream::peer() const noexcept {
  ucred known{};
  socklen_t size = sizeof known;
  if (::getsockopt(checked().fd(), SOL_SOCKET, SO_PEERCRED, &known, &size) != 0) {
    return last_error();
  }
  return credentials{known.pid, known.uid, known.gid};
}

// ---- listener

result<unix_listener> unix_listener::listen(loop& owner, std::string_view path,
                                            const unix_listener_options& options) {
  if (owner.simulated()) return errc::not_supported;
  made_file file{.path = std::string(path)};
  socket_address name;
  if (!name_of(path, name)) return std::make_error_code(std::errc::filename_too_long);
  owned_fd fd(make_socket());
  if (fd.get() < 0 || !bind_to(fd.get(), file.path, name, options)) return last_error();
  struct stat facts {};
  if (is_abstract(path)) {
    file.path.clear();
  } else if (::stat(file.path.c_str(), &facts) == 0) {
    file.device = facts.st_dev;
    file.inode = facts.st_ino;
  }
  unix_listener made({}, std::move(file));
  if (::listen(fd.get(), options.backlog) != 0) return last_error();
  made.acceptor_.reset(new (std::nothrow)
                           detail::acceptor(owner, fd.get(), detail::medium::unix_socket, false));
  if (!made.acceptor_) return std::make_error_code(std::errc::not_enough_memory);
  fd.release();
  return made;
}

unix_listener& unix_listener::operator=(unix_listener&& other) noexcept {
  if (this != &other) {
    close();
    acceptor_ = std::move(other.acceptor_);
    file_ = std::exchange(other.file_, {});
  }
  return *this;
}

unix_listener::~unix_listener() {
  close();
}

void unix_listener::close() noexcept {
  struct stat facts {};
  if (!file_.path.empty() && ::lstat(file_.path.c_str(), &facts) == 0 &&
      facts.st_dev == file_.device && facts.st_ino == file_.inode) {
    ::unlink(file_.path.c_str());
  }
  file_.path.clear();
  if (acceptor_) acceptor_->close();
}

int unix_listener::descriptor() const noexcept {
  return acceptor_ ? acceptor_->fd() : -1;
}

// ---- connect

unix_connect_awaiter::retry::retry(unix_connect_awaiter& of) noexcept
    : timer(*of.loop_), of_(&of), pause_(first_pause) {
  arm(after(owner().now(), pause_));
}

void unix_connect_awaiter::retry::on_expire() noexcept {
  if (of_->attempt()) return of_->wake();
  pause_ = std::min(pause_ * 2, longest_pause);
  arm(after(owner().now(), pause_));
}

unix_connect_awaiter::~unix_connect_awaiter() {
  if (fd_ >= 0) ::close(fd_);
}

bool unix_connect_awaiter::begin() noexcept {
  if (loop_->simulated()) {
    error_ = errc::not_supported;
    return true;
  }
  fd_ = make_socket();
  if (fd_ < 0) {
    error_ = last_error();
    return true;
  }
  if (attempt()) return true;
  again_.emplace(*this);
  return false;
}

bool unix_connect_awaiter::attempt() noexcept {
  socket_address name;
  if (!name_of(path_, name)) {
    error_ = std::make_error_code(std::errc::filename_too_long);
    return true;
  }
  if (::connect(fd_, &name.any, name.size) == 0) return true;
  if (errno == EAGAIN || errno == EINTR) return false;
  error_ = last_error();
  return true;
}

void unix_connect_awaiter::on_cancel() noexcept {
  again_.reset();
  error_ = errc::cancelled;
  wake();
}

result<unix_stream> unix_connect_awaiter::await_resume() noexcept {
  if (error_) return error_;
  auto made = make_channel(*loop_, fd_);
  if (!made) return std::make_error_code(std::errc::not_enough_memory);
  fd_ = -1;
  return unix_stream(std::move(made));
}

}  // namespace runnel::net::kernel
