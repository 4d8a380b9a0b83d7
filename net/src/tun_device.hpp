#pragma once

#include "rtnetlink.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/poll.hpp"

#include <optional>

namespace runnel::net {

/// What a tun owns. It stays where it is when the tun is moved.
class tun::device final : public fd_watch::client {
 public:
  device(int descriptor, int number, link_info what, std::size_t pool_bytes,
         detail::rtnetlink kernel) noexcept;
  device(const device&) = delete;
  device& operator=(const device&) = delete;
  ~device();

  std::size_t receive(std::span<packet> out) noexcept;
  send_status send(const tx_packet& what) noexcept;
  void attach(loop& owner, link_client& user);
  void detach() noexcept;

  int fd;
  int index;
  link_info info;
  packet_pool pool;
  link_counters counters;
  detail::rtnetlink netlink;

 private:
  class watch final : public fd_watch {
   public:
    using fd_watch::fd_watch;
  };
  enum class read_outcome : std::uint8_t { packet, nothing, dropped };

  void on_ready() noexcept override;
  read_outcome read_one() noexcept;
  void on_truncated() noexcept;
  send_status on_send_error(int error) noexcept;
  send_status wait_for_room() noexcept;
  void fail() noexcept;

  bool gone_ = false;
  /// What a read that is about to happen must have room for: a packet and one byte, so that a
  /// packet that was cut short is noticed.
  std::size_t room_needed_;
  /// The packet that the next read fills.
  packet next_;
  std::optional<watch> incoming_;
  std::optional<watch> outgoing_;
  link_client* client_ = nullptr;
};

}  // namespace runnel::net
