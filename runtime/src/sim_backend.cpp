#include <algorithm>

#include "backend.hpp"
#include "operation_pool.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

// Virtual time: it moves only when everybody waits, and then straight to the next deadline.
class simulated_backend final : public backend {
 public:
  simulated_backend(operation_pool& operations, loop_metrics& metrics) noexcept
      : operations_(&operations), metrics_(&metrics) {}
  ~simulated_backend() override { reap(); }

  time_point read_clock() noexcept override { return clock_; }

  void submit(operation& op) noexcept override { op.where = operation::state::submitted; }
  void cancel(operation&) noexcept override {}

  void reap() noexcept override {
    while (!operations_->running().empty()) {
      ++metrics_->completions;
      operations_->complete(operations_->running().front(), op_not_supported);
    }
  }

  bool enter(time_point now, time_point deadline) noexcept override {
    ++metrics_->enters;
    if (deadline <= now || operations_->in_flight() > 0) return true;
    ++metrics_->waits;
    if (deadline == time_point::max()) return false;
    clock_ = std::max(clock_, deadline);
    return true;
  }

  backend_kind kind() const noexcept override { return backend_kind::simulated; }

  // Only the loop's own thread posts to it, which is awake then.
  int watch_wakes(int) noexcept override { return 0; }

  std::string description() const override { return "simulated backend: virtual time"; }

 private:
  operation_pool* operations_;
  loop_metrics* metrics_;
  // Not zero, so that code which subtracts from now() meets no negative time.
  time_point clock_{std::chrono::hours{1}};
};

}  // namespace

std::unique_ptr<backend> make_simulated_backend(operation_pool& operations, loop_metrics& metrics) {
  return std::make_unique<simulated_backend>(operations, metrics);
}

}  // namespace runnel::detail
