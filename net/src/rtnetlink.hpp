#pragma once

#include "runnel/result.hpp"
#include "runnel/wire/address.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace runnel::net::detail {

/// What the kernel says of a network device.
struct device_state {
  std::uint32_t mtu = 0;
  std::uint32_t queue_length = 0;
  bool up = false;
  /// Of a TUN device, those that programs have opened; 0 when the kernel does not say.
  std::uint32_t open_queues = 0;
  /// Packets from the host into the device, and out of the device into the host, that were dropped.
  std::uint64_t tx_dropped = 0;
  std::uint64_t rx_dropped = 0;
};

/// What to change on a device; what is empty stays.
struct device_change {
  std::optional<std::uint32_t> mtu{};
  std::optional<std::uint32_t> queue_length{};
  std::optional<bool> up{};
};

/// Asks and tells the kernel about network devices, over one rtnetlink socket. The kernel answers
/// while it takes the request, so nothing here waits. Errors are errno values.
class rtnetlink {
 public:
  static result<rtnetlink> open();
  rtnetlink(rtnetlink&& other) noexcept;
  rtnetlink& operator=(rtnetlink&& other) noexcept;
  ~rtnetlink();

  result<device_state> query(int index) const;
  result<std::vector<prefix>> addresses(int index) const;
  result<void> change(int index, const device_change& what) const;
  result<void> add_address(int index, const prefix& what) const;
  /// Whether the kernel takes what is for this address as its own by now: an IPv6 address that was
  /// just added takes a moment.
  bool is_local(const address& what) const;

 private:
  explicit rtnetlink(int fd) noexcept : fd_(fd) {}

  template <class OnMessage>
  result<void> exchange(std::span<const std::byte> request, OnMessage on_message) const;

  int fd_ = -1;
};

}  // namespace runnel::net::detail
