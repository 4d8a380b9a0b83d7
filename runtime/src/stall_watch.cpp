#include "stall_watch.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "runnel/detail/text.hpp"

namespace runnel {
namespace detail {
namespace {

time_point steady_clock() noexcept {
  return std::chrono::time_point_cast<duration>(std::chrono::steady_clock::now());
}

}  // namespace

stall_watch::stall_watch(loop_options options, loop_metrics& metrics)
    : clock_(options.stall_clock != nullptr ? options.stall_clock : &steady_clock),
      threshold_(options.stall_threshold > duration::zero() ? options.stall_threshold
                                                            : duration::max()),
      options_(std::move(options)),
      metrics_(&metrics) {
  // One that is made in the middle of a turn measures from here.
  last_ = clock_();
}

// Each store is a release: whoever reads one of them also sees the number that ended the one
// before.
void stall_watch::begin(stall_report::kind what, std::source_location from) noexcept {
  current_.what = what;
  current_.from = from;
  const std::uint64_t number = number_.load(std::memory_order_relaxed) + 1;
  since_.store(last_.time_since_epoch().count(), std::memory_order_release);
  what_.store(what, std::memory_order_release);
  from_.store(from, std::memory_order_release);
  number_.store(number, std::memory_order_release);
}

void stall_watch::end() noexcept {
  const time_point now = clock_();
  number_.store(number_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  current_.length = now - last_;
  last_ = now;
  metrics_->longest_callback = std::max(metrics_->longest_callback, current_.length);
  if (current_.length < threshold_) return;
  ++metrics_->stalls;
  tell();
  last_ = clock_();
}

void stall_watch::tell() noexcept {
  if (options_.on_stall) {
    options_.on_stall(current_);
  } else if (options_.log) {
    try {
      options_.log(current_.to_string());
    } catch (const std::bad_alloc&) {
      // It is counted; for words there is no memory.
    }
  }
}

std::optional<stall_watch::running> stall_watch::look() const noexcept {
  running seen{};
  seen.number = number_.load(std::memory_order_acquire);
  if (seen.number % 2 == 0) return std::nullopt;
  seen.since = time_point{duration{since_.load(std::memory_order_acquire)}};
  seen.report.what = what_.load(std::memory_order_acquire);
  seen.report.from = from_.load(std::memory_order_acquire);
  seen.report.running = true;
  if (number_.load(std::memory_order_relaxed) != seen.number) return std::nullopt;
  return seen;
}

}  // namespace detail

std::string stall_report::to_string() const {
  std::string who = "a hook or a timer";
  if (what == kind::first_run) {
    who = "a task that ran for the first time";
    if (from.line() != 0) who += ", spawned at " + detail::file_and_line(from);
  } else if (what == kind::task) {
    who = "a task that went on from " + detail::text_of(from);
  }
  return "runnel: the loop " + std::string(running ? "has been held for " : "was held for ") +
         detail::text_of(length) + " by " + who;
}

}  // namespace runnel
