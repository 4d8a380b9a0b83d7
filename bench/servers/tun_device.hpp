#pragma once

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace bench {

/// Opens a queue of a TUN device, non-blocking; with these offloads (TUN_F_...) where it is to have
/// virtio-net headers. Throws a sentence.
inline int open_tun(const std::string& name, bool vnet, unsigned offloads) {
  const auto fail = [&](int error, const char* what) {
    return std::system_error(error, std::generic_category(),
                             "the TUN device '" + name + "' cannot be had: " + what);
  };
  ifreq request{};
  if (name.empty() || name.size() >= IFNAMSIZ) throw fail(EINVAL, "no name of a device");
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  const int flags = IFF_TUN | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0);
  request.ifr_flags = static_cast<short>(flags);
  const int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw fail(errno, "open of /dev/net/tun");
  const char* failed = nullptr;
  if (::ioctl(fd, TUNSETIFF, &request) < 0) {
    failed = "attaching to it (is it another process's, or made with other headers?)";
  } else if (vnet && ::ioctl(fd, TUNSETOFFLOAD, offloads) < 0) {
    failed = "setting its offloads";
  }
  if (failed == nullptr) return fd;
  const int error = errno;
  ::close(fd);
  throw fail(error, failed);
}

}  // namespace bench
