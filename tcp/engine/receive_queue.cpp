#include "receive_queue.hpp"

#include <algorithm>
#include <cstring>

namespace runnel::tcp::detail {

namespace {

/// What small segments are packed into.
constexpr std::uint32_t full_block_bytes = 16384;

std::span<const std::byte> bytes_of(const net::packet_buffer& block) noexcept {
  return {block.storage() + block.begin, block.size()};
}

/// The block for what comes next when so much waits already: many small segments come, and little
/// memory stays empty.
constexpr std::uint32_t next_block_bytes(std::uint32_t waiting) noexcept {
  if (waiting >= 4 * full_block_bytes) return full_block_bytes;
  return waiting >= 2048 ? 2048 : 512;
}

/// Not worth moving: at least three quarters of it are bytes, or somebody else holds it too.
bool is_packed(const net::packet_buffer& block) noexcept {
  return block.references > 1 ||
         std::uint64_t{block.size()} * 4 >= std::uint64_t{block.truesize()} * 3;
}

}  // namespace

void receive_queue::push(net::packet_buffer* block) noexcept {
  block->next = nullptr;
  held_ += block->truesize();
  (tail_ == nullptr ? head_ : tail_->next) = block;
  tail_ = block;
}

net::packet_buffer* receive_queue::pop() noexcept {
  net::packet_buffer* gone = head_;
  head_ = gone->next;
  if (head_ == nullptr) tail_ = nullptr;
  held_ -= gone->truesize();
  return gone;
}

std::uint32_t receive_queue::copy_in(buffer_pool& pool, std::span<const std::byte> bytes) noexcept {
  std::uint32_t copied = 0;
  while (copied < bytes.size()) {
    const auto left = static_cast<std::uint32_t>(bytes.size()) - copied;
    // Only a block that nobody else sees may grow.
    const bool grows =
        tail_ != nullptr && tail_->references == 1 && tail_->capacity - tail_->end >= left;
    if (!grows) {
      net::packet block = pool.allocate_some(std::max(left, next_block_bytes(size_)));
      if (!block) break;
      block.resize(0);
      pool.keep(*block.get());
      push(block.detach());
    }
    const std::uint32_t part = std::min(left, tail_->capacity - tail_->end);
    std::memcpy(tail_->storage() + tail_->end, bytes.data() + copied, part);
    tail_->end += part;
    copied += part;
    size_ += part;
  }
  return copied;
}

std::uint32_t receive_queue::append(buffer_pool& pool, net::packet payload) noexcept {
  if (payload.size() <= copy_threshold_bytes || !pool.worth_keeping(*payload.get())) {
    return copy_in(pool, payload.bytes());
  }
  const auto taken = static_cast<std::uint32_t>(payload.size());
  size_ += taken;
  pool.keep(*payload.get());
  push(payload.detach());
  return taken;
}

std::size_t receive_queue::read(buffer_pool& pool, std::span<std::byte> into) noexcept {
  std::size_t taken = 0;
  while (taken < into.size() && head_ != nullptr) {
    const std::size_t part = std::min<std::size_t>(head_->size(), into.size() - taken);
    std::memcpy(into.data() + taken, head_->storage() + head_->begin, part);
    head_->begin += static_cast<std::uint32_t>(part);
    taken += part;
    if (head_->size() == 0) pool.drop(pop());
  }
  size_ -= static_cast<std::uint32_t>(taken);
  return taken;
}

std::size_t receive_queue::lend(std::span<net::owned_buffer> into,
                                std::size_t most) const noexcept {
  std::size_t used = 0;
  for (net::packet_buffer* block = head_; block != nullptr && used < into.size() && most > 0;
       block = block->next) {
    const std::size_t part = std::min<std::size_t>(block->size(), most);
    if (part == 0) continue;
    ++block->references;
    into[used] = net::owned_buffer(net::packet::adopt(block)).take_front(part);
    most -= part;
    ++used;
  }
  return used;
}

void receive_queue::drop(buffer_pool& pool, std::uint32_t count) noexcept {
  size_ -= count;
  while (count > 0) {
    const std::uint32_t part = std::min(head_->size(), count);
    head_->begin += part;
    count -= part;
    if (head_->size() == 0) pool.drop(pop());
  }
}

std::uint32_t receive_queue::collapse(buffer_pool& pool) noexcept {
  // Packed blocks waste a quarter at most: of a long queue of them nothing is to be gained.
  if (held_ - size_ <= std::max(full_block_bytes, held_ / 4)) return 0;
  receive_queue packed;
  const std::uint32_t before = held_;
  std::uint32_t emptied = 0;
  bool has_memory = true;
  while (head_ != nullptr) {
    const std::uint32_t left = size_ - packed.size_;
    net::packet_buffer* block = pop();
    // What somebody else looks at too is not written to.
    const bool open = packed.tail_ != nullptr && packed.tail_->references == 1;
    const std::uint32_t room = open ? packed.tail_->capacity - packed.tail_->end : 0;
    // A packed one that fits moves too: behind it another block would have to be begun.
    if (has_memory && (!is_packed(*block) || block->size() <= room)) {
      if (room < block->size()) {
        net::packet fresh =
            pool.allocate(std::max(block->size(), std::min(left, full_block_bytes)));
        has_memory = static_cast<bool>(fresh);
        if (has_memory) {
          fresh.resize(0);
          packed.push(fresh.detach());
        }
      }
      if (has_memory) {
        packed.copy_in(pool, bytes_of(*block));
        pool.drop(block);
        ++emptied;
        continue;
      }
    }
    // Packed already, or without memory: it stays as it is, behind what was packed.
    packed.size_ += block->size();
    packed.push(block);
  }
  *this = packed;
  return held_ < before ? emptied : 0;
}

void receive_queue::clear(buffer_pool& pool) noexcept {
  while (head_ != nullptr) pool.drop(pop());
  *this = receive_queue();
}

}  // namespace runnel::tcp::detail
