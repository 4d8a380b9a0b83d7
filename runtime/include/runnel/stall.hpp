#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <string>

#include "runnel/clock.hpp"

namespace runnel {

class loop;

/// Something that held a loop: nothing else of the loop ran meanwhile, no packet moved, no timer
/// fired.
struct stall_report {
  /// What ran.
  enum class kind : std::uint8_t {
    task,       ///< A task, from one wait to the next.
    first_run,  ///< A task that had not run before.
    callbacks,  ///< The hooks of `loop::attach`, such as a TCP stack, and timers.
  };

  /// What held the loop.
  kind what = kind::task;
  /// The co_await that a task went on from; where a `first_run` was spawned in a group. Line 0
  /// where that is not known.
  std::source_location from{};
  /// How long it ran, or has been running so far, in real time.
  duration length{0};
  /// Still running, as a `watchdog` says; a `loop_options::on_stall` comes when it is over.
  bool running = false;

  /// One sentence without a full stop.
  std::string to_string() const;
};

/// How patient a `watchdog` is.
struct watchdog_options {
  /// A loop that is held this long is stuck. Told again whenever that time has doubled.
  duration patience = std::chrono::seconds{2};
  /// Called on the watchdog's own thread, so it must not touch the loop or its tasks. Without it
  /// the sentence is written to standard error.
  std::function<void(const stall_report&)> on_stuck{};
};

/// Says that a loop is stuck while it is stuck, which nothing on the loop's own thread can: in a
/// task that computes for ever or waits in a blocking call. A thread that looks four times per
/// `patience`; from then on the loop pays one clock read and a few stores for each task that it
/// runs.
class watchdog {
 public:
  /// Watches `owner`, which must outlive it, from the next turn on. Made and destroyed on the
  /// loop's thread; one per loop. Throws std::system_error where the kernel gives no thread.
  explicit watchdog(loop& owner, watchdog_options options = {});
  watchdog(const watchdog&) = delete;
  watchdog& operator=(const watchdog&) = delete;
  /// Stops the thread, which waits for no more than `on_stuck` to return.
  ~watchdog();

 private:
  class thread;
  std::unique_ptr<thread> thread_;
};

}  // namespace runnel
