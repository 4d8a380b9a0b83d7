#pragma once

#include "runnel/detail/list.hpp"

namespace runnel {

class loop;
class waiter;

namespace detail {
class task_walk;
}

/// A region that is cancelled as a whole. Every task runs in one, inherits it from the task that
/// awaits it, and every waiter links itself in it while it waits. There is one strength of
/// cancellation, one thread, no allocation and no atomic.
///
/// Cancelling asks; it never resumes anybody by itself. What waits in the scope, or in a scope
/// below it, completes with `errc::cancelled` in a later phase of the loop, after the kernel has
/// let go of its buffers. What is awaited in a scope that is already cancelled completes with
/// `errc::cancelled` without being started.
class cancel_scope : private detail::list_hook {
 public:
  /// A scope that nothing above cancels.
  explicit cancel_scope(loop& owner) noexcept;
  /// A scope that is cancelled with `parent`, and at once when `parent` already is. `parent` must
  /// outlive it.
  explicit cancel_scope(cancel_scope& parent) noexcept;
  cancel_scope(const cancel_scope&) = delete;
  cancel_scope& operator=(const cancel_scope&) = delete;
  /// Nothing may wait in it any more; this is checked.
  ~cancel_scope();

  /// Cancels what waits here and below, once; later calls do nothing. O(number of waiters).
  void cancel() noexcept;
  /// Whether `cancel()` was called here or above. Stays true.
  bool cancelled() const noexcept { return cancelled_; }
  /// The loop whose tasks run here.
  loop& owner() const noexcept { return *owner_; }

 private:
  friend class waiter;
  friend class loop;
  friend class detail::list<cancel_scope>;
  friend class detail::task_walk;

  void forget_all() noexcept;

  loop* owner_;
  bool cancelled_ = false;
  detail::list<waiter> waiting_;
  detail::list<cancel_scope> children_;
};

}  // namespace runnel
