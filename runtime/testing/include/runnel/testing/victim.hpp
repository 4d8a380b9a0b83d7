#pragma once

#include <coroutine>
#include <exception>
#include <utility>

#include "runnel/loop.hpp"
#include "runnel/task.hpp"

namespace runnel::testing {

/// A task that runs beside its owner and can be destroyed at any moment, which task_group rightly
/// does not offer.
class victim {
 public:
  class promise_type : public detail::promise_base {
   public:
    victim get_return_object() { return victim{handle_of(*this)}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }
    std::exception_ptr failure;
    detail::starter starter;
  };

  victim(victim&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  ~victim() { destroy(); }

  /// Makes it ready on `on`, once: it runs with the next turn. `on` must outlive it.
  void start(loop& on) {
    frame_.promise().set_scope(on.root_scope());
    frame_.promise().starter.start(on.root_scope(), frame_);
  }
  /// Whether it ran to its end. Not after `destroy`.
  bool done() const { return frame_.done(); }
  /// Destroys its frame, at whichever suspension point it is; later calls do nothing.
  void destroy() {
    if (!frame_) return;
    detail::teardown_guard teardown;
    std::exchange(frame_, nullptr).destroy();
  }
  /// Throws what it ended with; nothing when it threw nothing. Not after `destroy`.
  void rethrow() const {
    if (frame_.promise().failure) std::rethrow_exception(frame_.promise().failure);
  }

 private:
  explicit victim(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
  std::coroutine_handle<promise_type> frame_;
};

/// Wraps `body`, which first runs once it is started.
inline victim make_victim(task<> body) {
  task<> mine = std::move(body);
  co_await std::move(mine);
}

}  // namespace runnel::testing
