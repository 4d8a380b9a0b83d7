#pragma once

#include <concepts>
#include <coroutine>

#include "runnel/detail/list.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/waiter.hpp"

namespace runnel::detail {

struct wait_tag;

/// What links a waiter in the list of the event, mutex, semaphore, channel or condition that it
/// waits for, beside the link in its cancel scope.
using wait_hook = tagged_hook<wait_tag>;

/// Those who wait for one thing, in the order they came. When it dies they are left unlinked.
template <class Waiter>
using wait_list = list<Waiter, wait_hook>;

/// How a wait in a list came to its end.
enum class wait_end : unsigned char { none, served, cancelled, closed };

/// The base of the awaiters that wait for another task of the same loop. They sit in a wait_list
/// until they are served, cancelled or destroyed, and nothing is allocated for them.
class list_waiter : public waiter, public wait_hook {
 public:
  list_waiter(list_waiter&&) noexcept = default;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspended_ = suspend_unless_done(h, [this]() noexcept { return begin(); });
    return suspended_;
  }

 protected:
  list_waiter() noexcept = default;
  ~list_waiter() override = default;

  /// Starts the wait: true when it has ended already, else it has put itself into a list.
  virtual bool begin() noexcept = 0;
  void on_cancel() noexcept override { finish(wait_end::cancelled); }

  /// Leaves its list and makes the coroutine ready.
  void finish(wait_end end) noexcept {
    wait_hook::unlink();
    end_ = end;
    wake();
  }
  /// Whether the scope was cancelled between being served and going on. What was handed over then
  /// goes to somebody else.
  bool cancelled_meanwhile() const noexcept { return suspended_ && cancelled(); }

  wait_end end_ = wait_end::none;
  bool suspended_ = false;
};

/// Whether a suspended frame is being destroyed, and what it owns may die in any order.
inline bool in_teardown() noexcept {
  return this_thread.teardown_depth > 0;
}

}  // namespace runnel::detail
