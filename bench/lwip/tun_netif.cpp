#include "tun_netif.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <lwip/ip.h>
#include <lwip/pbuf.h>
#include <lwip/timeouts.h>
#include "port.hpp"

namespace bench_lwip {

namespace {

constexpr int burst_packets = 64;
constexpr u16_t mtu_bytes = 1500;
constexpr std::size_t pieces_max = 16;
// A signal that comes between its flag's check and poll(2) is seen after this at the latest.
constexpr u32_t sleep_ms_max = 250;

int open_tun(const std::string& name) {
  const int device = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) {
    throw std::runtime_error(std::string("/dev/net/tun cannot be opened (") + std::strerror(errno) +
                             "): it needs root or a user namespace.");
  }
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(device, TUNSETIFF, &request) == 0) return device;
  const std::string why = std::strerror(errno);
  ::close(device);
  throw std::runtime_error("the TUN device " + name + " cannot be attached to (" + why +
                           "): make it by `ip tuntap add dev " + name + " mode tun`.");
}

}  // namespace

tun_netif::tun_netif(const std::string& device, const std::string& address) {
  ip4_addr_t own;
  ip4_addr_t mask;
  ip4_addr_t gateway;
  if (ip4addr_aton(address.c_str(), &own) == 0) {
    throw std::runtime_error("'" + address + "' is no IPv4 address, which --address needs.");
  }
  // Everything goes to the other end of the wire, and no address there is a broadcast.
  IP4_ADDR(&mask, 255, 255, 255, 255);
  ip4_addr_set_any(&gateway);
  device_ = open_tun(device);
  netif_add(&netif_, &own, &mask, &gateway, this, set_up, ip_input);
  netif_set_default(&netif_);
  netif_set_up(&netif_);
  netif_set_link_up(&netif_);
}

tun_netif::~tun_netif() {
  netif_remove(&netif_);
  if (spare_ != nullptr) pbuf_free(spare_);
  ::close(device_);
}

err_t tun_netif::set_up(struct netif* self) {
  self->name[0] = 't';
  self->name[1] = 'n';
  self->mtu = mtu_bytes;
  self->output = write;
  return ERR_OK;
}

// What the device has no room for is lost, as on a wire.
err_t tun_netif::write(struct netif* self, struct pbuf* packet, const ip4_addr_t*) {
  const int device = static_cast<const tun_netif*>(self->state)->device_;
  ssize_t written = 0;
  if (packet->next == nullptr) {
    written = ::write(device, packet->payload, packet->len);
  } else {
    std::array<iovec, pieces_max> pieces;
    std::size_t count = 0;
    for (const pbuf* piece = packet; piece != nullptr; piece = piece->next) {
      if (count == pieces.size()) return ERR_BUF;
      pieces[count++] = {piece->payload, piece->len};
    }
    written = ::writev(device, pieces.data(), static_cast<int>(count));
  }
  return written < 0 && errno != EAGAIN ? ERR_IF : ERR_OK;
}

bool tun_netif::read_burst() {
  for (int i = 0; i < burst_packets; ++i) {
    if (spare_ == nullptr) spare_ = pbuf_alloc(PBUF_RAW, mtu_bytes, PBUF_POOL);
    if (spare_ == nullptr) {
      // Every buffer is queued: the packet goes, or poll(2) would wake for it for ever.
      std::array<std::uint8_t, mtu_bytes> lost;
      if (::read(device_, lost.data(), lost.size()) <= 0) return i > 0;
      continue;
    }
    const ssize_t got = ::read(device_, spare_->payload, mtu_bytes);
    if (got <= 0) return i > 0;
    pbuf* packet = spare_;
    spare_ = nullptr;
    pbuf_realloc(packet, static_cast<u16_t>(got));
    input(packet, netif_);
  }
  return true;
}

void tun_netif::wait() const {
  const u32_t sleep_ms = std::min(sys_timeouts_sleeptime(), sleep_ms_max);
  pollfd device{device_, POLLIN, 0};
  (void)::poll(&device, 1, static_cast<int>(sleep_ms));
}

}  // namespace bench_lwip
