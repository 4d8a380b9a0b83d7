#include "send_queue.hpp"

#include <algorithm>
#include <cstring>

namespace runnel::tcp::detail {

// Room comes back a block at a time, so that of the largest block a queue within the limit has
// several: a third of it is to be free as soon as a third of the bytes is acknowledged.
std::uint32_t send_block_bytes(std::uint32_t limit) noexcept {
  const auto& sizes = net::packet_pool::block_bytes;
  for (std::size_t i = sizes.size() - 1; i > 1; --i) {
    if (sizes[i] <= limit / 6) return sizes[i];
  }
  return sizes[1];
}

namespace {

/// Where the block's first byte lies.
const std::byte* bytes_at(const net::packet_buffer& block) noexcept {
  const std::byte* base =
      block.tag == 0 ? block.storage() : reinterpret_cast<const std::byte*>(block.tag);
  return base + block.begin;
}

}  // namespace

void send_queue::push(net::packet_buffer* block) noexcept {
  block->next = nullptr;
  held_ += block->truesize();
  (tail_ == nullptr ? head_ : tail_->next) = block;
  tail_ = block;
}

std::size_t send_queue::append(buffer_pool& pool, std::span<const std::byte> bytes,
                               std::uint32_t limit) noexcept {
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    const std::uint32_t room =
        tail_ == nullptr || tail_->tag != 0 ? 0 : tail_->capacity - tail_->end;
    if (room == 0) {
      if (held_ >= limit) break;
      const std::size_t wanted =
          std::min<std::size_t>(bytes.size() - taken, send_block_bytes(limit));
      net::packet block = pool.allocate_some(wanted);
      if (!block) break;
      block.resize(0);
      push(block.detach());
      continue;
    }
    const std::size_t count = std::min<std::size_t>(room, bytes.size() - taken);
    std::memcpy(tail_->storage() + tail_->end, bytes.data() + taken, count);
    tail_->end += static_cast<std::uint32_t>(count);
    taken += count;
  }
  size_ += static_cast<std::uint32_t>(taken);
  return taken;
}

void send_queue::consume(buffer_pool& pool, std::uint32_t count) noexcept {
  size_ -= count;
  while (count > 0) {
    const std::uint32_t part = std::min(count, head_->size());
    if (head_->tag != 0) forget(pool, *head_, part);
    head_->begin += part;
    count -= part;
    if (cursor_ == head_) {
      // The cursor's block begins at the queue's first byte again.
      cursor_offset_ = 0;
    } else if (cursor_ != nullptr) {
      cursor_offset_ -= part;
    }
    if (head_->size() != 0) break;
    // An empty last block keeps its room for the next bytes unless it is worn out.
    if (head_ == tail_ && head_->end != head_->capacity && size_ != 0) break;
    net::packet_buffer* gone = head_;
    head_ = gone->next;
    if (head_ == nullptr) tail_ = nullptr;
    if (cursor_ == gone) {
      cursor_ = head_;
      cursor_offset_ = 0;
    }
    drop(pool, gone);
  }
}

void send_queue::clear(buffer_pool& pool) noexcept {
  // Emptied before anything is released: an owner hears of it and must find the queue whole.
  net::packet_buffer* left = head_;
  *this = send_queue();
  send_queue gone;
  while (left != nullptr) {
    net::packet_buffer* block = left;
    left = block->next;
    if (block->tag != 0) gone.forget(pool, *block, block->size());
    gone.drop(pool, block);
  }
}

std::size_t send_queue::gather(std::uint32_t offset, std::uint32_t length,
                               std::span<std::span<const std::byte>> pieces,
                               std::uint32_t& covered) noexcept {
  if (cursor_ == nullptr || cursor_offset_ > offset) {
    cursor_ = head_;
    cursor_offset_ = 0;
  }
  while (cursor_ != nullptr && cursor_offset_ + cursor_->size() <= offset &&
         cursor_->next != nullptr) {
    cursor_offset_ += cursor_->size();
    cursor_ = cursor_->next;
  }
  covered = 0;
  std::size_t used = 0;
  std::uint32_t skip = offset - cursor_offset_;
  for (const net::packet_buffer* block = cursor_; block != nullptr && covered < length;
       block = block->next) {
    if (used == pieces.size()) break;
    const std::uint32_t part = std::min(block->size() - skip, length - covered);
    if (part != 0) {
      pieces[used++] = {bytes_at(*block) + skip, part};
      covered += part;
    }
    skip = 0;
  }
  return used;
}

}  // namespace runnel::tcp::detail
