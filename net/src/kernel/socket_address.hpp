#pragma once

#include "runnel/wire/address.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

namespace runnel::net::kernel::detail {

/// An address as the kernel's socket calls take it.
struct socket_address {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
  };
  socklen_t size = sizeof(sockaddr_un);

  socket_address() noexcept : local{} {}
  explicit socket_address(const endpoint& from) noexcept : local{} {
    const auto bytes = from.address.bytes();
    if (from.address.is_v4()) {
      v4.sin_family = AF_INET;
      v4.sin_port = htons(from.port);
      std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
      size = sizeof v4;
    } else if (from.address.is_v6()) {
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(from.port);
      v6.sin6_scope_id = from.address.scope_id();
      std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
      size = sizeof v6;
    } else {
      any.sa_family = AF_UNSPEC;
      size = sizeof any;
    }
  }

  /// No endpoint when it is not an IP address. An IPv4 address in IPv6's clothes is an IPv4 one.
  endpoint to_endpoint() const noexcept {
    if (any.sa_family == AF_INET) {
      return {address::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
    }
    if (any.sa_family != AF_INET6) return {};
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      std::uint32_t number = 0;
      std::memcpy(&number, v6.sin6_addr.s6_addr + 12, sizeof number);
      return {address::v4(ntohl(number)), ntohs(v6.sin6_port)};
    }
    return {
        address::v6(std::span<const std::uint8_t, 16>(v6.sin6_addr.s6_addr, 16), v6.sin6_scope_id),
        ntohs(v6.sin6_port)};
  }
};

/// What a socket is bound to.
inline endpoint bound_endpoint(int fd) noexcept {
  socket_address name;
  if (fd < 0 || ::getsockname(fd, &name.any, &name.size) != 0) return {};
  return name.to_endpoint();
}

}  // namespace runnel::net::kernel::detail
