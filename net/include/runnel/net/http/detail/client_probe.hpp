#pragma once

#include <concepts>
#include <coroutine>
#include <utility>

#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/promise_base.hpp"

namespace runnel::http::detail {

/// Starts a leaf operation and gives it up at once when it would wait.
template <class Awaitable>
class [[nodiscard]] probe_awaiter {
 public:
  explicit probe_awaiter(Awaitable&& target)
      : target_(std::move(target)), awaiter_(runnel::detail::get_awaiter(std::move(target_))) {}
  probe_awaiter(const probe_awaiter&) = delete;
  probe_awaiter& operator=(const probe_awaiter&) = delete;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    if (awaiter_.await_ready()) {
      ready_ = true;
      return false;
    }
    // Only an operation that says whether it suspended can be asked without running anything else.
    if constexpr (std::same_as<decltype(awaiter_.await_suspend(h)), bool>) {
      ready_ = !awaiter_.await_suspend(h);
    }
    return false;
  }
  bool await_resume() const noexcept { return ready_; }

 private:
  // The destructor of a leaf that waits takes it out of every list, and nothing has run since.
  Awaitable target_;
  runnel::detail::awaiter_of<Awaitable> awaiter_;
  bool ready_ = false;
};

template <class Awaitable>
class [[nodiscard]] probe_operation {
 public:
  explicit probe_operation(Awaitable&& target) : target_(std::move(target)) {}

  probe_awaiter<Awaitable> operator co_await() && {
    return probe_awaiter<Awaitable>{std::move(target_)};
  }

 private:
  Awaitable target_;
};

/// `co_await would_not_wait(stream.readable())`: whether the leaf operation is over at once, be it
/// with an error. Never suspends. May say false though it is true: out of budget, or cancelled.
template <class Awaitable>
requires(!std::is_lvalue_reference_v<Awaitable>)
    probe_operation<Awaitable> would_not_wait(Awaitable&& target) {
  return probe_operation<Awaitable>{std::move(target)};
}

}  // namespace runnel::http::detail
