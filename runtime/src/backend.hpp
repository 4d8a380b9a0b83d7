#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runnel/clock.hpp"
#include "runnel/detail/operation.hpp"

namespace runnel::detail {

class mailbox;
class operation_pool;
}  // namespace runnel::detail

namespace runnel {
struct loop_metrics;
struct loop_options;
enum class backend_kind : std::uint8_t;
}  // namespace runnel

namespace runnel::detail {

/// What a loop needs from the world: a clock, kernel operations, and sleep. Each started operation
/// is handed to `operation_pool::complete` exactly once, from inside `reap`, and a `receive` as
/// often as it fills a buffer to `operation_pool::progress` before that, an `accept` for each
/// connection to `operation_pool::accepted`.
class backend {
 public:
  virtual ~backend() = default;

  virtual time_point read_clock() noexcept = 0;
  /// Takes over `op`; may put the system call off until `enter`.
  virtual void submit(operation& op) noexcept = 0;
  /// Asks for `op` to be given up early. Its completion comes all the same.
  virtual void cancel(operation& op) noexcept = 0;
  /// Phase 1: hands over what is finished, at most a bounded number.
  virtual void reap() noexcept = 0;
  /// Phase 6: submits everything, and sleeps until something is finished or `deadline`, measured
  /// from `now`. A deadline not after `now` does not sleep. False when it would sleep for ever.
  virtual bool enter(time_point now, time_point deadline) noexcept = 0;
  virtual backend_kind kind() const noexcept = 0;
  /// What `receive` operations fill, made in need; null where there is no such operation.
  virtual const std::shared_ptr<receive_buffers>& buffers() noexcept {
    static const std::shared_ptr<receive_buffers> none;
    return none;
  }
  /// Whether bytes of this `receive` are finished with and `reap` has not handed them over.
  virtual bool has_received(const operation&) noexcept { return false; }
  /// Whether there is an `accept` operation.
  virtual bool accepts() const noexcept { return false; }
  /// Whether there is a `send` operation, and so much going on that it saves system calls.
  virtual bool batches_sends() const noexcept { return false; }
  /// Once per backend: from now on a write to the eventfd `wake_fd` from any thread ends the sleep
  /// of `enter`. It counts as no operation in flight and need not be read empty; it outlives this.
  /// Zero, or the errno of a kernel that refuses.
  virtual int watch_wakes(int wake_fd) noexcept = 0;
  /// A new descriptor, the caller's, that other rings may send to; -1 where this is no ring.
  virtual int share_ring() noexcept { return -1; }
  /// Ends the sleep of the loop of `target` with this turn's submissions, by a message to its ring.
  /// False when that cannot be done.
  virtual bool wake(mailbox&) noexcept { return false; }
  /// One line: what this is and what was granted.
  virtual std::string description() const = 0;
};

/// Throws a startup_error with the sentence "<what>: <the error>.", and a hint where it helps.
[[noreturn]] void refuse_to_start(const char* what, int error);

/// The one that `options` and the environment ask for, or the best that the kernel allows. Throws
/// startup_error where it refuses.
std::unique_ptr<backend> make_backend(const loop_options& options, operation_pool& operations,
                                      loop_metrics& metrics);

/// Throws startup_error where the kernel refuses.
std::unique_ptr<backend> make_ring_backend(const loop_options& options, operation_pool& operations,
                                           loop_metrics& metrics);
/// The same. `why` says in the description how it came to be chosen.
std::unique_ptr<backend> make_epoll_backend(const std::string& why, operation_pool& operations,
                                            loop_metrics& metrics);
std::unique_ptr<backend> make_simulated_backend(operation_pool& operations, loop_metrics& metrics);

}  // namespace runnel::detail
