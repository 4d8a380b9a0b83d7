#pragma once

#include "runnel/detail/check.hpp"
#include "runnel/detail/wait_list.hpp"
#include "runnel/result.hpp"

namespace runnel {

class event;

namespace detail {

class [[nodiscard]] event_awaiter final : public list_waiter {
 public:
  explicit event_awaiter(event& source) noexcept : source_(&source) {}
  event_awaiter(event_awaiter&&) noexcept = default;

  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept;
  result<void> await_resume() const noexcept {
    if (end_ == wait_end::cancelled) return errc::cancelled;
    return {};
  }

 private:
  friend class runnel::event;

  bool begin() noexcept override;
  wait_description describe() const override { return {"event"}; }

  event* source_;
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
    detail::check(waiting_.empty() || detail::in_teardown(),
                  "runnel: an event was destroyed while a task waits for it; keep it alive until "
                  "its waiters are done.");
  }

  /// Makes every waiting task ready, in the order they came. They go on in phase 4.
  void set() noexcept {
    set_ = true;
    while (!waiting_.empty()) {
      waiting_.front().finish(detail::wait_end::served);
    }
  }
  /// Later waiters wait again. Those already woken still go on.
  void reset() noexcept { set_ = false; }
  /// Whether it is set.
  bool is_set() const noexcept { return set_; }

  /// Waits until it is set; at once when it is, in a cancelled scope too. Gives `result<void>`:
  /// `errc::cancelled` when the scope is cancelled first. The event must outlive the wait.
  detail::event_awaiter wait() noexcept { return detail::event_awaiter{*this}; }

 private:
  friend class detail::event_awaiter;

  bool set_ = false;
  detail::wait_list<detail::event_awaiter> waiting_;
};

inline bool detail::event_awaiter::begin() noexcept {
  if (source_->is_set()) return true;
  source_->waiting_.push_back(*this);
  return false;
}

// A set event has nothing to take away, so it may be seen in a cancelled scope.
template <std::derived_from<detail::promise_base> Promise>
bool detail::event_awaiter::await_suspend(std::coroutine_handle<Promise> h) noexcept {
  if (source_->is_set()) return suspend_unless(h, true);
  return list_waiter::await_suspend(h);
}

}  // namespace runnel
