#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "runnel/detail/promise_base.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/detail/transfer.hpp"
#include "runnel/task.hpp"

namespace runnel::http::detail {

/// A task that runs up to its first wait as soon as it is started, and then goes on by itself while
/// its parent does something else. The parent must await `finish()` before it ends; destroying it
/// earlier destroys the task where it waits.
template <class T>
class [[nodiscard]] eager {
 public:
  class promise_type final : public runnel::detail::promise_base {
   public:
    struct final_awaiter {
      bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) const noexcept {
        return runnel::detail::transfer(h.promise().continuation_);
      }
      void await_resume() const noexcept {}
    };

    eager get_return_object() noexcept { return eager{handle_of(*this)}; }
    final_awaiter final_suspend() const noexcept { return {}; }
    void return_value(T&& value) { value_.emplace(std::move(value)); }
    void unhandled_exception() noexcept { exception_ = std::current_exception(); }

   private:
    friend class eager;

    std::coroutine_handle<> continuation_ = std::noop_coroutine();
    std::exception_ptr exception_;
    std::optional<T> value_;
  };

  eager(eager&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  eager& operator=(eager&&) = delete;
  ~eager() {
    if (!frame_) return;
    const runnel::detail::teardown_guard teardown;
    frame_.destroy();
  }

  class [[nodiscard]] start_awaiter {
   public:
    explicit start_awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<runnel::detail::promise_base> Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) const {
      frame_.promise().set_scope(parent.promise().scope());
      frame_.promise().set_parent(parent.promise());
      frame_.promise().set_glue();
      runnel::detail::resume(frame_);
      return false;
    }
    void await_resume() const noexcept {}

   private:
    std::coroutine_handle<promise_type> frame_;
  };

  class [[nodiscard]] finish_awaiter {
   public:
    explicit finish_awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    bool await_ready() const noexcept { return frame_.done(); }
    void await_suspend(std::coroutine_handle<> parent) const noexcept {
      frame_.promise().continuation_ = parent;
    }
    T await_resume() const {
      promise_type& promise = frame_.promise();
      if (promise.exception_) std::rethrow_exception(std::move(promise.exception_));
      return std::move(*promise.value_);
    }

   private:
    std::coroutine_handle<promise_type> frame_;
  };

  /// Runs it until it waits or ends. Never suspends the parent.
  start_awaiter start() const noexcept { return start_awaiter{frame_}; }
  /// Whether it has ended.
  bool done() const noexcept { return frame_.done(); }
  /// Waits for its end and gives its value, or throws its exception.
  finish_awaiter finish() const noexcept { return finish_awaiter{frame_}; }

 private:
  explicit eager(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}

  std::coroutine_handle<promise_type> frame_;
};

/// Makes `work` an eager task.
template <class T>
eager<T> run_eagerly(task<T> work) {
  task<T> body = std::move(work);
  T value = co_await std::move(body);
  co_return std::move(value);
}

}  // namespace runnel::http::detail
