#pragma once

#include <runnel/wire/packet.hpp>

#include <cstddef>
#include <cstring>
#include <utility>

namespace runnel::net::detail {

/// Packets in the order they came, linked through their own heads: it costs no memory.
class packet_queue {
 public:
  packet_queue() noexcept = default;
  packet_queue(packet_queue&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)),
        last_(std::exchange(other.last_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  packet_queue& operator=(packet_queue&& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~packet_queue() { clear(); }

  bool empty() const noexcept { return first_ == nullptr; }
  std::size_t size() const noexcept { return size_; }
  /// The next packet to be taken; the queue keeps it. Only when not empty.
  packet_buffer& front() const noexcept { return *first_; }

  void push(packet what) noexcept {
    packet_buffer* const buffer = what.detach();
    buffer->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = buffer;
    last_ = buffer;
    ++size_;
  }
  /// Only when not empty.
  packet pop() noexcept {
    packet_buffer* const buffer = std::exchange(first_, first_->next);
    if (first_ == nullptr) last_ = nullptr;
    buffer->next = nullptr;
    --size_;
    return packet::adopt(buffer);
  }
  void clear() noexcept {
    while (!empty()) pop();
  }

 private:
  packet_buffer* first_ = nullptr;
  packet_buffer* last_ = nullptr;
  std::size_t size_ = 0;
};

/// The bytes of `packet` in one block of `pool`; empty when there is none.
inline packet gather(packet_pool& pool, const tx_packet& from) noexcept {
  packet result = pool.allocate(from.size);
  if (!result) return result;
  result.resize(from.size);
  std::byte* to = result.bytes().data();
  for (const auto piece : from.pieces) {
    if (piece.empty()) continue;
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  }
  return result;
}

}  // namespace runnel::net::detail
