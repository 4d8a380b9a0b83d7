#pragma once

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

/// A network namespace of the test's own: what it does to devices, addresses and routes is seen by
/// nobody else and is gone with the process.
namespace runnel::testing {

/// What ctest counts as skipped.
inline constexpr int skipped = 77;

[[noreturn]] inline void skip_all(const std::string& why) {
  std::printf("skipped: %s\n", why.c_str());
  std::fflush(stdout);
  std::_Exit(skipped);
}

inline bool write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return whole;
}

/// One ioctl on a network device; false when the kernel refuses.
inline bool device_ioctl(unsigned long what, ifreq& request) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool done = fd >= 0 && ::ioctl(fd, what, &request) == 0;
  if (fd >= 0) ::close(fd);
  return done;
}

inline ifreq request_for(const std::string& device) {
  ifreq request{};
  std::memcpy(request.ifr_name, device.data(), device.size());
  return request;
}

/// Brings a device up or down.
inline bool set_device_up(const std::string& device, bool up) {
  ifreq request = request_for(device);
  if (!device_ioctl(SIOCGIFFLAGS, request)) return false;
  const int flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  return device_ioctl(SIOCSIFFLAGS, request);
}

/// Deletes a device, whoever made it.
inline bool delete_device(const std::string& device) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_index = static_cast<int>(::if_nametoindex(device.c_str()));
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer{};
  const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0 || request.link.ifi_index == 0) return false;
  const bool asked = ::send(fd, &request, sizeof request, 0) > 0;
  const bool told = asked && ::recv(fd, &answer, sizeof answer, 0) > 0;
  ::close(fd);
  return told && answer.error.error == 0;
}

/// Moves this process, which must have one thread, into a network namespace of its own in which it
/// may do everything, once; ends the process as skipped where that or /dev/net/tun is not allowed.
inline void enter_network_namespace() {
  static bool entered = false;
  if (entered) return;
  const std::string user = std::to_string(::geteuid());
  const std::string group = std::to_string(::getegid());
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      skip_all(std::string("no network namespace of its own may be made (") + std::strerror(errno) +
               ")");
    }
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + user + " 1\n");
    write_file("/proc/self/gid_map", "0 " + group + " 1\n");
  }
  const int fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) skip_all(std::string("/dev/net/tun cannot be opened (") + std::strerror(errno) + ")");
  ::close(fd);
  // The kernel's own IPv6 announcements on a new device would be among the packets a test counts.
  write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
  set_device_up("lo", true);
  entered = true;
}

}  // namespace runnel::testing
