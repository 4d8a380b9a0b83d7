#pragma once

#include "rtnetlink.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/poll.hpp"
#include "runnel/wire/offload.hpp"
#include "tun_offload.hpp"

#include <array>
#include <optional>

namespace runnel::net {

/// Copies of short packets that are to be written one after another.
class write_batch {
 public:
  static constexpr std::size_t most = 32;
  static constexpr std::size_t room_bytes = 8192;

  bool empty() const noexcept { return first_ == count_; }
  bool has_room(std::size_t size) const noexcept {
    return count_ != most && size <= room_bytes - used_;
  }
  /// Where the next packet of that length goes.
  std::span<std::byte> room(std::size_t size) noexcept {
    return std::span(bytes_).subspan(used_, size);
  }
  /// It is there.
  void push(std::size_t size) noexcept {
    sizes_[count_++] = static_cast<std::uint16_t>(size);
    used_ += size;
  }
  std::span<const std::byte> front() const noexcept {
    return std::span(bytes_).subspan(begin_, sizes_[first_]);
  }
  void pop_front() noexcept {
    begin_ += sizes_[first_++];
    if (empty()) begin_ = used_ = first_ = count_ = 0;
  }

 private:
  std::size_t begin_ = 0;
  std::size_t used_ = 0;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::array<std::uint16_t, most> sizes_;
  std::array<std::byte, room_bytes> bytes_;
};

/// What a tun owns. It stays where it is when the tun is moved.
class tun::device final : public fd_watch::client {
 public:
  device(int descriptor, int number, link_info what, const detail::offload_grant& granted,
         std::size_t pool_bytes, detail::rtnetlink kernel) noexcept;
  device(const device&) = delete;
  device& operator=(const device&) = delete;
  ~device();

  std::size_t receive(std::span<packet> out) noexcept;
  send_status send(const tx_packet& what) noexcept;
  send_status enqueue(const tx_packet& what) noexcept;
  bool flush() noexcept;
  void attach(loop& owner, link_client& user);
  void detach() noexcept;
  void disable_offload() noexcept;

  int fd;
  int index;
  link_info info;
  detail::offload_grant grant;
  packet_pool pool;
  link_counters counters;
  detail::rtnetlink netlink;

 private:
  class watch final : public fd_watch {
   public:
    using fd_watch::fd_watch;
  };
  enum class read_outcome : std::uint8_t { packet, nothing, dropped };

  /// Packets up to this long are copied and written from one piece, which costs less than writev(2)
  /// does for two.
  static constexpr std::size_t copied_bytes = 2048;

  void on_ready() noexcept override;
  ssize_t read_into(std::span<std::byte> room) noexcept;
  read_outcome read_one() noexcept;
  read_outcome read_wide() noexcept;
  bool take_wide(std::span<const std::byte> content, const packet_offload& facts) noexcept;
  void on_truncated() noexcept;
  bool copy(const tx_packet& what, std::span<std::byte> out) noexcept;
  ssize_t write(const tx_packet& what) noexcept;
  ssize_t write_piece(std::span<const std::byte> bytes) noexcept;
  ssize_t write_pieces(const tx_packet& what) noexcept;
  std::size_t head_bytes() const noexcept {
    return grant.vnet_header ? wire::vnet_header_bytes : 0;
  }
  send_status on_refused() noexcept;
  send_status on_written(ssize_t size, std::size_t packet_bytes) noexcept;
  send_status wait_for_room() noexcept;
  void fail() noexcept;

  bool gone_ = false;
  /// What a read that is about to happen must have room for: a packet and one byte, so that a
  /// packet that was cut short is noticed.
  std::size_t room_needed_;
  /// The packet that the next read fills, or that the last one has.
  packet next_;
  /// With a virtio-net header: the block that each read goes to.
  packet wide_;
  write_batch batch_;
  std::optional<watch> incoming_;
  std::optional<watch> outgoing_;
  link_client* client_ = nullptr;
};

}  // namespace runnel::net
