// A TUN device as lwIP's network interface.
#pragma once

#include <chrono>
#include <string>

#include <lwip/netif.h>

namespace bench_lwip {

/// Attaches to a TUN device that exists, by plain read(2) and write(2) of one packet each.
class tun_netif {
 public:
  /// Throws std::runtime_error with one sentence when the device cannot be had.
  tun_netif(const std::string& device, const std::string& address);
  ~tun_netif();
  tun_netif(const tun_netif&) = delete;
  tun_netif& operator=(const tun_netif&) = delete;

  /// Gives lwIP what the device has, a burst at most. False when it had nothing.
  bool read_burst();
  /// Sleeps until the device has a packet, lwIP's next timer is due, or a signal came.
  void wait() const;

 private:
  static err_t set_up(struct netif* self);
  static err_t write(struct netif* self, struct pbuf* packet, const ip4_addr_t* to);

  int device_ = -1;
  struct netif netif_ {};
  struct pbuf* spare_ = nullptr;
};

}  // namespace bench_lwip
