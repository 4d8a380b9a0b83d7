#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/loop.hpp"
#include "runnel/task.hpp"

namespace runnel {

class fiber;

/// How a fiber is made.
struct fiber_options {
  /// Bytes of stack, rounded up to whole pages. Only pages that are touched take memory. Stacks of
  /// the default size are pooled by the loop. Below come 64 KiB that cannot be touched, so that
  /// running over the end is a crash and not silent damage, and with
  /// `loop_options::report_fiber_overflow` a crash that says so. Functions with larger frames than
  /// that must be compiled with -fstack-clash-protection.
  std::size_t stack_size = 256 * 1024;
};

namespace detail {

class fiber_stack_pool;
struct fiber_switch;
using fiber_entry = void (*)(fiber&, void* call);

/// Thrown out of fiber::await when the fiber is destroyed while it waits.
struct fiber_unwind {};

task<> drive_fiber(fiber_entry entry, void* call, std::size_t stack_size);
class fiber_step;

}  // namespace detail

/// Code with a stack of its own that waits by calling a function. It is given to the body by
/// `run_fiber`, so only code that was handed this reference can wait; it must not be used outside
/// the body.
class fiber {
 public:
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// What `co_await awaitable` does in a coroutine: waits for a task or any awaitable of runnel,
  /// and gives its value or throws its exception. Cancellation reaches it as it reaches a task.
  /// When the fiber itself is destroyed while it waits, this throws something that is not a
  /// std::exception, so that the stack unwinds: let it pass. `where` is for `dump_tasks`.
  template <class Awaitable>
  detail::await_result<Awaitable> await(
      Awaitable&& awaitable, std::source_location where = std::source_location::current()) {
    decltype(auto) awaiter = detail::get_awaiter(std::forward<Awaitable>(awaitable));
    check_running();
    driver_.promise().set_where(where);
    if (!awaiter.await_ready()) {
      using suspended = decltype(awaiter.await_suspend(driver_));
      if constexpr (std::is_void_v<suspended>) {
        awaiter.await_suspend(driver_);
        switch_out(std::noop_coroutine());
      } else if constexpr (std::is_same_v<suspended, bool>) {
        bool waits = awaiter.await_suspend(driver_);
        if (waits) switch_out(std::noop_coroutine());
      } else {
        switch_out(awaiter.await_suspend(driver_));
      }
    }
    return awaiter.await_resume();
  }

  /// The loop it runs on.
  loop& owner() const noexcept { return scope().owner(); }
  /// The scope it runs in.
  cancel_scope& scope() const noexcept { return driver_.promise().scope(); }

 private:
  friend task<> detail::drive_fiber(detail::fiber_entry, void*, std::size_t);
  friend class detail::fiber_step;
  friend struct detail::fiber_switch;
  using driver_handle = std::coroutine_handle<detail::task_promise<void>>;

  fiber(std::shared_ptr<detail::fiber_stack_pool> stacks, detail::fiber_entry entry, void* call,
        std::size_t stack_size);
  ~fiber();

  void check_running() const;
  void switch_out(std::coroutine_handle<> next);
  std::coroutine_handle<> switch_in(driver_handle driver) noexcept;

  driver_handle driver_;
  std::coroutine_handle<> next_;
  std::unique_ptr<detail::fiber_switch> switch_;
};

namespace detail {

template <class Body, class R>
class fiber_call {
 public:
  explicit fiber_call(Body&& body) : body_(std::move(body)) {}

  static void enter(fiber& self, void* call) {
    auto& me = *static_cast<fiber_call*>(call);
    try {
      if constexpr (std::is_void_v<R>) {
        me.body_(self);
      } else {
        me.value_.emplace(me.body_(self));
      }
    } catch (const fiber_unwind&) {
      return;
    } catch (...) {
      me.exception_ = std::current_exception();
    }
  }

  R take() {
    if (exception_) std::rethrow_exception(std::move(exception_));
    if constexpr (!std::is_void_v<R>) return std::move(*value_);
  }

 private:
  struct nothing {};

  Body body_;
  std::exception_ptr exception_;
  std::optional<std::conditional_t<std::is_void_v<R>, nothing, R>> value_;
};

}  // namespace detail

/// A task that runs `body(fiber&)` on a stack of its own and gives what it returns, by value, or
/// throws what it throws. As any task it is lazy, inherits scope and loop, and may be awaited,
/// spawned in a task_group or given a deadline. `body` is moved into the task's frame; it is not a
/// coroutine, so it may capture.
///
/// Costs a stack from the loop's pool and two frames; a switch in and out costs some tens of
/// nanoseconds. Each fiber keeps its own state of exceptions being handled, so waiting inside a
/// catch block is safe. Destroyed while it waits, its stack is unwound.
template <class Body>
task<std::invoke_result_t<Body&, fiber&>> run_fiber(Body body, fiber_options options = {}) {
  using value = std::invoke_result_t<Body&, fiber&>;
  detail::fiber_call<Body, value> call(std::move(body));
  co_await detail::drive_fiber(&detail::fiber_call<Body, value>::enter, &call, options.stack_size);
  co_return call.take();
}

}  // namespace runnel
