#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "slab.hpp"

namespace runnel::tcp::detail {

/// The part of an object that the wheel links.
struct timer_node {
  std::uint32_t prev = no_index;
  std::uint32_t next = no_index;
  /// When it is due, in ticks modulo 2^32.
  std::uint32_t expiry = 0;
  /// Its slot plus one; 0 while it is not armed.
  std::uint16_t slot = 0;

  bool armed() const noexcept { return slot != 0; }
};

/// A hierarchical timer wheel of four levels of 256 slots, one tick a millisecond: arming and
/// cancelling are O(1), the range is 2^31 ticks. Nodes live in slab objects as `timer_node
/// T::*Node`.
template <class Slab, auto Node>
class timer_wheel {
 public:
  static constexpr std::uint64_t never = UINT64_MAX;

  void start(std::uint64_t now) noexcept { now_ = now; }
  /// Moves to `now` where nothing is to be done for it: what is armed next is then found exactly.
  void skip_to(std::uint64_t now) noexcept {
    if (now > now_ && next() > now) now_ = now;
  }

  /// Arms `index` for `expiry`, which may be past: then it is due at the next tick.
  void arm(Slab& objects, std::uint32_t index, std::uint64_t expiry) noexcept {
    timer_node& node = objects[index].*Node;
    if (node.armed()) unlink(objects, index);
    if (expiry <= now_) expiry = now_ + 1;
    link(objects, index, expiry);
  }
  void cancel(Slab& objects, std::uint32_t index) noexcept {
    if ((objects[index].*Node).armed()) unlink(objects, index);
  }

  /// The first moment at which `advance` may have something to do; `never` when nothing is armed.
  /// It is exact for timers within 256 ms and else at most once early per level.
  std::uint64_t next() const noexcept { return next_slot().start; }

  /// Moves to `now` and calls `expire(index)` for each node that is due, disarmed already. `expire`
  /// may arm and cancel any node.
  template <class Expire>
  void advance(Slab& objects, std::uint64_t now, Expire&& expire) {
    for (slot_time slot = next_slot(); slot.start <= now; slot = next_slot()) {
      now_ = slot.start;
      drain(objects, slot.level, expire);
    }
    if (now > now_) now_ = now;
  }

 private:
  static constexpr unsigned levels = 4;
  static constexpr unsigned digit_bits = 8;
  static constexpr unsigned slots = 1U << digit_bits;

  static unsigned digit(std::uint64_t tick, unsigned level) noexcept {
    return static_cast<unsigned>(tick >> (level * digit_bits)) & (slots - 1);
  }
  struct slot_time {
    std::uint64_t start;
    unsigned level;
  };
  /// The used slot that begins first. The slots of a level that are ahead all begin before the next
  /// slot of the level above, so the first level with one has it.
  slot_time next_slot() const noexcept {
    for (unsigned level = 0; level < levels; ++level) {
      if (const int slot = first_set_from(level, digit(now_, level) + 1); slot >= 0) {
        const unsigned shift = level * digit_bits;
        const std::uint64_t above = now_ >> shift >> digit_bits << digit_bits << shift;
        return {above | static_cast<std::uint64_t>(slot) << shift, level};
      }
    }
    // Only the top level wraps.
    if (const int slot = first_set_from(levels - 1, 0); slot >= 0) {
      const std::uint64_t above = ((now_ >> 32) + 1) << 32;
      return {above | static_cast<std::uint64_t>(slot) << (digit_bits * (levels - 1)), levels - 1};
    }
    return {never, 0};
  }
  int first_set_from(unsigned level, unsigned from) const noexcept {
    for (unsigned word = from / 64; word < slots / 64; ++word) {
      std::uint64_t bits = used_[level][word];
      if (word == from / 64) bits &= ~std::uint64_t{0} << (from % 64);
      if (bits != 0)
        return static_cast<int>(word * 64 + static_cast<unsigned>(std::countr_zero(bits)));
    }
    return -1;
  }

  void link(Slab& objects, std::uint32_t index, std::uint64_t expiry) noexcept {
    const auto differing = static_cast<std::uint32_t>(expiry ^ now_);
    const unsigned level =
        differing == 0 ? 0 : static_cast<unsigned>(31 - std::countl_zero(differing)) / digit_bits;
    const unsigned slot = digit(expiry, level);
    const unsigned position = level * slots + slot;
    timer_node& node = objects[index].*Node;
    node.expiry = static_cast<std::uint32_t>(expiry);
    node.slot = static_cast<std::uint16_t>(position + 1);
    node.prev = no_index;
    node.next = heads_[position] == 0 ? no_index : heads_[position] - 1;
    if (node.next != no_index) (objects[node.next].*Node).prev = index;
    heads_[position] = index + 1;
    used_[level][slot / 64] |= std::uint64_t{1} << (slot % 64);
  }
  void unlink(Slab& objects, std::uint32_t index) noexcept {
    timer_node& node = objects[index].*Node;
    const unsigned position = node.slot - 1U;
    if (node.prev == no_index) {
      heads_[position] = node.next == no_index ? 0 : node.next + 1;
      if (node.next == no_index) {
        const unsigned slot = position % slots;
        used_[position / slots][slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
      }
    } else {
      (objects[node.prev].*Node).next = node.next;
    }
    if (node.next != no_index) (objects[node.next].*Node).prev = node.prev;
    node.slot = 0;
  }

  /// Takes the slot that begins at `now_` apart: what is due expires, the rest goes a level down.
  template <class Expire>
  void drain(Slab& objects, unsigned level, Expire& expire) {
    const unsigned position = level * slots + digit(now_, level);
    while (heads_[position] != 0) {
      const std::uint32_t index = heads_[position] - 1;
      unlink(objects, index);
      const std::uint32_t expiry = (objects[index].*Node).expiry;
      const std::uint32_t ahead = expiry - static_cast<std::uint32_t>(now_);
      if (ahead == 0) {
        expire(index);
      } else {
        link(objects, index, now_ + ahead);
      }
    }
  }

  std::uint64_t now_ = 0;
  /// Index plus one of the first node of each slot; 0 for none.
  std::array<std::uint32_t, levels * slots> heads_{};
  std::array<std::array<std::uint64_t, slots / 64>, levels> used_{};
};

}  // namespace runnel::tcp::detail
