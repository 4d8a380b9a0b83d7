#pragma once

#include <coroutine>
#include <utility>

#include "runnel/detail/thread_state.hpp"

// Returning a handle from await_suspend is a tail call only in optimised builds without sanitizers;
// everywhere else each transfer leaves stack behind, and some ten thousand synchronous completions
// in a row overflow it. Such builds park the handle and let the resumer go on with it.
#if !defined(RUNNEL_SYMMETRIC_TRANSFER)
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define RUNNEL_SYMMETRIC_TRANSFER 0
#endif
#endif
#endif
#if !defined(RUNNEL_SYMMETRIC_TRANSFER)
#if defined(__OPTIMIZE__) && defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define RUNNEL_SYMMETRIC_TRANSFER 1
#else
#define RUNNEL_SYMMETRIC_TRANSFER 0
#endif
#endif

namespace runnel::detail {

/// What await_suspend returns to make `next` run in place of the coroutine that suspends. Every
/// awaiter that resumes another coroutine goes through it.
[[gnu::always_inline]] inline std::coroutine_handle<> transfer(
    std::coroutine_handle<> next) noexcept {
#if RUNNEL_SYMMETRIC_TRANSFER
  return next;
#else
  this_thread.parked = next;
  return std::noop_coroutine();
#endif
}

/// Resumes `frame` and whatever it transfers to, until something suspends for good. It looks at the
/// slot in every build, as the coroutines may have been compiled with other flags than the library.
inline void resume(std::coroutine_handle<> frame) {
  frame.resume();
  while (this_thread.parked) {
    std::exchange(this_thread.parked, {}).resume();
  }
}

}  // namespace runnel::detail
