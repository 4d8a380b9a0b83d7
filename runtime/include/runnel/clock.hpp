#pragma once

#include <chrono>

namespace runnel {

/// A point of the monotonic clock, in nanoseconds. Inside a turn of the loop it stands still: ask
/// `loop::now()`, never the system. `time_point::max()` means "never".
using time_point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// A span between two points. May be negative.
using duration = std::chrono::nanoseconds;

/// `now + d`, held at `time_point::max()` where the sum does not fit.
constexpr time_point after(time_point now, duration d) noexcept {
  if (d > duration::zero() && now.time_since_epoch() > duration::max() - d) {
    return time_point::max();
  }
  return now + d;
}

}  // namespace runnel
