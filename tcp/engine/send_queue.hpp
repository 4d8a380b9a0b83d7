#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "buffer_pool.hpp"

namespace runnel::tcp::detail {

/// The bytes from SND.UNA on: sent and unacknowledged ones first, unsent ones behind. They lie in
/// pooled blocks and never move, so a packet on its way out points into them.
///
/// Plain data, so that a connection is: `clear` must be called before it is dropped.
class send_queue {
 public:
  std::uint32_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  /// Memory held, bookkeeping included.
  std::uint32_t held_bytes() const noexcept { return held_; }

  /// Copies as much of `bytes` as fits while `held_bytes` stays within `limit`; at least one block
  /// is always allowed, so that a tiny limit does not stop the stream.
  std::size_t append(buffer_pool& pool, std::span<const std::byte> bytes,
                     std::uint32_t limit) noexcept;
  /// Drops the first `count` bytes.
  void consume(std::uint32_t count) noexcept;
  void clear() noexcept;

  /// Points `pieces` at the `length` bytes from `offset` on. Returns how many pieces it took;
  /// `covered` is less than `length` when they did not suffice.
  std::size_t gather(std::uint32_t offset, std::uint32_t length,
                     std::span<std::span<const std::byte>> pieces, std::uint32_t& covered) noexcept;

 private:
  net::packet_buffer* head_ = nullptr;
  net::packet_buffer* tail_ = nullptr;
  /// Where the last `gather` ended, so that sending a long queue does not walk it anew each time.
  net::packet_buffer* cursor_ = nullptr;
  std::uint32_t cursor_offset_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

}  // namespace runnel::tcp::detail
