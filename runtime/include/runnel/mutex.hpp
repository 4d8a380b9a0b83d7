#pragma once

#include <utility>

#include "runnel/detail/wait_list.hpp"
#include "runnel/result.hpp"

namespace runnel {

class condition;
class mutex;
class mutex_guard;

namespace detail {

class condition_wait;

// Whoever waits for a mutex. Between being handed the lock and going on it is the mutex's heir; if
// it dies then, the lock goes to the next one.
class mutex_waiter : public list_waiter {
 public:
  mutex_waiter(mutex_waiter&&) noexcept = default;

 protected:
  friend class runnel::mutex;

  explicit mutex_waiter(mutex* source) noexcept : source_(source) {}
  ~mutex_waiter() override;

  mutex* source_;
  bool handed_ = false;
};

class [[nodiscard]] mutex_lock final : public mutex_waiter {
 public:
  explicit mutex_lock(mutex& source) noexcept : mutex_waiter(&source) {}
  mutex_lock(mutex_lock&&) noexcept = default;

  result<mutex_guard> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"mutex"}; }
};

}  // namespace detail

/// Holds a mutex, and gives it to the next one who waits when it is destroyed. May be moved, and
/// empty. The mutex must outlive it.
class [[nodiscard]] mutex_guard {
 public:
  /// Holds nothing.
  mutex_guard() noexcept = default;
  mutex_guard(mutex_guard&& other) noexcept { adopt(std::exchange(other.mutex_, nullptr)); }
  mutex_guard& operator=(mutex_guard&& other) noexcept {
    if (this != &other) {
      unlock();
      adopt(std::exchange(other.mutex_, nullptr));
    }
    return *this;
  }
  ~mutex_guard() { unlock(); }

  /// Whether it holds a mutex.
  explicit operator bool() const noexcept { return mutex_ != nullptr; }
  /// Lets go of the mutex before its own end; does nothing when empty.
  void unlock() noexcept;

 private:
  friend class mutex;
  friend class detail::mutex_lock;
  friend class detail::condition_wait;

  void adopt(mutex* held) noexcept;

  mutex* mutex_ = nullptr;
};

/// Keeps a piece of work that waits in its middle to one task at a time. For the tasks of one loop,
/// between which nothing else needs a lock. Not recursive. No allocation, no system call.
///
/// The lock is handed over in the order of `lock()`, so nobody starves and nobody overtakes, which
/// also means that two tasks that take turns on it go through the ready queue each time.
class mutex {
 public:
  mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;
  /// Nobody may hold it or wait for it any more; this is checked, except where it dies with the
  /// suspended frame that holds it.
  ~mutex();

  /// Waits until the mutex is this task's: `result<mutex_guard>`. At once when it is free. Gives
  /// `errc::cancelled` when the scope is cancelled first, or before the task that was handed the
  /// lock went on; the lock then goes to the next one. Bound it with `with_timeout`.
  detail::mutex_lock lock() noexcept { return detail::mutex_lock{*this}; }
  /// The mutex if it is free, else an empty guard. Never waits.
  mutex_guard try_lock() noexcept;
  /// Whether somebody holds it, or was handed it and has not gone on yet.
  bool locked() const noexcept { return locked_; }

 private:
  friend class mutex_guard;
  friend class detail::mutex_lock;
  friend class detail::mutex_waiter;
  friend class detail::condition_wait;

  /// True when `who` is the heir at once, else it waits.
  bool acquire(detail::mutex_waiter& who) noexcept;
  void hand_over() noexcept;

  bool locked_ = false;
  mutex_guard* holder_ = nullptr;
  detail::mutex_waiter* heir_ = nullptr;
  detail::wait_list<detail::mutex_waiter> waiting_;
};

}  // namespace runnel
