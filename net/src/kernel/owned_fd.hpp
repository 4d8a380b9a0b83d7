#pragma once

#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace runnel::net::kernel::detail {

/// A descriptor that closes itself unless it is released.
class owned_fd {
 public:
  explicit owned_fd(int fd = -1) noexcept : fd_(fd) {}
  owned_fd(owned_fd&& other) noexcept : fd_(other.release()) {}
  owned_fd& operator=(owned_fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~owned_fd() { reset(); }

  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

/// What errno says.
inline std::error_code last_error() noexcept {
  return {errno, std::generic_category()};
}

}  // namespace runnel::net::kernel::detail
