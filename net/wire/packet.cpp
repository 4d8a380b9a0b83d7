#include "runnel/wire/packet.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace runnel::net {

/// The head of a run of equal blocks taken from the system in one piece.
struct packet_pool::slab {
  slab* next;
  std::size_t bytes;
};

namespace {

constexpr std::size_t cache_line = 64;

constexpr std::size_t round_up(std::size_t bytes) noexcept {
  return (bytes + cache_line - 1) / cache_line * cache_line;
}

/// From the start of one block to the start of the next.
constexpr std::size_t stride_of(std::size_t size_class) noexcept {
  return round_up(sizeof(packet_buffer) + packet_pool::block_bytes[size_class]);
}

/// A slab is large enough to make its allocation rare and small enough that a pool of which little
/// is asked stays small.
constexpr std::size_t slab_blocks(std::size_t size_class) noexcept {
  constexpr std::size_t aim = std::size_t{256} << 10;
  return std::max<std::size_t>(1, aim / stride_of(size_class));
}

constexpr std::size_t slab_head = cache_line;

}  // namespace

packet_pool::packet_pool(std::size_t limit_bytes) noexcept : limit_bytes_(limit_bytes) {}

packet_pool::~packet_pool() {
  if (used_bytes_ != 0) {
    std::fputs(
        "runnel: a packet pool was destroyed while packets of it were still held; destroy "
        "the stack and its queues before the link that owns the pool.\n",
        stderr);
    std::abort();
  }
  while (slabs_ != nullptr) {
    slab* const dead = std::exchange(slabs_, slabs_->next);
    ::operator delete (dead, std::align_val_t{cache_line});
  }
}

packet packet_pool::copy_of(std::span<const std::byte> content) noexcept {
  packet result = allocate(content.size());
  if (result) {
    if (!content.empty()) std::memcpy(result->storage(), content.data(), content.size());
    result.resize(content.size());
  }
  return result;
}

packet_buffer* packet_pool::refill(std::size_t size_class) noexcept {
  if (size_class >= free_.size()) return nullptr;
  if (grow(size_class)) return free_[size_class];
  for (std::size_t larger = size_class + 1; larger < free_.size(); ++larger) {
    if (free_[larger] != nullptr) return free_[larger];
  }
  return nullptr;
}

bool packet_pool::grow(std::size_t size_class) noexcept {
  static_assert(sizeof(slab) <= slab_head);
  static_assert(alignof(packet_buffer) <= cache_line);

  const std::size_t stride = stride_of(size_class);
  const std::size_t left = limit_bytes_ - std::min(limit_bytes_, held_bytes_);
  if (left < slab_head + stride) return false;
  const std::size_t blocks = std::min(slab_blocks(size_class), (left - slab_head) / stride);
  const std::size_t bytes = slab_head + blocks * stride;

  void* const memory = ::operator new (bytes, std::align_val_t{cache_line}, std::nothrow);
  if (memory == nullptr) return false;
  slabs_ = new (memory) slab{slabs_, bytes};
  held_bytes_ += bytes;

  std::byte* const first = static_cast<std::byte*>(memory) + slab_head;
  for (std::size_t i = blocks; i-- > 0;) {
    auto* const buffer = new (first + i * stride) packet_buffer{};
    buffer->pool = this;
    buffer->capacity = block_bytes[size_class];
    buffer->size_class = static_cast<std::uint8_t>(size_class);
    buffer->next = free_[size_class];
    free_[size_class] = buffer;
  }
  return true;
}

}  // namespace runnel::net
