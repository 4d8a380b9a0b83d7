#pragma once

#include <cstddef>
#include <iosfwd>

#include "runnel/loop.hpp"

namespace runnel {

/// What a loop holds at this moment.
struct loop_gauges {
  std::size_t waiting = 0;       ///< Tasks that wait.
  std::size_t ready = 0;         ///< Tasks that are ready to run.
  std::size_t timers = 0;        ///< Timers that are armed.
  std::size_t operations = 0;    ///< Kernel operations in flight.
  std::size_t buffers = 0;       ///< Operations, in flight or idle, that hold a buffer of 64 KiB.
  std::size_t frames = 0;        ///< Coroutine frames alive on this thread.
  std::size_t frame_bytes = 0;   ///< What they take, rounded up to the pool's sizes.
  std::size_t pooled_bytes = 0;  ///< What the thread's frame pool keeps for the next ones.
};

/// Counts what `owner` holds, by walking its lists: nothing keeps these numbers while the loop
/// runs. On the loop's thread. Frames are the thread's: those of all its loops, and one that ended
/// on another thread than it began on counts on both.
loop_gauges gauges_of(loop& owner);

/// Prints `loop::metrics()` and `gauges_of` as a table, one number a line. On the loop's thread.
void print_metrics(loop& owner, std::ostream& out);

}  // namespace runnel
