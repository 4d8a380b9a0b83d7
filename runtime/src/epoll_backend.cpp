#include <poll.h>

#include <cerrno>
#include <chrono>

#include "backend.hpp"
#include "epoll_set.hpp"
#include "file_io.hpp"
#include "file_worker.hpp"
#include "operation_pool.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

// How many completions one turn takes; the rest wait for the next.
constexpr unsigned completions_per_turn = 256;
// How long a dying loop waits for the thread to finish what it is at.
constexpr auto shutdown_patience = std::chrono::seconds{5};
// What poll(2) says of a file that is always ready.
constexpr std::uint32_t always_ready = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

// Readiness by epoll; what is never unready, and would block all the same, by a thread.
class epoll_backend final : public backend, private epoll_set::client {
 public:
  epoll_backend(std::string why, operation_pool& operations, loop_metrics& metrics)
      : operations_(&operations), metrics_(&metrics), why_(std::move(why)), set_(*this, metrics) {
    const int error = set_.watch_wake_up(worker_.wake_descriptor());
    if (error != 0) refuse_to_start("The kernel refused to watch an eventfd", error);
  }
  epoll_backend(const epoll_backend&) = delete;
  epoll_backend& operator=(const epoll_backend&) = delete;

  ~epoll_backend() override {
    operation_list& running = operations_->running();
    for (operation* op = running.empty() ? nullptr : &running.front(); op != nullptr;
         op = running.after(*op)) {
      if (op->reaps) continue;
      op->cancel_requested = true;
      cancel(*op);
    }
    const time_point give_up = after(read_clock(), shutdown_patience);
    for (time_point now = read_clock(); operations_->in_flight() > 0 && now < give_up;
         now = read_clock()) {
      enter(now, give_up);
      reap();
    }
  }

  time_point read_clock() noexcept override {
    return std::chrono::time_point_cast<duration>(std::chrono::steady_clock::now());
  }

  void submit(operation& op) noexcept override {
    switch (op.request.kind) {
      case op_kind::poll:
      case op_kind::read:
      case op_kind::write:
        set_.add(op);
        return;
      case op_kind::close:
        set_.forget(op.request.fd);
        hand_to_worker(op);
        return;
      case op_kind::open:
      case op_kind::size:
        hand_to_worker(op);
        return;
      default:
        finish(op, op_not_supported);
        return;
    }
  }

  void cancel(operation& op) noexcept override {
    switch (op.where) {
      case operation::state::queued:
      case operation::state::submitted:
        set_.remove(op);
        finish(op, -ECANCELED);
        return;
      case operation::state::working:
        if (op.request.kind != op_kind::close && worker_.withdraw(op)) finish(op, -ECANCELED);
        return;
      case operation::state::idle:
      case operation::state::held:
      case operation::state::finished:
      case operation::state::refused:
        return;
    }
  }

  void reap() noexcept override {
    if (worker_.has_finished()) take_from_worker();
    for (unsigned n = 0; n < completions_per_turn && !finished_.empty(); ++n) {
      operation& op = finished_.pop_front();
      ++metrics_->completions;
      operations_->complete(op, op.result);
    }
  }

  bool enter(time_point now, time_point deadline) noexcept override {
    set_.update();
    if (deadline <= now || !finished_.empty() || worker_.has_finished()) {
      // Of what the thread does the kernel need not be asked.
      if (set_.waiting() > 0) set_.wait(duration::zero());
      return true;
    }
    const bool for_ever = deadline == time_point::max();
    if (for_ever && operations_->in_flight() == 0) return false;
    set_.wait(for_ever ? duration::max() : deadline - now);
    return true;
  }

  backend_kind kind() const noexcept override { return backend_kind::epoll; }

  int watch_wakes(int wake_fd) noexcept override { return set_.watch_wake_up(wake_fd); }

  std::string description() const override {
    return std::string("epoll backend: ") +
           (set_.waits_in_nanoseconds() ? "nanosecond timeouts; " : "millisecond timeouts; ") +
           why_;
  }

 private:
  void on_ready(operation& op, std::uint32_t events) noexcept override {
    if (op.request.kind == op_kind::poll) {
      finish(op, static_cast<int>(events));
      return;
    }
    const int result = perform_ready(op);
    if (result == -EAGAIN) {
      set_.add(op);
    } else {
      finish(op, result);
    }
  }

  void on_refused(operation& op, int error) noexcept override {
    if (error != EPERM) {
      finish(op, -error);
      return;
    }
    if (op.request.kind != op_kind::poll) {
      hand_to_worker(op);
      return;
    }
    const std::uint32_t ready = op.request.flags & always_ready;
    finish(op, ready != 0 ? static_cast<int>(ready) : -EINVAL);
  }

  void finish(operation& op, int result) noexcept {
    op.where = operation::state::finished;
    op.result = result;
    finished_.push_back(op);
  }

  void hand_to_worker(operation& op) noexcept {
    if (!worker_.started() && !worker_refused_) worker_refused_ = !worker_.start();
    if (worker_refused_) {
      // Without a thread it is done late rather than never.
      finish(op, perform_blocking(op));
      return;
    }
    op.where = operation::state::working;
    worker_.submit(op);
  }

  void take_from_worker() noexcept {
    operation_queue done;
    worker_.take_finished(done);
    while (!done.empty()) {
      operation& op = done.pop_front();
      finish(op, op.result);
    }
  }

  operation_pool* operations_;
  loop_metrics* metrics_;
  std::string why_;
  operation_queue finished_;
  epoll_set set_;
  file_worker worker_;
  bool worker_refused_ = false;
};

}  // namespace

std::unique_ptr<backend> make_epoll_backend(const std::string& why, operation_pool& operations,
                                            loop_metrics& metrics) {
  return std::make_unique<epoll_backend>(why, operations, metrics);
}

}  // namespace runnel::detail
