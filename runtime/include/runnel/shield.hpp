#pragma once

#include <concepts>
#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/promise_base.hpp"

namespace runnel {

namespace detail {

template <class Awaitable>
class [[nodiscard]] shield_awaiter {
 public:
  explicit shield_awaiter(Awaitable&& target)
      : target_(std::move(target)), awaiter_(detail::get_awaiter(std::move(target_))) {}
  shield_awaiter(const shield_awaiter&) = delete;
  shield_awaiter& operator=(const shield_awaiter&) = delete;

  bool await_ready() { return awaiter_.await_ready(); }
  template <std::derived_from<promise_base> Promise>
  auto await_suspend(std::coroutine_handle<Promise> h) {
    scope_.emplace(h.promise().scope().owner());
    scope_guard guard{h.promise(), *scope_};
    return awaiter_.await_suspend(h);
  }
  await_result<Awaitable> await_resume() { return awaiter_.await_resume(); }

 private:
  // In this order: the target must be gone before the scope that it waits in.
  std::optional<cancel_scope> scope_;
  Awaitable target_;
  awaiter_of<Awaitable> awaiter_;
};

template <class Awaitable>
class [[nodiscard]] shield_operation {
 public:
  explicit shield_operation(Awaitable&& target) : target_(std::move(target)) {}
  shield_awaiter<Awaitable> operator co_await() && {
    return shield_awaiter<Awaitable>{std::move(target_)};
  }

 private:
  Awaitable target_;
};

}  // namespace detail

/// Awaits `target` in a scope of its own that nothing outside cancels, and gives what it gives: for
/// the last words of a task that was cancelled, such as a graceful close. Bound it in time:
/// `co_await shield(with_timeout(2s, stream.close()))`, or cancellation has to wait for ever.
template <class Awaitable>
requires(!std::is_lvalue_reference_v<Awaitable>) detail::shield_operation<Awaitable> shield(
    Awaitable&& target) {
  return detail::shield_operation<Awaitable>{std::move(target)};
}

}  // namespace runnel
