#include "runnel/detail/timer_wheel.hpp"

#include <algorithm>
#include <bit>

namespace runnel::detail {

void timer_wheel::link(timer& t) noexcept {
  std::uint64_t key = std::max(ticks(t.deadline_), base_);
  std::uint64_t difference = key ^ base_;
  unsigned level =
      difference == 0 ? 0 : (63 - static_cast<unsigned>(std::countl_zero(difference))) / digit_bits;
  unsigned slot = static_cast<unsigned>(key >> (level * digit_bits)) % slots;
  slots_[level][slot].push_back(t);
  used_slots_[level] |= std::uint64_t{1} << slot;
  used_levels_ |= 1u << level;
}

void timer_wheel::insert(timer& t) noexcept {
  link(t);
  next_ = std::min(next_, t.deadline_);
}

// A timer unlinks itself without telling the wheel, so the marks of slots that have become empty
// are taken away here.
bool timer_wheel::first_slot(position& out) noexcept {
  while (used_levels_ != 0) {
    auto level = static_cast<unsigned>(std::countr_zero(used_levels_));
    while (used_slots_[level] != 0) {
      auto slot = static_cast<unsigned>(std::countr_zero(used_slots_[level]));
      if (!slots_[level][slot].empty()) {
        out = {level, slot};
        return true;
      }
      used_slots_[level] &= used_slots_[level] - 1;
    }
    used_levels_ &= used_levels_ - 1;
  }
  return false;
}

std::uint64_t timer_wheel::slot_start(position p) const noexcept {
  unsigned shift = p.level * digit_bits;
  unsigned above = shift + digit_bits;
  std::uint64_t prefix = above >= 64 ? 0 : base_ >> above << above;
  return prefix | std::uint64_t{p.slot} << shift;
}

std::size_t timer_wheel::expire(time_point now) noexcept {
  if (now < next_) return 0;
  const std::uint64_t end = ticks(now);
  list<timer> due;
  position p{};
  while (first_slot(p)) {
    std::uint64_t start = slot_start(p);
    if (start > end) break;
    list<timer>& slot = slots_[p.level][p.slot];
    base_ = std::max(base_, start);
    if (p.level == 0) {
      due.splice_back(slot);
      continue;
    }
    list<timer> moved;
    moved.splice_back(slot);
    while (!moved.empty()) {
      link(moved.pop_front());
    }
  }
  // No used slot starts at or before `end`, so every timer keeps its level under the new base.
  base_ = std::max(base_, end);
  next_ = find_next();
  std::size_t count = 0;
  while (!due.empty()) {
    ++count;
    due.pop_front().on_expire();
  }
  return count;
}

time_point timer_wheel::find_next() noexcept {
  position p{};
  if (!first_slot(p)) return time_point::max();
  if (p.level == 0) return time_point{duration{static_cast<duration::rep>(slot_start(p))}};
  list<timer>& slot = slots_[p.level][p.slot];
  time_point earliest = time_point::max();
  int left = scan_limit;
  for (timer* t = &slot.front(); t != nullptr; t = slot.after(*t)) {
    if (left-- == 0) return time_point{duration{static_cast<duration::rep>(slot_start(p))}};
    earliest = std::min(earliest, t->deadline_);
  }
  return earliest;
}

std::size_t timer_wheel::count() noexcept {
  std::size_t armed = 0;
  for (auto& level : slots_) {
    for (auto& slot : level) {
      if (slot.empty()) continue;
      for (timer* t = &slot.front(); t != nullptr; t = slot.after(*t)) {
        ++armed;
      }
    }
  }
  return armed;
}

void timer_wheel::clear() noexcept {
  for (auto& level : slots_) {
    for (auto& slot : level) {
      slot.clear();
    }
  }
  next_ = time_point::max();
}

}  // namespace runnel::detail
