#include "confinement.hpp"

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace bench {

namespace {

// What the kernel calls the machine's own namespaces: the one of process numbers always, the one of
// the network since Linux 6.18.
constexpr ino_t initial_net = 0xEFFF'FFF9;
constexpr ino_t initial_pid = 0xEFFF'FFFC;

ino_t inode_of(const char* path) {
  struct stat found {};
  return ::stat(path, &found) == 0 ? found.st_ino : 0;
}

/// Process 1 lives in the machine's network, unless its number is one of an inner namespace.
bool is_machines_network() {
  const ino_t own = inode_of("/proc/self/ns/net");
  if (own == 0) throw std::runtime_error("/proc/self/ns/net cannot be looked at: mount /proc");
  if (own == initial_net) return true;
  return inode_of("/proc/self/ns/pid") == initial_pid && own == inode_of("/proc/1/ns/net");
}

bool has_default_route() {
  std::ifstream routes("/proc/self/net/route");
  std::string line;
  if (!std::getline(routes, line)) {
    throw std::runtime_error("/proc/self/net/route cannot be read: mount /proc");
  }
  std::string device;
  std::string destination;
  std::string field;
  while (routes >> device >> destination) {
    std::string mask;
    for (int i = 2; i < 8 && routes >> field; ++i) mask = field;
    std::getline(routes, line);
    if (destination == "00000000" && mask == "00000000") return true;
  }
  return false;
}

/// Asks about a device.
class device_question {
 public:
  explicit device_question(const std::string& name)
      : name_(name), socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (name.empty() || name.size() >= IFNAMSIZ) fail("has no name of a device");
  }
  device_question(const device_question&) = delete;
  device_question& operator=(const device_question&) = delete;
  ~device_question() {
    if (socket_ >= 0) ::close(socket_);
  }

  std::string driver() {
    ethtool_drvinfo info{};
    info.cmd = ETHTOOL_GDRVINFO;
    ifreq request = named();
    request.ifr_data = reinterpret_cast<char*>(&info);
    ask(SIOCETHTOOL, request);
    return info.driver;
  }

  /// Its address or its mask, in host order.
  std::uint32_t number(unsigned long what) {
    ifreq request = named();
    ask(what, request);
    sockaddr_in out{};
    std::memcpy(&out, &request.ifr_addr, sizeof out);
    return ntohl(out.sin_addr.s_addr);
  }

 private:
  ifreq named() const {
    ifreq request{};
    name_.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
  }
  void ask(unsigned long what, ifreq& request) {
    if (::ioctl(socket_, what, &request) == 0) return;
    fail(std::string("tells nothing of itself (") + std::strerror(errno) +
         "); it has to exist and to have an IPv4 address");
  }
  [[noreturn]] void fail(const std::string& why) const {
    throw std::runtime_error("the device '" + name_ + "' " + why);
  }

  const std::string& name_;
  int socket_;
};

bool is_private(std::uint32_t address) {
  struct network {
    std::uint32_t first;
    int bits;
  };
  constexpr network networks[] = {
      {0x0A00'0000, 8}, {0xAC10'0000, 12}, {0xC0A8'0000, 16}, {0xC612'0000, 15}};
  for (const network& each : networks) {
    if ((address ^ each.first) >> (32 - each.bits) == 0) return true;
  }
  return false;
}

}  // namespace

void confine(const std::string& device, const std::string& address) {
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
    throw std::runtime_error("'" + address + "' is no IPv4 address");
  }
  const std::uint32_t target = ntohl(parsed.s_addr);
  if (!is_private(target)) {
    throw std::runtime_error(address +
                             " is no private address (10/8, 172.16/12, 192.168/16 or 198.18/15)");
  }
  if (is_machines_network()) {
    throw std::runtime_error(
        "this is the machine's own network; make a namespace first, such as with unshare --net");
  }
  if (has_default_route()) {
    throw std::runtime_error(
        "this network namespace has a default route, which leads out of it; use one without");
  }
  device_question asked(device);
  const std::string driver = asked.driver();
  if (driver != "tun" && driver != "veth") {
    throw std::runtime_error("the device '" + device + "' is of kind '" + driver +
                             "', and only tun and veth are for this");
  }
  const std::uint32_t mask = asked.number(SIOCGIFNETMASK);
  if (mask == 0 || ((asked.number(SIOCGIFADDR) ^ target) & mask) != 0) {
    throw std::runtime_error(address + " is not in the network of the device '" + device + "'");
  }
}

}  // namespace bench
