#pragma once

#include <coroutine>
#include <cstddef>

namespace runnel::detail {

/// The only thread_local of runnel. It holds what must be found without an argument: the free lists
/// that a promise's operator new takes from, the trampoline's slot, and how deep this thread is in
/// destroying suspended frames. It is trivial, so that reading it costs one load and no guard.
struct thread_state {
  /// Frames come in steps of this many bytes ...
  static constexpr std::size_t frame_step = 64;
  /// ... up to this many steps; larger ones go to the global allocator.
  static constexpr std::size_t frame_classes = 32;

  /// The frame that a coroutine of an unoptimised or sanitised build wants resumed next.
  std::coroutine_handle<> parked{};
  void* free_frames[frame_classes]{};
  /// Above zero while a suspended frame is being destroyed on this thread.
  int teardown_depth = 0;
  /// The thread is ending and has given its free frames back.
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
