#include "runnel/detail/receive_buffers.hpp"

#include <algorithm>
#include <cstring>

namespace runnel::detail {

void received_bytes::push(const std::shared_ptr<receive_buffers>& pool, std::uint16_t id,
                          std::uint32_t length) noexcept {
  if (!pool_) pool_ = pool;
  pool_->parts_[id] = {.begin = 0, .end = length, .next = 0};
  if (empty()) {
    first_ = id;
  } else {
    pool_->parts_[last_].next = id;
  }
  last_ = id;
  ++buffers_;
  bytes_ += length;
}

std::size_t received_bytes::take(std::span<std::byte> into) noexcept {
  std::size_t moved = 0;
  while (!empty() && moved < into.size()) {
    receive_buffers::part& part = pool_->parts_[first_];
    const std::size_t count = std::min<std::size_t>(part.end - part.begin, into.size() - moved);
    std::memcpy(into.data() + moved, pool_->data(first_) + part.begin, count);
    moved += count;
    bytes_ -= count;
    part.begin += static_cast<std::uint32_t>(count);
    if (part.begin == part.end) pop();
  }
  return moved;
}

void received_bytes::clear() noexcept {
  while (!empty()) pop();
  bytes_ = 0;
}

void received_bytes::pop() noexcept {
  const std::uint16_t id = first_;
  first_ = pool_->parts_[id].next;
  --buffers_;
  pool_->give_back(id);
}

}  // namespace runnel::detail
