#pragma once

#include <cstddef>

namespace runnel::detail {

/// Takes a coroutine frame from this thread's free list of its size class, or from the global
/// allocator when the list is empty or the frame is large. Sanitised builds always use the global
/// allocator, so that a frame used after its end is found.
void* allocate_frame(std::size_t size);

/// Gives a frame of `allocate_frame(size)`, on whichever thread it was taken, to this thread's free
/// list; or to the global allocator when this thread has freed as many as it ever took.
void free_frame(void* frame, std::size_t size) noexcept;

/// From now on this thread takes every frame from the global allocator, and gives it back there, or
/// not any more. For tests that make allocations fail.
void bypass_frame_pool(bool on) noexcept;
/// What this thread's frames take.
struct frame_counts {
  std::size_t alive = 0;
  std::size_t alive_bytes = 0;
  std::size_t pooled_bytes = 0;
};
/// Walks the free lists; allocating and freeing a pooled frame counts nothing.
frame_counts count_frames() noexcept;

/// The frame canary: aborts when `frame` is not what `allocate_frame` returned, which is how g++
/// 12's misplaced promise shows (GCC 106188). A no-op where the library is built with NDEBUG.
void check_frame(const void* frame) noexcept;

}  // namespace runnel::detail
