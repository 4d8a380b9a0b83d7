#pragma once

#include "runnel/clock.hpp"
#include "runnel/detail/list.hpp"

namespace runnel {

class loop;

namespace detail {
class timer_wheel;
}

/// A deadline in user space: arming and cancelling are O(1), without a system call or an
/// allocation, so a standing deadline may be moved on every request. It is a node in its loop's
/// wheel; destroying it cancels it.
class timer : private detail::list_hook {
 public:
  /// Not armed. `owner` must outlive it.
  explicit timer(loop& owner) noexcept : owner_(&owner) {}
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;

  /// Calls `on_expire` in phase 3 of the first turn whose `now()` has reached `deadline`, never
  /// earlier; an armed timer is moved. A deadline in the past fires in the next turn.
  /// `time_point::max()` is never, as `cancel()`.
  void arm(time_point deadline) noexcept;
  /// Stops it; nothing is called. Harmless when it is not armed.
  void cancel() noexcept { unlink(); }
  /// Whether `on_expire` is still to come.
  bool armed() const noexcept { return linked(); }
  /// What it was last armed with.
  time_point deadline() const noexcept { return deadline_; }
  /// The loop it belongs to.
  loop& owner() const noexcept { return *owner_; }

 protected:
  virtual ~timer() = default;
  /// The deadline has passed; it is not armed any more and may be armed again. May wake waiters and
  /// cancel scopes; runs no user code.
  virtual void on_expire() noexcept = 0;

 private:
  friend class loop;
  friend class detail::timer_wheel;
  friend class detail::list<timer>;

  loop* owner_;
  time_point deadline_ = time_point::max();
};

}  // namespace runnel
