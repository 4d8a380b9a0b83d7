#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <random>

#include "options.hpp"

namespace bench {

/// Begins connections, from each local address in turn and then from the next port.
///
/// Ports are bound explicitly, which costs the kernel less than a choice of its own at connect()
/// (IP_BIND_ADDRESS_NO_PORT, for as many system calls): it looks at one port instead of searching.
/// Its search also takes every second port first, and once these are in TIME_WAIT walks over all of
/// them each time. SO_REUSEADDR is for the ports in TIME_WAIT, whose tuples are not free but whose
/// addresses are. Without addresses to use the kernel chooses, and no system call is spent.
class connector {
 public:
  explicit connector(const options& given)
      : options_(given), random_(std::random_device()()), next_port_(random_port()) {}

  /// A socket whose connection is under way; -1 with errno, EADDRNOTAVAIL when several tuples in a
  /// row were taken.
  int open() noexcept {
    if (options_.source_count == 0) return open_from(nullptr);
    int fd = -1;
    for (int tries = 0; tries < tuples_tried && fd < 0; ++tries) {
      const sockaddr_in source = next_source();
      fd = open_from(&source);
      if (fd >= 0) return fd;
      if (errno != EADDRNOTAVAIL && errno != EADDRINUSE) return -1;
      // The ports behind a taken one are likely to be taken as well, by another client's run.
      next_port_ = random_port();
    }
    return fd;
  }

 private:
  static constexpr std::uint32_t first_port = 1'024;
  static constexpr std::uint32_t port_count = 65'536 - first_port;
  static constexpr int tuples_tried = 32;

  std::uint32_t random_port() noexcept {
    return first_port + static_cast<std::uint32_t>(random_()) % port_count;
  }

  sockaddr_in next_source() noexcept {
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr = htonl(options_.first_source + next_address_);
    source.sin_port = htons(static_cast<std::uint16_t>(next_port_));
    if (++next_address_ == options_.source_count) {
      next_address_ = 0;
      if (++next_port_ == first_port + port_count) next_port_ = first_port;
    }
    return source;
  }

  int open_from(const sockaddr_in* source) noexcept {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const int yes = 1;
    if (source != nullptr &&
        (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
         ::bind(fd, reinterpret_cast<const sockaddr*>(source), sizeof *source) != 0)) {
      return give_up(fd);
    }
    const auto* server = reinterpret_cast<const sockaddr*>(&options_.server);
    if (::connect(fd, server, sizeof options_.server) != 0 && errno != EINPROGRESS) {
      return give_up(fd);
    }
    return fd;
  }

  static int give_up(int fd) noexcept {
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
  }

  const options& options_;
  std::minstd_rand random_;
  std::uint32_t next_address_ = 0;
  std::uint32_t next_port_;
};

}  // namespace bench
