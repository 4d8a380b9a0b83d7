#pragma once

#include <concepts>

#include "runnel/detail/check.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/detail/wait_list.hpp"
#include "runnel/mutex.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel {

namespace detail {

struct notified_tag;

// It first waits in the condition's list, and from its notification or cancellation on in the
// mutex's.
class [[nodiscard]] condition_wait final : public mutex_waiter, private tagged_hook<notified_tag> {
 public:
  condition_wait(condition& source, mutex_guard& guard) noexcept
      : mutex_waiter(nullptr), condition_(&source), guard_(&guard) {}
  condition_wait(condition_wait&&) noexcept = default;
  ~condition_wait() override;

  result<void> await_resume() noexcept;

 private:
  friend class runnel::condition;
  using notified_hook = tagged_hook<notified_tag>;
  friend class list<condition_wait, notified_hook>;

  bool begin() noexcept override;
  wait_description describe() const override { return {"condition"}; }
  void on_cancel() noexcept override;
  void lock_again() noexcept;

  condition* condition_;
  mutex_guard* guard_;
};

}  // namespace detail

/// Tells tasks that what a mutex protects has changed. For the tasks of one loop. No allocation, no
/// system call, and a notified task is woken only once it has the mutex.
class condition {
 public:
  condition() noexcept = default;
  condition(const condition&) = delete;
  condition& operator=(const condition&) = delete;
  /// Nobody may wait for it any more; this is checked, except where it dies with the suspended
  /// frame that holds it.
  ~condition();

  /// Lets go of the mutex that `guard` holds, waits for a notification, and takes the mutex again:
  /// `result<void>`. Gives `errc::cancelled` when the scope is cancelled before the notification;
  /// the mutex is taken again first then too, so that `guard` holds it in every case, and for this
  /// the task waits however long that takes. In a scope that is cancelled already it does not let
  /// go of the mutex. `guard` must hold a mutex, which is checked, and stay where it is meanwhile.
  detail::condition_wait wait(mutex_guard& guard) noexcept {
    detail::check(static_cast<bool>(guard),
                  "runnel: condition::wait got a guard that holds no mutex; lock it first.");
    return {*this, guard};
  }
  /// Waits as above until `holds()`, which is called with the mutex held. When cancelled it gives
  /// `errc::cancelled` only if `holds()` is still false. Costs one pooled frame.
  template <std::predicate Predicate>
  task<result<void>> wait(mutex_guard& guard, Predicate holds) {
    result<void> told;
    for (;;) {
      if (holds()) co_return result<void>{};
      if (!told) co_return told;
      told = co_await wait(guard);
    }
  }

  /// Notifies the task that has waited longest; nobody is remembered when none waits. When that
  /// task is destroyed before it went on, the notification goes to the next one.
  void notify_one() noexcept;
  /// Notifies all tasks that wait now. They get the mutex one after another, in their order.
  void notify_all() noexcept;

 private:
  friend class detail::condition_wait;

  detail::wait_list<detail::condition_wait> waiting_;
  detail::list<detail::condition_wait, detail::tagged_hook<detail::notified_tag>> notified_;
};

}  // namespace runnel
