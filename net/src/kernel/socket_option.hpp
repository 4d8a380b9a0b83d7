#pragma once

#include <sys/socket.h>

#include <string_view>

namespace runnel::net::kernel::detail {

/// False, with errno, where the kernel refuses.
inline bool set(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

/// What sockets of every kind have: the sizes of their buffers, 0 for the kernel's own, and the
/// only device that they use, empty for any.
inline bool set_common(int fd, int send_buffer, int receive_buffer,
                       std::string_view device) noexcept {
  if (send_buffer != 0 && !set(fd, SOL_SOCKET, SO_SNDBUF, send_buffer)) return false;
  if (receive_buffer != 0 && !set(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer)) return false;
  return device.empty() || ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.data(),
                                        static_cast<socklen_t>(device.size())) == 0;
}

}  // namespace runnel::net::kernel::detail
