#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "options.hpp"

namespace bench {

/// Begins connections, from each local address in turn.
///
/// The port is the kernel's choice at connect() (IP_BIND_ADDRESS_NO_PORT), where it has to be free
/// for this server only. A port of ours would cost the same two system calls (SO_REUSEADDR, for the
/// ones in TIME_WAIT, and bind) and more time in the second, which keeps a table of who is bound
/// to what; and two clients side by side could not share the ports of an address. The kernel goes
/// through the ports of one address in order, so that those of all addresses are used up evenly.
class connector {
 public:
  explicit connector(const options& given) : options_(given) {}

  /// A socket whose connection is under way; -1 with errno.
  int open() noexcept {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (options_.source_count > 0 && !bind_source(fd)) return give_up(fd);
    const auto* server = reinterpret_cast<const sockaddr*>(&options_.server);
    if (::connect(fd, server, sizeof options_.server) != 0 && errno != EINPROGRESS) {
      return give_up(fd);
    }
    return fd;
  }

 private:
  bool bind_source(int fd) noexcept {
    const int yes = 1;
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(options_.first_source + next_source_);
    if (++next_source_ == options_.source_count) next_source_ = 0;
    return ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) == 0 &&
           ::bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) == 0;
  }

  static int give_up(int fd) noexcept {
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
  }

  const options& options_;
  std::uint32_t next_source_ = 0;
};

}  // namespace bench
