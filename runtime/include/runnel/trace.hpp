#pragma once

#include <cstdint>
#include <string_view>

#include "runnel/clock.hpp"

namespace runnel {

/// One thing that a loop did, as a `loop_observer` hears it. Nothing in it depends on where memory
/// lies, so that two simulated runs with the same seed tell the same.
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

/// Looks into a run, as tests do: hears what a loop does, in order, and may make its kernel
/// operations fail. It is called on the loop's thread, must not touch the loop, and must outlive
/// it.
class loop_observer {
 public:
  /// For each task that runs, timers that expire, and operations that start and finish.
  virtual void on_entry(const trace_entry& entry) noexcept = 0;
  /// For each kernel operation before the kernel hears of it, with its name, such as "read", and
  /// with how many were started before it. An errno value makes it fail with that in the next turn
  /// instead; 0 lets it be.
  virtual int on_operation([[maybe_unused]] std::string_view name,
                           [[maybe_unused]] std::uint64_t number) noexcept {
    return 0;
  }

 protected:
  ~loop_observer() = default;
};

}  // namespace runnel
