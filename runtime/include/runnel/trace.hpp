#pragma once

#include <cstdint>
#include <string_view>

#include "runnel/clock.hpp"

namespace runnel {

/// One thing that a loop did, as `loop_options::trace` hears it. Nothing in it depends on where
/// memory lies, so that two simulated runs with the same seed tell the same.
struct trace_entry {
  /// What a loop does.
  enum class kind : std::uint8_t {
    resumed,   ///< A task was taken from the ready queue.
    timers,    ///< Timers expired.
    started,   ///< A kernel operation was started.
    finished,  ///< A kernel operation was finished.
  };

  /// Which of these it was.
  kind what = kind::resumed;
  /// `loop::now()`.
  time_point at{};
  /// resumed: the type of what the task waited in, as typeid gives it. started and finished: which
  /// operation, such as "read". Else empty. Valid during the call.
  std::string_view name{};
  /// resumed: its place in the ready queue, 0 for the front. timers: how many. started: the number
  /// of operations before it. finished: its result, a negative errno on failure.
  std::int64_t number = 0;
};

}  // namespace runnel
