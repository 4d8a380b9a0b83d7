#include "packet_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace runnel::tcp::detail {

/// Stands before the bytes of each packet. No packet is empty: `size` 0 leads to the ring's start.
struct packet_ring::record {
  std::uint32_t size;
  /// To the next record.
  std::uint32_t stride;
  net::packet_offload offload;
};

namespace {

/// The longest packet fits four times, so that an empty ring takes it wherever its ends are.
constexpr std::size_t least_bytes = std::size_t{256} << 10;
constexpr std::size_t most_bytes = std::size_t{1} << 30;

}  // namespace

packet_ring::packet_ring(std::size_t bytes) noexcept
    : capacity_(std::bit_ceil(std::clamp(bytes, least_bytes, most_bytes))) {}

bool packet_ring::push(const net::packet& what) noexcept {
  static_assert(std::has_single_bit(sizeof(record)));
  if (!memory_) {
    memory_.reset(new (std::nothrow) std::byte[capacity_]);
    if (!memory_) return false;
  }
  std::uint64_t end = end_.load(std::memory_order_relaxed);
  const std::size_t size = what.size();
  const std::size_t needed = (sizeof(record) + size + sizeof(record) - 1) & ~(sizeof(record) - 1);
  const std::size_t left = capacity_ - (end & (capacity_ - 1));
  const std::size_t skipped = left < needed ? left : 0;
  if (end + skipped + needed - known_begin_ > capacity_) {
    known_begin_ = begin_.load(std::memory_order_acquire);
    if (end + skipped + needed - known_begin_ > capacity_) return false;
  }
  if (skipped > 0) {
    new (at(end)) record{0, static_cast<std::uint32_t>(skipped), {}};
    end += skipped;
  }
  new (at(end))
      record{static_cast<std::uint32_t>(size), static_cast<std::uint32_t>(needed), what->offload};
  std::memcpy(at(end) + sizeof(record), what.bytes().data(), size);
  end_.store(end + needed, std::memory_order_release);
  return true;
}

bool packet_ring::pop(net::packet_pool& pool, net::packet& out) noexcept {
  std::uint64_t begin = begin_.load(std::memory_order_relaxed);
  const std::uint64_t end = end_.load(std::memory_order_acquire);
  if (begin == end) return false;
  const auto* first = std::launder(reinterpret_cast<const record*>(at(begin)));
  if (first->size == 0) {
    begin += first->stride;
    first = std::launder(reinterpret_cast<const record*>(at(begin)));
  }
  out = pool.copy_of({at(begin) + sizeof(record), first->size});
  if (out) out->offload = first->offload;
  begin_.store(begin + first->stride, std::memory_order_release);
  return true;
}

}  // namespace runnel::tcp::detail
