#pragma once

#include <concepts>
#include <coroutine>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/detail/promise_base.hpp"

namespace runnel {

/// The base of every leaf awaiter: it remembers which coroutine waits, sits in the cancel scope of
/// that coroutine, and makes it ready. No allocation, 48 bytes. A fiber waits through the coroutine
/// that drives it, so a leaf never knows the difference.
///
/// A leaf's `await_suspend(h)` calls `suspend(h)`, then `if (cancelled())` stores the error and
/// calls `wake()`, else starts its operation. A leaf that may be ready at once calls
/// `suspend_unless`.
///
/// Its destructor unlinks it from the scope and from the ready queue, so that a frame may be
/// destroyed at any suspension point; a derived class must unlink itself from its own wait list
/// (a `detail::tagged_hook` base does so by itself).
class waiter : private detail::list_hook {
 public:
  /// Only a waiter that has not suspended may be moved.
  waiter(waiter&& other) noexcept;
  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;

  /// Makes the coroutine ready: it runs in phase 4 of a turn, never from inside this call. Does
  /// nothing unless it is suspended and not yet woken, so it may be called twice.
  void wake() noexcept;

  /// True from `suspend` until `wake`.
  bool waiting() const noexcept { return state_ == state::waiting; }

 protected:
  waiter() noexcept = default;
  virtual ~waiter() = default;

  /// Remembers who waits and links itself in the cancel scope of that coroutine.
  template <std::derived_from<detail::promise_base> Promise>
  void suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend_in(h.promise().scope(), h);
  }

  /// For a leaf whose value may be there already: returns false when the coroutine may simply go
  /// on, which spends one unit of the task's budget. Otherwise suspends and returns true; when it
  /// was ready but out of budget, or the scope is cancelled, it is woken already.
  template <std::derived_from<detail::promise_base> Promise>
  bool suspend_unless(std::coroutine_handle<Promise> h, bool ready) noexcept {
    if (ready && take_budget(h.promise().scope())) return false;
    suspend_in(h.promise().scope(), h);
    if (ready || cancelled()) wake();
    return true;
  }

  /// The scope was cancelled while this waits. Must lead to `wake()`, now or when the kernel has
  /// let go of the buffer. Runs no user code. Called at most once per suspension.
  virtual void on_cancel() noexcept = 0;

  /// Whether the scope is already cancelled; valid after `suspend`.
  bool cancelled() const noexcept { return scope_->cancelled(); }

  /// The loop that will resume this; valid after `suspend`.
  loop& owner() const noexcept { return scope_->owner(); }

 private:
  friend class cancel_scope;
  friend class loop;
  friend class detail::list<waiter>;
  friend struct detail::starter_access;

  enum class state : unsigned char { idle, waiting, ready };

  void suspend_in(cancel_scope& scope, std::coroutine_handle<> h) noexcept {
    handle_ = h;
    scope_ = &scope;
    state_ = state::waiting;
    scope.waiting_.push_back(*this);
  }
  static bool take_budget(cancel_scope& scope) noexcept;

  std::coroutine_handle<> handle_{};
  cancel_scope* scope_ = nullptr;
  state state_ = state::idle;
};

namespace detail {

/// Puts a coroutine that has not run yet on the ready queue.
class starter final : public waiter {
 public:
  void start(cancel_scope& scope, std::coroutine_handle<> h) noexcept;

 private:
  void on_cancel() noexcept override { wake(); }
};

struct starter_access {
  static void suspend_in(waiter& w, cancel_scope& scope, std::coroutine_handle<> h) noexcept {
    w.suspend_in(scope, h);
  }
};

inline void starter::start(cancel_scope& scope, std::coroutine_handle<> h) noexcept {
  starter_access::suspend_in(*this, scope, h);
  wake();
}

}  // namespace detail
}  // namespace runnel
