#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/detail/transfer.hpp"

namespace runnel {

template <class T = void>
class task;

namespace detail {

class task_promise_base : public promise_base {
 public:
  template <std::derived_from<promise_base> Promise>
  void set_continuation(std::coroutine_handle<Promise> continuation) noexcept {
    set_parent(continuation.promise());
    continuation_ = continuation;
  }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<task_promise_base> Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) const noexcept {
      return transfer(h.promise().continuation_);
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }

 private:
  std::coroutine_handle<> continuation_ = std::noop_coroutine();
};

template <class T>
class task_promise final : public task_promise_base {
 public:
  using stored = std::conditional_t<std::is_reference_v<T>, std::remove_reference_t<T>*, T>;

  task_promise() noexcept {}
  ~task_promise() {
    if (state_ == state::value) std::destroy_at(std::addressof(value_));
    if (state_ == state::exception) std::destroy_at(std::addressof(exception_));
  }
  task_promise(const task_promise&) = delete;
  task_promise& operator=(const task_promise&) = delete;

  task<T> get_return_object() noexcept;

  template <std::convertible_to<T> U = T>
  void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>) {
    if constexpr (std::is_reference_v<T>) {
      std::construct_at(std::addressof(value_), std::addressof(value));
    } else {
      std::construct_at(std::addressof(value_), std::forward<U>(value));
    }
    state_ = state::value;
  }
  void unhandled_exception() noexcept {
    std::construct_at(std::addressof(exception_), std::current_exception());
    state_ = state::exception;
  }

  T take() {
    if (state_ == state::exception) std::rethrow_exception(std::move(exception_));
    if constexpr (std::is_reference_v<T>) {
      return static_cast<T>(*value_);
    } else {
      return std::move(value_);
    }
  }

 private:
  enum class state : unsigned char { empty, value, exception };

  union {
    stored value_;
    std::exception_ptr exception_;
  };
  state state_ = state::empty;
};

template <>
class task_promise<void> final : public task_promise_base {
 public:
  task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
  void take() {
    if (exception_) std::rethrow_exception(std::move(exception_));
  }

 private:
  std::exception_ptr exception_;
};

template <class T>
class [[nodiscard]] task_awaiter {
 public:
  explicit task_awaiter(std::coroutine_handle<task_promise<T>> child) noexcept : child_(child) {}

  bool await_ready() const noexcept {
    check(child_ != nullptr,
          "runnel: co_await on a task that was moved from; await each task once.");
    return false;
  }
  template <std::derived_from<promise_base> Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
    child_.promise().set_scope(parent.promise().scope());
    child_.promise().set_continuation(parent);
    return transfer(child_);
  }
  T await_resume() const { return child_.promise().take(); }

 private:
  std::coroutine_handle<task_promise<T>> child_;
};

}  // namespace detail

/// A coroutine that has not run yet. It runs when it is awaited, given to `loop::run` or spawned in
/// a `task_group`, and then inherits its cancel scope and its loop from there: starting and
/// finishing it costs a pooled frame and two switches, and neither goes through the ready queue.
///
/// `co_await std::move(t)`, or `co_await f()`, gives the T and passes an exception through. Await a
/// task once. It owns its frame: destroying a task that is suspended destroys the frame and all
/// that it awaits, at any suspension point, without running the rest of its body.
///
/// What is passed by reference must outlive the task. A lambda's captures live in the lambda, not
/// in the frame, so coroutines are functions or captureless lambdas with parameters.
template <class T>
class [[nodiscard]] task {
 public:
  using promise_type = detail::task_promise<T>;
  /// What awaiting it gives.
  using value_type = T;

  /// An empty task, which may only be assigned to.
  task() noexcept = default;
  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      reset();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  ~task() { reset(); }

  /// Whether there is a frame: false after a move.
  explicit operator bool() const noexcept { return frame_ != nullptr; }
  /// Whether it ran to its end.
  bool done() const noexcept { return frame_ && frame_.done(); }

  /// Runs it; the awaiting coroutine goes on when it is done.
  detail::task_awaiter<T> operator co_await() && noexcept {
    return detail::task_awaiter<T>{frame_};
  }

 private:
  friend class loop;
  friend class detail::task_promise<T>;

  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  void reset() noexcept {
    if (!frame_) return;
    if (frame_.done()) {
      frame_.destroy();
    } else {
      detail::teardown_guard teardown;
      frame_.destroy();
    }
    frame_ = nullptr;
  }

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>{handle_of(*this)};
}

inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>{handle_of(*this)};
}

/// Gives something of the awaiting coroutine's context without suspending it.
template <class T, T (*Get)(cancel_scope&)>
class [[nodiscard]] context_awaiter {
 public:
  context_awaiter() noexcept {}
  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    scope_ = &h.promise().scope();
    return false;
  }
  T await_resume() const noexcept { return Get(*scope_); }

 private:
  cancel_scope* scope_ = nullptr;
};

inline loop& owner_of(cancel_scope& scope) {
  return scope.owner();
}
inline cancel_scope& itself(cancel_scope& scope) {
  return scope;
}

}  // namespace detail

/// `co_await this_loop()` gives the loop that runs the awaiting task. Never suspends.
inline auto this_loop() noexcept {
  return detail::context_awaiter<loop&, detail::owner_of>{};
}

/// `co_await this_scope()` gives the cancel scope of the awaiting task. Never suspends.
inline auto this_scope() noexcept {
  return detail::context_awaiter<cancel_scope&, detail::itself>{};
}

}  // namespace runnel
