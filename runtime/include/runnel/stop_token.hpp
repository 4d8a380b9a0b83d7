#pragma once

#include <concepts>
#include <coroutine>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/mailbox.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/remote.hpp"

namespace runnel {

namespace detail {

class stop_letter;

/// Carries a stop request from the thread that makes it to the scope, which belongs to a loop. The
/// letter is a block of its own, as it may still be under way when the scope is gone.
class stop_link {
 public:
  stop_link() noexcept = default;
  stop_link(const stop_link&) = delete;
  stop_link& operator=(const stop_link&) = delete;
  ~stop_link();

  /// Cancels `scope` when `token` is asked to stop; at once when it already was.
  void connect(const std::stop_token& token, cancel_scope& scope);

 private:
  struct sender {
    stop_letter* letter;
    void operator()() const noexcept;
  };

  stop_letter* letter_ = nullptr;
  std::optional<std::stop_callback<sender>> callback_;
};

template <class Awaitable>
class [[nodiscard]] stop_awaiter {
 public:
  stop_awaiter(std::stop_token&& token, Awaitable&& target)
      : token_(std::move(token)),
        target_(std::move(target)),
        awaiter_(detail::get_awaiter(std::move(target_))) {}
  stop_awaiter(const stop_awaiter&) = delete;
  stop_awaiter& operator=(const stop_awaiter&) = delete;

  bool await_ready() { return awaiter_.await_ready(); }
  template <std::derived_from<promise_base> Promise>
  auto await_suspend(std::coroutine_handle<Promise> h) {
    scope_.emplace(h.promise().scope());
    link_.emplace();
    link_->connect(token_, *scope_);
    scope_guard guard{h.promise(), *scope_};
    return awaiter_.await_suspend(h);
  }
  await_result<Awaitable> await_resume() {
    link_.reset();
    return awaiter_.await_resume();
  }

 private:
  // In this order: the target must be gone before the scope that it waits in, and nobody may cancel
  // the scope once it is gone.
  std::stop_token token_;
  std::optional<cancel_scope> scope_;
  std::optional<stop_link> link_;
  Awaitable target_;
  awaiter_of<Awaitable> awaiter_;
};

template <class Awaitable>
class [[nodiscard]] stop_operation {
 public:
  stop_operation(std::stop_token&& token, Awaitable&& target)
      : token_(std::move(token)), target_(std::move(target)) {}

  stop_awaiter<Awaitable> operator co_await() && { return {std::move(token_), std::move(target_)}; }

 private:
  std::stop_token token_;
  Awaitable target_;
};

}  // namespace detail

/// Awaits `target`, and cancels it when `token` is asked to stop, by any thread; gives what the
/// target gives, which is `errc::cancelled` for what was stopped in time. The request travels
/// through the loop's mailbox, so the target is cancelled on its own loop, in phase 4 of a turn; a
/// token that was asked before is heard at once. What is ready at once does not look at the token.
///
/// Inside runnel cancellation is a scope's; this is for the border to code that speaks
/// std::stop_token. Costs a registration in the token's state, which is shared among threads and
/// locked for a moment, and one block of the frame pool; nothing where no stop is possible. A
/// simulated loop hears only requests from its own thread. Throws `startup_error` where the kernel
/// refuses the loop its mailbox.
template <class Awaitable>
requires(!std::is_lvalue_reference_v<Awaitable>) detail::stop_operation<Awaitable> with_stop_token(
    std::stop_token token, Awaitable&& target) {
  return {std::move(token), std::move(target)};
}

}  // namespace runnel
