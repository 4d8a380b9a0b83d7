#pragma once

#include <cstdint>

namespace runnel::tcp::detail {

/// The largest value of the last `window` rounds, in constant memory: the best, and the best of
/// what came after each (Linux's lib/win_minmax.c). Values that have left the window go within a
/// quarter of it. Rounds are a counter that may wrap.
class windowed_max {
 public:
  std::uint32_t best() const noexcept { return entries_[0].value; }

  void add(std::uint32_t value, std::uint32_t round, std::uint32_t window) noexcept {
    const entry fresh{value, round};
    entry& best = entries_[0];
    entry& second = entries_[1];
    entry& third = entries_[2];
    if (value >= best.value || round - third.round > window) {
      best = second = third = fresh;
      return;
    }
    if (value >= second.value) {
      second = third = fresh;
    } else if (value >= third.value) {
      third = fresh;
    }
    const std::uint32_t age = round - best.round;
    if (age > window) {
      best = second;
      second = third;
      third = fresh;
      if (round - best.round > window) {
        best = second;
        second = third;
      }
    } else if (second.round == best.round && age > window / 4) {
      second = third = fresh;
    } else if (third.round == second.round && age > window / 2) {
      third = fresh;
    }
  }

 private:
  struct entry {
    std::uint32_t value = 0;
    std::uint32_t round = 0;
  };
  entry entries_[3];
};

}  // namespace runnel::tcp::detail
