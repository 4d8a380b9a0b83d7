#pragma once

#include <exception>
#include <new>
#include <utility>

#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/task_group.hpp"

namespace runnel::testing {

/// A group for bodies of fail_everywhere: a child that finds no memory to begin with cancels the
/// others, and `join` throws it once they have ended.
class failing_group {
 public:
  explicit failing_group(loop& owner) : group_(owner) {}

  /// `make` gives the child.
  template <class Make>
  void spawn(Make make) noexcept {
    if (failed_) return;
    try {
      group_.spawn(make());
    } catch (const std::bad_alloc&) {
      failed_ = std::current_exception();
      group_.cancel();
    }
  }
  void cancel() noexcept { group_.cancel(); }

  /// Awaited in the frame that owns this, without one of its own: there may be no memory for it.
  auto join() noexcept { return group_.join(); }
  void rethrow() const {
    if (failed_) std::rethrow_exception(failed_);
  }

 private:
  task_group group_;
  std::exception_ptr failed_;
};

}  // namespace runnel::testing
