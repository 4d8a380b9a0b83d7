#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace runnel::detail {

/// The values of a channel between their being sent and their being received. Each keeps its place
/// from the one to the other: one that is promised to a receiver lies here until that receiver goes
/// on, and is free for others again, in its old place, when the receiver is gone. Allocates once.
template <class T>
class channel_ring {
 public:
  explicit channel_ring(std::size_t places)
      : mask_(std::bit_ceil(places) - 1), slots_(std::make_unique<slot[]>(mask_ + 1)) {}
  channel_ring(const channel_ring&) = delete;
  channel_ring& operator=(const channel_ring&) = delete;
  ~channel_ring() {
    for (; head_ != tail_; ++head_) {
      if (at(head_).state != slot_state::taken) std::destroy_at(at(head_).value());
    }
  }

  /// How many places are in use, those included that were taken out of turn.
  std::size_t span() const noexcept { return static_cast<std::size_t>(tail_ - head_); }
  /// How many values lie here.
  std::size_t size() const noexcept { return size_; }

  void push(T&& value) noexcept {
    slot& place = at(tail_);
    ::new (static_cast<void*>(place.memory)) T(std::move(value));
    place.state = slot_state::free;
    ++tail_;
    ++size_;
  }
  /// Whether there is a value that is promised to nobody; `promise` is about the oldest one.
  bool has_free() noexcept {
    while (next_ != tail_ && at(next_).state != slot_state::free) ++next_;
    return next_ != tail_;
  }
  std::uint64_t promise() noexcept {
    at(next_).state = slot_state::promised;
    return next_++;
  }
  void unpromise(std::uint64_t position) noexcept {
    at(position).state = slot_state::free;
    next_ = std::min(next_, position);
  }
  T take(std::uint64_t position) noexcept {
    slot& place = at(position);
    T value = std::move(*place.value());
    std::destroy_at(place.value());
    place.state = slot_state::taken;
    --size_;
    while (head_ != tail_ && at(head_).state == slot_state::taken) ++head_;
    next_ = std::max(next_, head_);
    return value;
  }

  /// Closes the gap that was left by a value taken from `position` by moving up what lies before
  /// it, so that its place is free at once and not only when those are taken.
  void close_gap(std::uint64_t position) noexcept {
    if (position < head_) return;
    for (; position > head_; --position) {
      slot& from = at(position - 1);
      if (from.state != slot_state::taken) {
        ::new (static_cast<void*>(at(position).memory)) T(std::move(*from.value()));
        std::destroy_at(from.value());
      }
      at(position).state = std::exchange(from.state, slot_state::taken);
    }
    ++head_;
  }

 private:
  enum class slot_state : unsigned char { taken, free, promised };

  struct slot {
    T* value() noexcept { return std::launder(reinterpret_cast<T*>(memory)); }

    alignas(T) std::byte memory[sizeof(T)];
    slot_state state = slot_state::taken;
  };

  slot& at(std::uint64_t position) noexcept {
    return slots_[static_cast<std::size_t>(position) & mask_];
  }

  std::size_t mask_;
  std::unique_ptr<slot[]> slots_;
  std::size_t size_ = 0;
  /// Positions only grow: the oldest place in use, the first that may be free, and the next new
  /// one.
  std::uint64_t head_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t tail_ = 0;
};

}  // namespace runnel::detail
