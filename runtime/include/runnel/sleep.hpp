#pragma once

#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/timer.hpp"

namespace runnel {

namespace detail {

class [[nodiscard]] sleep_awaiter final : public waiter {
 public:
  explicit sleep_awaiter(duration d) noexcept : length_(d) {}
  explicit sleep_awaiter(time_point deadline) noexcept : deadline_(deadline), absolute_(true) {}
  sleep_awaiter(sleep_awaiter&& other) noexcept
      : waiter(std::move(other)),
        length_(other.length_),
        deadline_(other.deadline_),
        absolute_(other.absolute_) {}

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend(h);
    begin();
  }
  result<void> await_resume() const noexcept;

 private:
  class alarm final : public timer {
   public:
    alarm(loop& owner, sleep_awaiter& who) noexcept : timer(owner), who_(&who) {}

   private:
    void on_expire() noexcept override { who_->wake(); }
    sleep_awaiter* who_;
  };

  void begin() noexcept;
  void on_cancel() noexcept override;
  wait_description describe() const override;

  duration length_{0};
  time_point deadline_{};
  bool absolute_ = false;
  bool cancelled_ = false;
  std::optional<alarm> alarm_;
};

}  // namespace detail

/// Waits at least `d`, counted from `loop::now()`; zero or less lets every ready task run once.
/// Gives `result<void>`: `errc::cancelled` when cancelled. No allocation, no system call.
inline detail::sleep_awaiter sleep(duration d) noexcept {
  return detail::sleep_awaiter{d};
}

/// Waits until `loop::now()` has reached `deadline`. As `sleep`.
inline detail::sleep_awaiter sleep_until(time_point deadline) noexcept {
  return detail::sleep_awaiter{deadline};
}

/// Goes to the end of the ready queue: `sleep` of zero.
inline detail::sleep_awaiter yield() noexcept {
  return detail::sleep_awaiter{duration::zero()};
}

}  // namespace runnel
