#pragma once

#include <liburing.h>

#include "operation_pool.hpp"
#include "runnel/detail/operation.hpp"
#include "runnel/metrics.hpp"

namespace runnel::detail {

/// The `send` operations of a ring. They are held back until the end of the turn, so that the
/// kernel takes all of them in one call, and each can be called off until then without a trace.
class ring_sends final {
 public:
  void hold(operation& op) noexcept {
    op.where = operation::state::held;
    held_.push_back(op);
  }
  /// One that the kernel has taken is as good as finished, and left alone.
  void call_off(operation& op) noexcept;
  /// Phase 1.
  void finish_called_off(operation_pool& operations, loop_metrics& metrics) noexcept;
  bool held() const noexcept { return !held_.empty(); }
  bool called_off() const noexcept { return !called_off_.empty(); }

  /// Phase 6: gives the kernel all of them, and whatever else is in the ring.
  void hand_over(io_uring& ring, loop_metrics& metrics) noexcept;
  /// Whether completions of what was handed over are yet to come.
  bool outstanding() const noexcept { return outstanding_ > 0; }
  void completed() noexcept { --outstanding_; }

 private:
  void take_back(io_uring& ring) noexcept;

  operation_queue held_;
  operation_queue called_off_;
  unsigned outstanding_ = 0;
};

}  // namespace runnel::detail
