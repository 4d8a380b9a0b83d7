#include "receive_queue.hpp"

#include <algorithm>
#include <cstring>

namespace runnel::tcp::detail {

namespace {

/// What small segments are packed into.
constexpr std::uint32_t full_block_bytes = 16384;

sequence seq_of(const net::packet_buffer& piece) noexcept {
  return sequence(static_cast<std::uint32_t>(piece.tag));
}
sequence end_of(const net::packet_buffer& piece) noexcept {
  return seq_of(piece) + piece.size();
}

/// A block of the packet's own that holds just its live bytes.
net::packet tight_copy(net::packet_pool& pool, const net::packet& payload) noexcept {
  return pool.copy_of(payload.bytes());
}

}  // namespace

void receive_queue::push(net::packet_buffer* block) noexcept {
  block->next = nullptr;
  held_ += block->truesize();
  (tail_ == nullptr ? head_ : tail_->next) = block;
  tail_ = block;
}

bool receive_queue::copy_in(net::packet_pool& pool, std::span<const std::byte> bytes) noexcept {
  // Only a block that nobody else sees may grow.
  if (tail_ != nullptr && tail_->references == 1 && tail_->capacity - tail_->end >= bytes.size()) {
    std::memcpy(tail_->storage() + tail_->end, bytes.data(), bytes.size());
    tail_->end += static_cast<std::uint32_t>(bytes.size());
  } else {
    // As large as what waits already: many small segments come, and little memory stays empty.
    net::packet block =
        pool.allocate(std::max<std::size_t>(bytes.size(), std::min(size_, full_block_bytes)));
    if (!block) return false;
    std::memcpy(block.room().data(), bytes.data(), bytes.size());
    block.resize(bytes.size());
    push(block.detach());
  }
  size_ += static_cast<std::uint32_t>(bytes.size());
  return true;
}

bool receive_queue::append(net::packet_pool& pool, net::packet payload) noexcept {
  if (payload.size() <= copy_threshold_bytes) return copy_in(pool, payload.bytes());
  size_ += static_cast<std::uint32_t>(payload.size());
  push(payload.detach());
  return true;
}

std::size_t receive_queue::read(std::span<std::byte> into) noexcept {
  std::size_t taken = 0;
  while (taken < into.size() && head_ != nullptr) {
    const std::size_t part = std::min<std::size_t>(head_->size(), into.size() - taken);
    std::memcpy(into.data() + taken, head_->storage() + head_->begin, part);
    head_->begin += static_cast<std::uint32_t>(part);
    taken += part;
    if (head_->size() == 0) {
      net::packet_buffer* gone = head_;
      head_ = gone->next;
      if (head_ == nullptr) tail_ = nullptr;
      held_ -= gone->truesize();
      net::packet::adopt(gone);
    }
  }
  size_ -= static_cast<std::uint32_t>(taken);
  return taken;
}

bool receive_queue::collapse(net::packet_pool& pool) noexcept {
  if (held_ - size_ <= full_block_bytes) return false;
  receive_queue packed;
  const std::uint32_t before = held_;
  while (head_ != nullptr) {
    const bool fits = packed.tail_ != nullptr && packed.tail_->references == 1 &&
                      packed.tail_->capacity - packed.tail_->end >= head_->size();
    if (!fits) {
      const std::uint32_t left = size_ - packed.size_;
      net::packet block = pool.allocate(std::max(head_->size(), std::min(left, full_block_bytes)));
      if (!block) break;
      block.resize(0);
      packed.push(block.detach());
    }
    packed.copy_in(pool, {head_->storage() + head_->begin, head_->size()});
    net::packet_buffer* gone = head_;
    head_ = gone->next;
    net::packet::adopt(gone);
  }
  // Without memory the rest stays as it was, behind what was packed.
  for (; head_ != nullptr;) {
    net::packet_buffer* rest = head_;
    head_ = rest->next;
    packed.size_ += rest->size();
    packed.push(rest);
  }
  *this = packed;
  return held_ < before;
}

void receive_queue::clear() noexcept {
  while (head_ != nullptr) {
    net::packet_buffer* gone = head_;
    head_ = gone->next;
    net::packet::adopt(gone);
  }
  *this = receive_queue();
}

reassembly_queue::verdict reassembly_queue::insert(net::packet_pool& pool, sequence seq,
                                                   net::packet payload) noexcept {
  // Segments mostly arrive in order behind one hole, so the place is mostly the end.
  net::packet_buffer* previous = nullptr;
  if (tail_ != nullptr && !before(seq, seq_of(*tail_))) {
    previous = tail_;
  } else {
    for (net::packet_buffer* at = head_; at != nullptr && !before(seq, seq_of(*at));
         at = at->next) {
      previous = at;
    }
  }
  if (previous != nullptr && after(end_of(*previous), seq)) {
    const std::uint32_t known = distance(seq, end_of(*previous));
    if (known >= payload.size()) return verdict::duplicate;
    payload->begin += known;
    seq += known;
  }
  net::packet_buffer* following = previous == nullptr ? head_ : previous->next;
  const sequence end = seq + static_cast<std::uint32_t>(payload.size());
  // Whole pieces that the new one covers are replaced by it.
  while (following != nullptr && at_or_before(end_of(*following), end)) {
    net::packet_buffer* gone = following;
    following = gone->next;
    size_ -= gone->size();
    held_ -= gone->truesize();
    --pieces_;
    (previous == nullptr ? head_ : previous->next) = following;
    if (tail_ == gone) tail_ = previous;
    net::packet::adopt(gone);
  }
  if (following != nullptr && before(seq_of(*following), end)) {
    payload->end -= distance(seq_of(*following), end);
    if (payload.size() == 0) return verdict::duplicate;
  }
  if (pieces_ >= piece_limit) return verdict::refused;
  if (payload.size() <= copy_threshold_bytes) {
    payload = tight_copy(pool, payload);
    if (!payload) return verdict::refused;
  }
  net::packet_buffer* piece = payload.detach();
  piece->tag = seq.value();
  piece->next = following;
  (previous == nullptr ? head_ : previous->next) = piece;
  if (following == nullptr) tail_ = piece;
  ++pieces_;
  size_ += piece->size();
  held_ += piece->truesize();
  return verdict::stored;
}

net::packet reassembly_queue::pop(sequence next) noexcept {
  while (head_ != nullptr && !after(seq_of(*head_), next)) {
    net::packet_buffer* piece = head_;
    head_ = piece->next;
    if (head_ == nullptr) tail_ = nullptr;
    --pieces_;
    size_ -= piece->size();
    held_ -= piece->truesize();
    net::packet result = net::packet::adopt(piece);
    const std::uint32_t old = distance(seq_of(*piece), next);
    if (old >= piece->size()) continue;
    piece->begin += old;
    return result;
  }
  return {};
}

void reassembly_queue::clear() noexcept {
  while (head_ != nullptr) {
    net::packet_buffer* gone = head_;
    head_ = gone->next;
    net::packet::adopt(gone);
  }
  *this = reassembly_queue();
}

}  // namespace runnel::tcp::detail
