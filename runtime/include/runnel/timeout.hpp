#pragma once

#include <concepts>
#include <coroutine>
#include <optional>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/timer.hpp"

namespace runnel {

namespace detail {

template <class T>
using as_result = std::conditional_t<is_result<T>, T, result<T>>;

// The scope that a deadline cancels. It exists while the target is awaited.
class deadline_scope final : public timer {
 public:
  deadline_scope(cancel_scope& parent, time_point deadline) noexcept
      : timer(parent.owner()), scope_(parent) {
    arm(deadline);
  }
  cancel_scope& scope() noexcept { return scope_; }
  bool expired() const noexcept { return expired_; }

 private:
  void on_expire() noexcept override {
    if (scope_.cancelled()) return;
    expired_ = true;
    scope_.cancel();
  }

  cancel_scope scope_;
  bool expired_ = false;
};

template <class Awaitable>
class [[nodiscard]] timeout_awaiter {
 public:
  timeout_awaiter(time_point deadline, duration length, Awaitable&& target)
      : deadline_(deadline),
        length_(length),
        target_(std::move(target)),
        awaiter_(detail::get_awaiter(std::move(target_))) {}
  timeout_awaiter(const timeout_awaiter&) = delete;
  timeout_awaiter& operator=(const timeout_awaiter&) = delete;

  bool await_ready() { return awaiter_.await_ready(); }

  template <std::derived_from<promise_base> Promise>
  auto await_suspend(std::coroutine_handle<Promise> h) {
    cancel_scope& outer = h.promise().scope();
    time_point now = outer.owner().now();
    limit_.emplace(outer, length_ == duration::max() ? deadline_ : after(now, length_));
    scope_guard guard{h.promise(), limit_->scope()};
    return awaiter_.await_suspend(h);
  }

  as_result<await_result<Awaitable>> await_resume() {
    using value = await_result<Awaitable>;
    bool expired = limit_ && limit_->expired();
    if (limit_) limit_->cancel();
    if constexpr (is_result<value>) {
      value outcome = awaiter_.await_resume();
      if (expired && outcome.has_error() && outcome.error() == errc::cancelled) {
        // In place, as what is in a result may be made from an error too.
        return value(boost::system::in_place_error, errc::deadline_exceeded);
      }
      return outcome;
    } else if constexpr (std::is_void_v<value>) {
      awaiter_.await_resume();
      if (expired) return errc::deadline_exceeded;
      return {};
    } else {
      result<value> outcome(boost::system::in_place_value, awaiter_.await_resume());
      if (expired) return {boost::system::in_place_error, errc::deadline_exceeded};
      return outcome;
    }
  }

 private:
  // In this order: the target must be gone before the scope that it waits in.
  time_point deadline_;
  duration length_;
  std::optional<deadline_scope> limit_;
  Awaitable target_;
  awaiter_of<Awaitable> awaiter_;
};

template <class Awaitable>
class [[nodiscard]] timeout_operation {
 public:
  timeout_operation(time_point deadline, duration length, Awaitable&& target)
      : deadline_(deadline), length_(length), target_(std::move(target)) {}

  timeout_awaiter<Awaitable> operator co_await() && {
    return {deadline_, length_, std::move(target_)};
  }

 private:
  time_point deadline_;
  duration length_;
  Awaitable target_;
};

}  // namespace detail

/// Awaits `target`, but no longer than until `loop::now()` reaches `deadline`. Gives the target's
/// own `result<T>`, or a `result<T>` where the target gives a plain T.
///
/// When the deadline passes the target is cancelled *and awaited*, so nothing of it is left when
/// this returns. A target that ends with a value anyway keeps it; one that ends with
/// `errc::cancelled` gives `errc::deadline_exceeded`; one that gives no result cannot say which it
/// was and counts as late. Cancellation from outside stays `errc::cancelled`. What is ready at once
/// does not look at the clock. The target is moved into the awaiting frame: no allocation, no
/// frame, one timer.
template <class Awaitable>
requires(!std::is_lvalue_reference_v<Awaitable>) detail::timeout_operation<Awaitable> with_deadline(
    time_point deadline, Awaitable&& target) {
  return {deadline, duration::max(), std::move(target)};
}

/// `with_deadline` of `d` from the moment it is awaited.
template <class Awaitable>
requires(!std::is_lvalue_reference_v<Awaitable>) detail::timeout_operation<Awaitable> with_timeout(
    duration d, Awaitable&& target) {
  return {time_point::max(), d, std::move(target)};
}

}  // namespace runnel
