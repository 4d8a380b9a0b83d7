#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>

#include "runnel/wire/time.hpp"

namespace runnel::tcp::sim {

/// One direction of a path: a link with a rate and a queue, and what may go wrong on the way.
struct path_options {
  /// Bytes a second that the link carries; 0 is as many as there are.
  std::uint64_t rate = 0;
  /// Bytes that may wait for the link; what comes on top is dropped.
  std::uint64_t queue = UINT64_MAX;
  /// What the way takes after the link.
  duration delay = std::chrono::milliseconds(1);
  /// Up to so much more, without changing the order. Flows that share a queue fall into step
  /// without it, so that a full queue always meets the same one.
  duration jitter{};
  /// Chance that a packet is lost, whatever the others meet.
  double loss = 0;
  /// Bursts (Gilbert's model): the chance that one begins with a packet, and that it ends after
  /// one. Everything in a burst is lost. It lasts no longer than `burst_time`, or else who sends
  /// one packet for each time-out would meet the same burst for hours.
  double burst_begins = 0;
  double burst_ends = 1;
  duration burst_time = std::chrono::milliseconds(10);
  double duplicate = 0;
  /// Chance that a packet takes up to `late` longer, so that others overtake it.
  double reorder = 0;
  duration late{};
};

/// Says when each packet arrives. The same seed and packets give the same answers everywhere.
class impaired_path {
 public:
  impaired_path(const path_options& options, std::uint64_t seed)
      : options_(options), random_(seed) {}

  /// What happens from now on; what is under way stays so.
  void change(const path_options& options) { options_ = options; }

  /// When a packet that is sent now arrives; nothing when it does not.
  std::optional<time_point> pass(std::size_t bytes, time_point now) {
    if (in_burst(now) || chance(options_.loss)) return std::nullopt;
    const std::optional<time_point> left = through_link(bytes, now);
    if (!left) {
      ++overflows_;
      return std::nullopt;
    }
    const time_point in_order = std::max(last_, *left + options_.delay + up_to(options_.jitter));
    last_ = in_order;
    return chance(options_.reorder) ? in_order + up_to(options_.late) : in_order;
  }
  bool duplicates() { return chance(options_.duplicate); }
  /// Packets that found the queue full.
  std::uint64_t overflows() const { return overflows_; }

 private:
  bool in_burst(time_point now) {
    if (in_burst_) in_burst_ = !chance(options_.burst_ends) && now < burst_over_;
    if (!in_burst_ && chance(options_.burst_begins)) {
      in_burst_ = true;
      burst_over_ = now + options_.burst_time;
    }
    return in_burst_;
  }
  /// When the packet's last byte is on the link.
  std::optional<time_point> through_link(std::size_t bytes, time_point now) {
    if (options_.rate == 0) return now;
    const auto takes = [this](std::uint64_t count) {
      return duration(static_cast<std::int64_t>(count * 1'000'000'000 / options_.rate));
    };
    free_at_ = std::max(free_at_, now);
    if (options_.queue != UINT64_MAX && free_at_ - now + takes(bytes) > takes(options_.queue)) {
      return std::nullopt;
    }
    free_at_ += takes(bytes);
    return free_at_;
  }
  bool chance(double probability) {
    return probability > 0 && static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
  }
  duration up_to(duration most) {
    if (most <= duration{}) return {};
    return duration(
        static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(most.count())));
  }

  path_options options_;
  std::mt19937_64 random_;
  time_point free_at_{};
  time_point last_{};
  time_point burst_over_{};
  bool in_burst_ = false;
  std::uint64_t overflows_ = 0;
};

}  // namespace runnel::tcp::sim
