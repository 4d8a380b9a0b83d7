#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <source_location>

#include "runnel/clock.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/loop.hpp"
#include "runnel/stall.hpp"

namespace runnel::detail {

/// Measures what a loop runs. Everything but `look` is the loop's thread's.
class stall_watch {
 public:
  stall_watch(loop_options options, loop_metrics& metrics);

  /// What runs from now on is measured; the time before is nobody's.
  void restart() noexcept { last_ = clock_(); }
  void begin(stall_report::kind what, std::source_location from) noexcept;
  /// What began is over; the next may begin without another look at the clock.
  void end() noexcept;

  time_point read_clock() const noexcept { return clock_(); }
  /// What has been running since when, and the number of it, from any thread. Nothing where the
  /// loop sleeps or moved on meanwhile.
  struct running {
    std::uint64_t number;
    time_point since;
    stall_report report;
  };
  std::optional<running> look() const noexcept;

 private:
  void tell() noexcept;

  time_point (*clock_)() noexcept;
  duration threshold_;
  /// Whom to tell.
  loop_options options_;
  loop_metrics* metrics_;
  time_point last_{};
  stall_report current_;

  /// Odd while something runs: whoever reads the same odd number twice read what belongs to it.
  std::atomic<std::uint64_t> number_{0};
  std::atomic<duration::rep> since_{0};
  std::atomic<stall_report::kind> what_{};
  std::atomic<std::source_location> from_{};
};

/// Measures one callback where there is something that measures.
class stall_guard {
 public:
  stall_guard(stall_watch* watch, stall_report::kind what, std::source_location from) noexcept
      : watch_(watch) {
    if (watch_ != nullptr) watch_->begin(what, from);
  }
  stall_guard(const stall_guard&) = delete;
  stall_guard& operator=(const stall_guard&) = delete;
  ~stall_guard() {
    if (watch_ != nullptr) watch_->end();
  }

 private:
  stall_watch* watch_;
};

/// Makes `owner` measure, where it does not yet.
stall_watch& watch_of(loop& owner);

}  // namespace runnel::detail
