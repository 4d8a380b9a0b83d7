#pragma once

#include <cstdint>

namespace runnel::tcp {

/// A sequence number: a point on the circle of 2^32 (RFC 9293 §3.4).
///
/// There is no `operator<`, because "earlier" on a circle is not a strict order; the comparisons
/// have names and are right for points less than 2^31 apart.
class sequence {
 public:
  constexpr sequence() noexcept = default;
  /// The point with this number.
  constexpr explicit sequence(std::uint32_t value) noexcept : value_(value) {}

  /// Its number, as on the wire.
  constexpr std::uint32_t value() const noexcept { return value_; }

  /// `n` further on, past 2^32 to 0.
  friend constexpr sequence operator+(sequence a, std::uint32_t n) noexcept {
    return sequence(a.value_ + n);
  }
  /// `n` back, past 0 to 2^32 - 1.
  friend constexpr sequence operator-(sequence a, std::uint32_t n) noexcept {
    return sequence(a.value_ - n);
  }
  /// Goes on by `n`.
  constexpr sequence& operator+=(std::uint32_t n) noexcept {
    value_ += n;
    return *this;
  }
  friend constexpr bool operator==(sequence, sequence) noexcept = default;

 private:
  std::uint32_t value_ = 0;
};

/// How many numbers lie from `from` up to `to`, which is not before it.
constexpr std::uint32_t distance(sequence from, sequence to) noexcept {
  return to.value() - from.value();
}
/// Whether `a` comes before `b` on the shorter way round.
constexpr bool before(sequence a, sequence b) noexcept {
  return static_cast<std::int32_t>(a.value() - b.value()) < 0;
}
/// Whether `a` comes after `b`.
constexpr bool after(sequence a, sequence b) noexcept {
  return before(b, a);
}
/// Whether `a` is `b` or before it.
constexpr bool at_or_before(sequence a, sequence b) noexcept {
  return !before(b, a);
}
/// Whether `a` is `b` or after it.
constexpr bool at_or_after(sequence a, sequence b) noexcept {
  return !before(a, b);
}
/// Whether `a` is one of the `size` numbers from `start` on.
constexpr bool in_window(sequence a, sequence start, std::uint32_t size) noexcept {
  return a.value() - start.value() < size;
}
/// The one that is not before the other.
constexpr sequence later(sequence a, sequence b) noexcept {
  return before(a, b) ? b : a;
}

}  // namespace runnel::tcp
