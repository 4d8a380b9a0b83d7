#pragma once

#include <chrono>

namespace runnel {

/// A point of the monotonic clock. The pure layers are given it and never ask for it, so that they
/// run in virtual time; the only place that reads the clock is the loop's backend.
using time_point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// A span between two points.
using duration = std::chrono::nanoseconds;

}  // namespace runnel
