#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "buffer_pool.hpp"
#include "runnel/wire/owned_buffer.hpp"

namespace runnel::tcp::detail {

/// An owned buffer up to this long is copied: where it lies it would cost the queue more than half
/// as much again for the block that it is remembered by, and a packet one of its few pieces. Time
/// is saved from 512 bytes on (bench/copies), but packets of so small pieces are short.
inline constexpr std::uint32_t owned_copy_threshold_bytes = 1024;

/// The largest block of which a queue within the limit has some.
std::uint32_t send_block_bytes(std::uint32_t limit) noexcept;

/// The bytes from SND.UNA on: sent and unacknowledged ones first, unsent ones behind. They lie in
/// pooled blocks, or where an owned buffer has them, and never move, so a packet on its way out
/// points at them.
///
/// A block with a `tag` is a view: the owned buffer is written in it, and `begin` and `end` count
/// from the address that `tag` is.
///
/// Plain data, so that a connection is: `clear` must be called before it is dropped. Every call
/// must be given the same pool.
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
  /// Takes the front of `from` without a copy, as much as fits while `held_bytes` and the pool stay
  /// within their limits, or copies where it is short. A packet's bytes are taken together or not
  /// at all, and may exceed the limit by the packet.
  ///
  /// A packet is counted by its memory, whole, until the last of its bytes is consumed; of other
  /// memory the bytes that are queued. Each view costs its block.
  std::size_t append_owned(buffer_pool& pool, net::owned_buffer& from,
                           std::uint32_t limit) noexcept;
  /// Drops the first `count` bytes.
  void consume(buffer_pool& pool, std::uint32_t count) noexcept;
  void clear(buffer_pool& pool) noexcept;

  /// Points `pieces` at the `length` bytes from `offset` on. Returns how many pieces it took;
  /// `covered` is less than `length` when they did not suffice.
  std::size_t gather(std::uint32_t offset, std::uint32_t length,
                     std::span<std::span<const std::byte>> pieces, std::uint32_t& covered) noexcept;

 private:
  void push(net::packet_buffer* block) noexcept;
  /// Gives back a block that is linked nowhere any more, and the share of a view.
  void drop(buffer_pool& pool, net::packet_buffer* gone) noexcept;
  std::size_t extend_view(buffer_pool& pool, net::owned_buffer& from, std::uint32_t room) noexcept;
  std::size_t push_view(buffer_pool& pool, net::owned_buffer& from, std::uint32_t room) noexcept;
  std::size_t push_packet(buffer_pool& pool, net::packet whole) noexcept;
  /// Of a view's memory, what its first `count` bytes stop to hold.
  void forget(buffer_pool& pool, net::packet_buffer& block, std::uint32_t count) noexcept;

  net::packet_buffer* head_ = nullptr;
  net::packet_buffer* tail_ = nullptr;
  /// Where the last `gather` ended, so that sending a long queue does not walk it anew each time.
  net::packet_buffer* cursor_ = nullptr;
  std::uint32_t cursor_offset_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

}  // namespace runnel::tcp::detail
