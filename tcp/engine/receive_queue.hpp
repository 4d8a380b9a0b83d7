#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "buffer_pool.hpp"
#include "runnel/wire/owned_buffer.hpp"

namespace runnel::tcp::detail {

/// Payloads up to this long are copied into blocks that fit them: a short one would hold far more
/// memory than it brings. Longer ones stay in the packet they came in, unless their pool is scarce.
inline constexpr std::uint32_t copy_threshold_bytes = 512;

/// Received bytes in order, waiting for the application. Plain data, as `send_queue` is: every call
/// must be given the same pool.
class receive_queue {
 public:
  std::uint32_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::uint32_t held_bytes() const noexcept { return held_; }

  /// Appends the live bytes of `payload`, taking the packet over or copying out of it. Returns how
  /// many: fewer when there is no memory for the rest.
  std::uint32_t append(buffer_pool& pool, net::packet payload) noexcept;
  /// Copies bytes out and drops them.
  std::size_t read(buffer_pool& pool, std::span<std::byte> into) noexcept;
  /// Shares up to `most` of the first bytes, as many as `into` has buffers for, and keeps them.
  /// Returns how many buffers it took.
  std::size_t lend(std::span<net::owned_buffer> into, std::size_t most) const noexcept;
  /// Drops the first `count` bytes.
  void drop(buffer_pool& pool, std::uint32_t count) noexcept;
  /// Copies what lies in sparse blocks into full ones, unless that would gain less than a block.
  /// Returns how many blocks were emptied, or 0 when nothing was gained. A byte is moved once: what
  /// is packed stays, unless it fits into the block before it.
  std::uint32_t collapse(buffer_pool& pool) noexcept;
  void clear(buffer_pool& pool) noexcept;

 private:
  void push(net::packet_buffer* block) noexcept;
  net::packet_buffer* pop() noexcept;
  std::uint32_t copy_in(buffer_pool& pool, std::span<const std::byte> bytes) noexcept;

  net::packet_buffer* head_ = nullptr;
  net::packet_buffer* tail_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

}  // namespace runnel::tcp::detail
