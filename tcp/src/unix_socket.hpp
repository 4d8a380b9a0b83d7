#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "runnel/tcp/inspect_server.hpp"

namespace runnel::tcp::detail {

/// A descriptor that is closed unless it is taken.
class descriptor {
 public:
  descriptor() noexcept = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor();

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// A listening Unix socket and its file, which goes with it unless somebody has put another one in
/// its place.
class unix_listener {
 public:
  unix_listener() noexcept = default;
  unix_listener(unix_listener&& other) noexcept = default;
  unix_listener& operator=(unix_listener&&) = delete;
  ~unix_listener();

  /// Makes it; a sentence with its code when that is refused.
  static boost::system::result<unix_listener, inspect_error> open(const std::string& path,
                                                                  unsigned mode);

  int get() const noexcept { return fd_.get(); }
  const std::string& path() const noexcept { return path_; }
  /// A client that waits; none when there is none, and then errno says why.
  descriptor accept() const noexcept;

 private:
  descriptor fd_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace runnel::tcp::detail
