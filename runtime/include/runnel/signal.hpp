#pragma once

#include <csignal>
#include <initializer_list>
#include <vector>

#include "runnel/detail/operation.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"

namespace runnel {

class signal_set;

namespace detail {

class [[nodiscard]] signal_awaiter final : public op_awaiter {
 public:
  explicit signal_awaiter(signal_set& source) noexcept;

  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return operate_unless(h, take_pending(h.promise().scope()));
  }
  result<int> await_resume() noexcept;

 private:
  bool take_pending(cancel_scope& scope) noexcept;
  wait_description describe() const override;

  signal_set* source_;
  int number_ = 0;
};

}  // namespace detail

/// Takes signals such as SIGINT and SIGTERM off the process while it lives and hands them to a
/// task. A signal that arrives between two waits is kept (up to a pipe's worth of them), so none is
/// lost. The previous dispositions come back when it dies. Works whichever thread the kernel picks.
class signal_set {
 public:
  /// Installs handlers for `numbers`, none of which may belong to another living signal_set.
  /// Throws std::system_error where the kernel refuses, std::logic_error for a number taken twice.
  signal_set(loop& owner, std::initializer_list<int> numbers);
  signal_set(const signal_set&) = delete;
  signal_set& operator=(const signal_set&) = delete;
  ~signal_set();

  /// Waits for the next signal and gives its number: `result<int>`. Cancelled: `errc::cancelled`,
  /// and a signal that came in is kept for the next wait. One wait at a time.
  detail::signal_awaiter wait() noexcept { return detail::signal_awaiter{*this}; }

 private:
  friend class detail::signal_awaiter;

  struct taken {
    int number;
    struct sigaction before;
  };

  int next_pending() noexcept;
  void release() noexcept;

  loop* owner_;
  int read_end_ = -1;
  int write_end_ = -1;
  std::vector<taken> taken_;
};

}  // namespace runnel
