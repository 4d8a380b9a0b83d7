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
  constexpr explicit sequence(std::uint32_t value) noexcept : value_(value) {}

  constexpr std::uint32_t value() const noexcept { return value_; }

  friend constexpr sequence operator+(sequence a, std::uint32_t n) noexcept {
    return sequence(a.value_ + n);
  }
  friend constexpr sequence operator-(sequence a, std::uint32_t n) noexcept {
    return sequence(a.value_ - n);
  }
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
constexpr bool before(sequence a, sequence b) noexcept {
  return static_cast<std::int32_t>(a.value() - b.value()) < 0;
}
constexpr bool after(sequence a, sequence b) noexcept {
  return before(b, a);
}
constexpr bool at_or_before(sequence a, sequence b) noexcept {
  return !before(b, a);
}
constexpr bool at_or_after(sequence a, sequence b) noexcept {
  return !before(a, b);
}
/// Whether `a` is one of the `size` numbers from `start` on.
constexpr bool in_window(sequence a, sequence start, std::uint32_t size) noexcept {
  return a.value() - start.value() < size;
}
constexpr sequence later(sequence a, sequence b) noexcept {
  return before(a, b) ? b : a;
}

}  // namespace runnel::tcp
