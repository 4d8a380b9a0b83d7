#include "runnel/detail/frame_pool.hpp"

#include <algorithm>
#include <cstdint>
#include <new>

#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUNNEL_POOL_OFF 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_POOL_OFF 1
#endif

namespace runnel::detail {

constinit thread_local thread_state this_thread;

namespace {

#if defined(RUNNEL_POOL_OFF)
constexpr bool pooled = false;
#else
constexpr bool pooled = true;
#endif

#ifdef NDEBUG
constexpr bool canary = false;
#else
constexpr bool canary = true;
#endif

// In front of each frame in debug builds; 16 bytes keep the frame's alignment.
struct frame_mark {
  static constexpr std::uint64_t alive = 0x72756e6e656c2e66;
  std::uint64_t state;
  std::uint64_t magic;
};

constexpr std::size_t mark_size = canary ? sizeof(frame_mark) : 0;

frame_mark* mark_of(void* frame) noexcept {
  return static_cast<frame_mark*>(frame) - 1;
}

void* take_memory(std::size_t size) {
  void* block = ::operator new(size);
  ++this_thread.frames_held;
  this_thread.frame_bytes_held += size;
  return block;
}

void return_memory(void* block, std::size_t size) noexcept {
  ::operator delete(block);
  // It may have been another thread's.
  if (this_thread.frames_held > 0) --this_thread.frames_held;
  this_thread.frame_bytes_held -= std::min(size, this_thread.frame_bytes_held);
}

void close_pool() noexcept {
  this_thread.closed = true;
  for (std::size_t i = 0; i < thread_state::frame_classes; ++i) {
    void*& head = this_thread.free_frames[i];
    while (head != nullptr) {
      void* next = *static_cast<void**>(head);
      return_memory(head, (i + 1) * thread_state::frame_step);
      head = next;
    }
  }
}

// Its destructor gives this thread's frames back when the thread ends. It is touched only where the
// pool is empty, so the fast path has no initialisation guard.
struct pool_closer {
  bool armed = false;
  ~pool_closer() { close_pool(); }
};

void* allocate_new(std::size_t size) {
  static thread_local pool_closer closer;
  closer.armed = true;
  return take_memory(size);
}

std::size_t class_of(std::size_t size) noexcept {
  return (size + thread_state::frame_step - 1) / thread_state::frame_step - 1;
}

void* allocate_block(std::size_t size) {
  std::size_t index = class_of(size);
  if (!pooled || index >= thread_state::frame_classes) return take_memory(size);
  void*& head = this_thread.free_frames[index];
  void* block = head;
  if (block == nullptr) {
    block = allocate_new((index + 1) * thread_state::frame_step);
  } else {
    head = *static_cast<void**>(block);
  }
  ++this_thread.frames_out[index];
  return block;
}

void free_block(void* block, std::size_t size) noexcept {
  std::size_t index = class_of(size);
  if (!pooled || index >= thread_state::frame_classes || this_thread.closed ||
      this_thread.frames_out[index] == 0) {
    return_memory(block, index < thread_state::frame_classes && pooled
                             ? (index + 1) * thread_state::frame_step
                             : size);
    return;
  }
  --this_thread.frames_out[index];
  void*& head = this_thread.free_frames[index];
  *static_cast<void**>(block) = head;
  head = block;
}

}  // namespace

void* allocate_frame(std::size_t size) {
  void* block = allocate_block(size + mark_size);
  if constexpr (!canary) return block;
  auto* mark = new (block) frame_mark{0, frame_mark::alive};
  return mark + 1;
}

void free_frame(void* frame, std::size_t size) noexcept {
  void* block = frame;
  if constexpr (canary) {
    frame_mark* mark = mark_of(frame);
    check(
        mark->magic == frame_mark::alive,
        "runnel: a coroutine frame was freed twice or overwritten; see docs on g++ 12's coroutine "
        "hazards.");
    mark->magic = 0;
    block = mark;
  }
  free_block(block, size + mark_size);
}

void bypass_frame_pool(bool on) noexcept {
  if (on) {
    close_pool();
  } else {
    this_thread.closed = false;
  }
}

frame_counts count_frames() noexcept {
  std::size_t idle = 0;
  std::size_t idle_bytes = 0;
  for (std::size_t i = 0; i < thread_state::frame_classes; ++i) {
    for (void* at = this_thread.free_frames[i]; at != nullptr; at = *static_cast<void**>(at)) {
      ++idle;
      idle_bytes += (i + 1) * thread_state::frame_step;
    }
  }
  // Frames that this thread took and another one freed, or the other way round, are in neither.
  const auto less = [](std::size_t a, std::size_t b) { return a > b ? a - b : 0; };
  return {less(this_thread.frames_held, idle), less(this_thread.frame_bytes_held, idle_bytes),
          idle_bytes};
}

void check_frame(const void* frame) noexcept {
  if constexpr (canary) {
    check(
        mark_of(const_cast<void*>(frame))->magic == frame_mark::alive,
        "runnel: the compiler misplaced a coroutine's promise (GCC 106188): in that coroutine, "
        "move "
        "each co_await out of the condition of an if, while, for or switch into a named variable.");
  }
}

}  // namespace runnel::detail
