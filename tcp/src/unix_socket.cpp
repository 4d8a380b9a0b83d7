#include "unix_socket.hpp"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace runnel::tcp::detail {

namespace {

/// More clients than this wait to connect.
constexpr int pending_clients = 16;

/// `sentence` comes without its full stop.
inspect_error refuse(int error, std::string sentence) {
  sentence += '.';
  return {std::error_code(error, std::generic_category()), std::move(sentence)};
}

inspect_error refuse_socket(int error, const std::string& path) {
  std::string sentence = "The inspection socket " + path + " cannot be made (";
  sentence.append(std::generic_category().message(error));
  return refuse(error, sentence + "): give a path in a folder that this user may write to");
}

inspect_error refuse_foreign(int error, const std::string& path) {
  return refuse(error, "The inspection socket " + path +
                           " belongs to another user: give another path, or remove it");
}

bool fill(sockaddr_un& address, const std::string& path) noexcept {
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return false;
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  return true;
}

descriptor make_socket() noexcept {
  return descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int bind_to(const descriptor& socket, const sockaddr_un& address) noexcept {
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  return ::bind(socket.get(), generic, sizeof(address)) == 0 ? 0 : errno;
}

/// Whether the process that listens at the other end has ended: the kernel's clean-up of its ring
/// may keep its socket for some moments more.
bool listens_from_the_grave(const descriptor& connected) noexcept {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (::getsockopt(connected.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.pid > 0 && ::kill(peer.pid, 0) != 0 && errno == ESRCH;
}

/// Takes away what a dead process has left at the path; a sentence when it is something else.
inspect_error clear_way(const std::string& path, const sockaddr_un& address) {
  struct stat there = {};
  if (::lstat(path.c_str(), &there) != 0) {
    return errno == ENOENT ? inspect_error() : refuse_socket(errno, path);
  }
  if (!S_ISSOCK(there.st_mode)) {
    return refuse(EEXIST, "The inspection socket cannot be made at " + path +
                              ", where something else is: give another path, or move it away");
  }
  const uid_t own = ::geteuid();
  if (there.st_uid != own && own != 0) return refuse_foreign(EPERM, path);
  const descriptor probe = make_socket();
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const bool connected = ::connect(probe.get(), generic, sizeof(address)) == 0;
  const int error = connected ? 0 : errno;
  const bool dead = connected && listens_from_the_grave(probe);
  if (!dead && (connected || error == EAGAIN || error == EINPROGRESS)) {
    return refuse(EADDRINUSE, "A running program answers on the inspection socket " + path +
                                  ": give another path, or end that program");
  }
  if (error == EACCES || error == EPERM) return refuse_foreign(error, path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return refuse_socket(errno, path);
  return {};
}

}  // namespace

descriptor::~descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

boost::system::result<unix_listener, inspect_error> unix_listener::open(const std::string& path,
                                                                        unsigned mode) {
  sockaddr_un address;
  if (!fill(address, path)) {
    return refuse(ENAMETOOLONG, "\"" + path + "\" cannot name a Unix socket: a path has 1 to " +
                                    std::to_string(sizeof(address.sun_path) - 1) + " letters");
  }
  if (mode > 0777) {
    return refuse(EINVAL, "The permissions of the inspection socket must be 0 to 0777, in octal");
  }
  unix_listener made;
  made.fd_ = make_socket();
  if (!made.fd_) return refuse_socket(errno, path);
  int error = bind_to(made.fd_, address);
  if (error == EADDRINUSE) {
    inspect_error blocked = clear_way(path, address);
    if (blocked.code()) return blocked;
    error = bind_to(made.fd_, address);
  }
  if (error != 0) return refuse_socket(error, path);
  struct stat there = {};
  if (::lstat(path.c_str(), &there) != 0) return refuse_socket(errno, path);
  made.path_ = path;
  made.device_ = there.st_dev;
  made.inode_ = there.st_ino;
  // Nobody can connect before listen(2), so nobody sees the permissions that umask(2) gave.
  if (::chmod(path.c_str(), mode) != 0 || ::listen(made.fd_.get(), pending_clients) != 0) {
    return refuse_socket(errno, path);
  }
  return made;
}

unix_listener::~unix_listener() {
  if (!fd_) return;
  struct stat there = {};
  const bool ours =
      ::lstat(path_.c_str(), &there) == 0 && there.st_dev == device_ && there.st_ino == inode_;
  if (ours) ::unlink(path_.c_str());
}

descriptor unix_listener::accept() const noexcept {
  return descriptor(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

}  // namespace runnel::tcp::detail
