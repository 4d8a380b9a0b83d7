#pragma once

#include <memory>
#include <thread>

#include "runnel/detail/operation.hpp"

namespace runnel::detail {

/// A thread that does what would block the loop, one operation after the other. An operation
/// belongs to it from `submit` until it is taken back as finished or withdrawn.
class file_worker {
 public:
  /// Has no thread yet. Throws startup_error where the kernel refuses an eventfd.
  file_worker();
  file_worker(const file_worker&) = delete;
  file_worker& operator=(const file_worker&) = delete;
  /// Ends the thread. One that is stuck in a system call is left behind with its operation, as
  /// nothing can free that.
  ~file_worker();

  /// The eventfd that the thread writes to when something is finished.
  int wake_descriptor() const noexcept;
  /// Starts the thread; false when there can be none.
  bool start() noexcept;
  bool started() const noexcept { return thread_.joinable(); }

  void submit(operation& op) noexcept;
  /// Takes `op` back, unless the thread has begun with it.
  bool withdraw(operation& op) noexcept;
  bool has_finished() const noexcept;
  /// Appends what is finished, each with its result.
  void take_finished(operation_queue& out) noexcept;

 private:
  struct shared;

  static void run(const std::shared_ptr<shared>& with) noexcept;

  std::shared_ptr<shared> shared_;
  std::thread thread_;
};

}  // namespace runnel::detail
