#pragma once

#include "runnel/detail/list.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/waiter.hpp"

namespace runnel {

class event;

namespace detail {

struct event_tag;

class [[nodiscard]] event_awaiter final : public waiter, private tagged_hook<event_tag> {
 public:
  explicit event_awaiter(event& source) noexcept : source_(&source) {}
  event_awaiter(event_awaiter&&) noexcept = default;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept;
  result<void> await_resume() const noexcept {
    if (cancelled_) return errc::cancelled;
    return {};
  }

 private:
  friend class runnel::event;
  friend class list<event_awaiter, tagged_hook<event_tag>>;

  void on_cancel() noexcept override {
    cancelled_ = true;
    tagged_hook<event_tag>::unlink();
    wake();
  }

  event* source_;
  bool cancelled_ = false;
};

}  // namespace detail

/// A flag that tasks wait for. Starts unset, stays set until `reset`. For the tasks of one loop.
class event {
 public:
  event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;
  /// Nobody may wait for it any more; this is checked.
  ~event() {
    detail::check(waiting_.empty() || detail::this_thread.teardown_depth > 0,
                  "runnel: an event was destroyed while a task waits for it; keep it alive until "
                  "its waiters are done.");
  }

  /// Makes every waiting task ready, in the order they came. They go on in phase 4.
  void set() noexcept {
    set_ = true;
    while (!waiting_.empty()) {
      waiting_.pop_front().wake();
    }
  }
  /// Later waiters wait again. Those already woken still go on.
  void reset() noexcept { set_ = false; }
  /// Whether it is set.
  bool is_set() const noexcept { return set_; }

  /// Waits until it is set; at once when it is. Gives `result<void>`: `errc::cancelled` when the
  /// scope is cancelled first. The event must outlive the wait.
  detail::event_awaiter wait() noexcept { return detail::event_awaiter{*this}; }

 private:
  friend class detail::event_awaiter;

  bool set_ = false;
  detail::list<detail::event_awaiter, detail::tagged_hook<detail::event_tag>> waiting_;
};

template <std::derived_from<detail::promise_base> Promise>
bool detail::event_awaiter::await_suspend(std::coroutine_handle<Promise> h) noexcept {
  if (!suspend_unless(h, source_->is_set())) return false;
  if (!waiting()) {
    cancelled_ = !source_->is_set();
  } else {
    source_->waiting_.push_back(*this);
  }
  return true;
}

}  // namespace runnel
