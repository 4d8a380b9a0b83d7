#pragma once

#include <type_traits>
#include <utility>

#include "runnel/detail/remote_operation.hpp"
#include "runnel/remote.hpp"
#include "runnel/task.hpp"

namespace runnel {

namespace detail {

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

}  // namespace detail

/// Runs `fn()`, or `fn(loop&)`, on the loop of `there`, in phase 4 of a turn, and gives its value
/// here: `co_await call(there, fn)` is a `result<T>`, or fn's own where it gives a result. What fn
/// throws is thrown here. The value is moved, never copied, and destroyed on this loop.
///
/// Cancelled before fn was begun: fn is taken back, so that it never runs, and it gives
/// `errc::cancelled` at once. Later it completes only when fn has ended, with its value: what was
/// lent to fn by reference is this task's own again when the await is over. A frame that is
/// destroyed while it awaits waits for nothing: then fn must refer only to what outlives it.
///
/// `errc::loop_ended` when that loop has ended, or ends before it comes to fn;
/// `errc::not_supported` where one of the two is simulated, unless both are the same loop.
///
/// Costs one block of the frame pool and two letters, with a wake-up each where the loop that gets
/// it sleeps (see `loop_remote::post`). A function with captures that have destructors is named
/// first and moved in, as g++ 12 destroys it twice when it is written inside the co_await.
template <class Fn>
requires(!detail::is_task<detail::remote_call_result<std::decay_t<Fn>>>) auto call(
    const loop_remote& there, Fn&& fn) {
  using function = std::decay_t<Fn>;
  using value = detail::remote_call_result<function>;
  static_assert(!std::is_reference_v<value>,
                "call: the function's value travels to another thread; return it by value");
  return detail::remote_awaiter<value>{
      *new detail::call_operation<function, value>(there, std::forward<Fn>(fn))};
}

/// Runs a coroutine on the loop of `there` as a child of the awaiting task: calls `make()`, or
/// `make(loop&)`, there, awaits the `task<T>` that it returns, and gives its value here as
/// `result<T>`, or the task's own result. What it throws is thrown here. `make` lives until the
/// task is done, so the task may use its captures.
///
/// Cancellation goes across: the child's scope there is cancelled, and this completes when the
/// child has ended, with what it gives. Before it was begun it is taken back, as with `call`. When
/// the awaiting frame is destroyed the child is cancelled and its outcome dropped.
///
/// The child also ends with its loop: `loop::root_scope()` cancelled cancels it, and when the loop
/// is destroyed so is the child, and this gives `errc::loop_ended`. What the child uses must
/// outlive its loop or be kept by the child itself.
///
/// Errors as `call`. Costs one block and two frames of the pool, and two letters.
template <class Fn>
requires detail::is_task<detail::remote_call_result<std::decay_t<Fn>>>
auto run_on(const loop_remote& there, Fn&& make) {
  using function = std::decay_t<Fn>;
  using value = typename detail::remote_call_result<function>::value_type;
  static_assert(!std::is_reference_v<value>,
                "run_on: the task's value travels to another thread; return it by value");
  return detail::remote_awaiter<value>{
      *new detail::child_operation<function, value>(there, std::forward<Fn>(make))};
}

}  // namespace runnel
