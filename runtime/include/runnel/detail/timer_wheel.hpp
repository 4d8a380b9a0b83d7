#pragma once

#include <cstddef>
#include <cstdint>

#include "runnel/clock.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/timer.hpp"

namespace runnel::detail {

/// A radix wheel: 11 levels of 64 slots over the 64 bits of a nanosecond clock. A timer sits at the
/// level of the highest digit in which its deadline differs from the wheel's base, so arming is a
/// count of leading zeros and a link, and each timer moves down at most once per level in its life.
/// Nothing is rounded: timers fire in the order of their deadlines, equal ones in the order of
/// arming.
class timer_wheel {
 public:
  timer_wheel() noexcept = default;
  timer_wheel(const timer_wheel&) = delete;
  timer_wheel& operator=(const timer_wheel&) = delete;

  /// Sets the time from which deadlines are measured; only while it is empty.
  void start_at(time_point now) noexcept { base_ = ticks(now); }
  void insert(timer& t) noexcept;
  /// Calls on_expire of every timer due at `now`; those armed meanwhile for `now` or before wait
  /// for the next call.
  std::size_t expire(time_point now) noexcept;
  /// Never later than the earliest deadline; earlier only where a timer was cancelled, or where
  /// many share a far slot. `time_point::max()` when none is armed.
  time_point next_deadline() const noexcept { return next_; }
  /// How many are armed; walks all of them.
  std::size_t count() noexcept;
  /// Unlinks all; nothing is called.
  void clear() noexcept;

 private:
  static constexpr unsigned digit_bits = 6;
  static constexpr unsigned slots = 1u << digit_bits;
  static constexpr unsigned levels = 11;
  /// How many timers of a far slot are looked at to find the earliest.
  static constexpr int scan_limit = 32;

  struct position {
    unsigned level;
    unsigned slot;
  };

  static std::uint64_t ticks(time_point t) noexcept {
    return static_cast<std::uint64_t>(t.time_since_epoch().count());
  }
  void link(timer& t) noexcept;
  bool first_slot(position& out) noexcept;
  std::uint64_t slot_start(position p) const noexcept;
  time_point find_next() noexcept;

  std::uint64_t base_ = 0;
  /// A lower bound of the earliest deadline; later ones are found when it passes.
  time_point next_ = time_point::max();
  std::uint32_t used_levels_ = 0;
  std::uint64_t used_slots_[levels]{};
  list<timer> slots_[levels][slots];
};

}  // namespace runnel::detail
