#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "runnel/wire/packet.hpp"

namespace runnel::tcp::detail {

/// Packets on their way from one thread to another: a ring of bytes with one producer and one
/// consumer, without a lock. A packet's block belongs to the pool of one thread, so that what goes
/// through is a copy of its bytes.
class packet_ring {
 public:
  /// Room for `bytes`, rounded up to a power of two, at least for some super-segments. The memory
  /// is taken when the first packet comes.
  explicit packet_ring(std::size_t bytes) noexcept;
  packet_ring(const packet_ring&) = delete;
  packet_ring& operator=(const packet_ring&) = delete;

  /// The producer's: false when there is no room or no memory.
  bool push(const net::packet& what) noexcept;
  /// The consumer's: the oldest one in a packet of this pool, which is empty when the pool is
  /// exhausted; false when there is none.
  bool pop(net::packet_pool& pool, net::packet& out) noexcept;

 private:
  struct record;
  static constexpr std::size_t cache_line = 64;

  std::byte* at(std::uint64_t position) const noexcept {
    return memory_.get() + (position & (capacity_ - 1));
  }

  std::size_t capacity_;
  std::unique_ptr<std::byte[]> memory_;
  /// The producer's position, and what it last saw of the consumer's.
  alignas(cache_line) std::atomic<std::uint64_t> end_{0};
  std::uint64_t known_begin_ = 0;
  alignas(cache_line) std::atomic<std::uint64_t> begin_{0};
};

}  // namespace runnel::tcp::detail
