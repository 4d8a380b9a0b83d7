#pragma once

#include <coroutine>
#include <cstddef>

#include "runnel/detail/frame_pool.hpp"

namespace runnel {
class cancel_scope;
}

namespace runnel::detail {

struct starter_access;

/// The base of the promise of every coroutine of runnel: frames from the pool, and the context that
/// a coroutine inherits from the one that awaits it, which is its cancel scope and through it the
/// loop. It is set when the coroutine is started.
class promise_base {
 public:
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  cancel_scope& scope() const noexcept { return *scope_; }
  void set_scope(cancel_scope& scope) noexcept { scope_ = &scope; }

 protected:
  promise_base() noexcept = default;

  /// The handle of `promise`, checked by the frame canary.
  template <class Promise>
  static std::coroutine_handle<Promise> handle_of(Promise& promise) noexcept {
    auto handle = std::coroutine_handle<Promise>::from_promise(promise);
#ifndef NDEBUG
    check_frame(handle.address());
#endif
    return handle;
  }

 private:
  cancel_scope* scope_ = nullptr;
};

}  // namespace runnel::detail
