#pragma once

#include <coroutine>
#include <cstddef>

namespace runnel {
class loop;
}

namespace runnel::detail {

struct fiber_stack;

/// The only thread_local of runnel. It holds what must be found without an argument: the free lists
/// that a promise's operator new takes from, the trampoline's slot, how deep this thread is in
/// destroying suspended frames, and which loop it runs. It is trivial, so that reading it costs one
/// load and no guard.
struct thread_state {
  /// Frames come in steps of this many bytes ...
  static constexpr std::size_t frame_step = 64;
  /// ... up to this many steps; larger ones go to the global allocator.
  static constexpr std::size_t frame_classes = 32;

  /// The frame that a coroutine of an unoptimised or sanitised build wants resumed next.
  std::coroutine_handle<> parked{};
  void* free_frames[frame_classes]{};
  /// What was taken from the global allocator and not given back, free frames included.
  std::size_t frames_held = 0;
  std::size_t frame_bytes_held = 0;
  /// Frames of each class that this thread took and has not freed. The lists hold no more than it
  /// once had in use: what other threads took and this one frees beyond that is not hoarded.
  std::size_t frames_out[frame_classes]{};
  /// Above zero while a suspended frame is being destroyed on this thread.
  int teardown_depth = 0;
  /// The loop whose `run` this thread is in; the innermost.
  loop* running = nullptr;
  /// The stack of the fiber that runs; null outside of fibers.
  const fiber_stack* running_stack = nullptr;
  /// The alternate stack that loops of this thread have installed, and how many want it.
  void* alternate_stack = nullptr;
  int alternate_stack_users = 0;
  /// The free frames were given back, as the thread is ending or as a test wants it so, and none
  /// are kept.
  bool closed = false;
};

extern constinit thread_local thread_state this_thread;

/// Marks the time in which a suspended coroutine is destroyed with everything it owns.
class teardown_guard {
 public:
  teardown_guard() noexcept { ++this_thread.teardown_depth; }
  teardown_guard(const teardown_guard&) = delete;
  teardown_guard& operator=(const teardown_guard&) = delete;
  ~teardown_guard() { --this_thread.teardown_depth; }
};

}  // namespace runnel::detail
