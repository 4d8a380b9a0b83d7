#pragma once

#include <cstddef>
#include <utility>

#include "runnel/detail/list.hpp"
#include "runnel/detail/wait_list.hpp"
#include "runnel/result.hpp"

namespace runnel {

class semaphore;
class semaphore_permit;

namespace detail {

struct permit_tag;

class [[nodiscard]] semaphore_acquire final : public list_waiter {
 public:
  semaphore_acquire(semaphore& source, std::size_t count) noexcept
      : source_(&source), count_(count) {}
  semaphore_acquire(semaphore_acquire&&) noexcept = default;
  ~semaphore_acquire() override { leave(); }

  result<semaphore_permit> await_resume() noexcept;

 private:
  friend class runnel::semaphore;

  bool begin() noexcept override;
  wait_description describe() const override { return {"semaphore"}; }
  void on_cancel() noexcept override;
  void leave() noexcept;

  semaphore* source_;
  std::size_t count_;
};

}  // namespace detail

/// Units taken from a semaphore, given back when it is destroyed. May be moved, and empty. The
/// semaphore must outlive it.
class [[nodiscard]] semaphore_permit : private detail::tagged_hook<detail::permit_tag> {
 public:
  /// Holds nothing.
  semaphore_permit() noexcept = default;
  semaphore_permit(semaphore_permit&& other) noexcept : hook() { take(other); }
  semaphore_permit& operator=(semaphore_permit&& other) noexcept {
    if (this != &other) {
      release();
      take(other);
    }
    return *this;
  }
  ~semaphore_permit() { release(); }

  /// Whether it belongs to a semaphore: false when empty.
  explicit operator bool() const noexcept { return linked(); }
  /// How many units it holds.
  std::size_t count() const noexcept { return count_; }
  /// Gives the units back before its own end; does nothing when empty.
  void release() noexcept;
  /// Keeps the units from the semaphore for good, until somebody calls `semaphore::release`.
  void forget() noexcept {
    unlink();
    count_ = 0;
  }

 private:
  friend class semaphore;
  friend class detail::semaphore_acquire;
  using hook = detail::tagged_hook<detail::permit_tag>;
  friend class detail::list<semaphore_permit, hook>;

  semaphore_permit(semaphore& source, std::size_t count) noexcept;
  void take(semaphore_permit& other) noexcept;

  semaphore* source_ = nullptr;
  std::size_t count_ = 0;
};

/// A number of units of which tasks take some for a time: at most so many connections, requests or
/// megabytes at once. For the tasks of one loop. No allocation, no system call.
///
/// Served in the order of `acquire`: a large request that does not fit yet holds back the small
/// ones behind it, so that it gets its turn.
class semaphore {
 public:
  /// Starts with `units` free.
  explicit semaphore(std::size_t units) noexcept : available_(units) {}
  semaphore(const semaphore&) = delete;
  semaphore& operator=(const semaphore&) = delete;
  /// Nobody may hold a permit of it or wait for one any more; this is checked, except where it dies
  /// with the suspended frame that holds it.
  ~semaphore();

  /// Waits until `count` units are free and takes them: `result<semaphore_permit>`. Gives
  /// `errc::cancelled` when the scope is cancelled first, or before the task that was given the
  /// units went on; then nothing is taken. A count that is never free waits until it is cancelled.
  detail::semaphore_acquire acquire(std::size_t count = 1) noexcept { return {*this, count}; }
  /// Takes `count` units if they are free and nobody waits, else gives an empty permit.
  semaphore_permit try_acquire(std::size_t count = 1) noexcept;
  /// Adds `count` units, which need not have been taken before.
  void release(std::size_t count = 1) noexcept;
  /// How many units are free.
  std::size_t available() const noexcept { return available_; }

 private:
  friend class semaphore_permit;
  friend class detail::semaphore_acquire;

  void serve() noexcept;

  std::size_t available_;
  detail::wait_list<detail::semaphore_acquire> waiting_;
  /// Those who were given their units and have not gone on yet.
  detail::wait_list<detail::semaphore_acquire> served_;
  detail::list<semaphore_permit, detail::tagged_hook<detail::permit_tag>> permits_;
};

}  // namespace runnel
