#pragma once

#include <cstdint>

#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/sequence.hpp"

namespace runnel::tcp::detail {

struct congestion_window;
struct ack_sample;

/// Finds where slow start should end: Linux's HyStart, or HyStart++ (RFC 9406). Plain data.
class hystart {
 public:
  void start(slow_start kind) noexcept;
  /// Begins anew with the same kind.
  void restart() noexcept { start(kind_); }

  /// For each acknowledgement in slow start. Sets `ssthresh` to `cwnd` where slow start ends.
  /// Returns by how many bytes slow start may grow the window for it. `delay_min_us` is the
  /// connection's shortest round trip.
  std::uint32_t on_ack(congestion_window& window, const ack_sample& sample,
                       std::uint32_t delay_min_us) noexcept;

  /// In HyStart++'s conservative slow start.
  bool conservative() const noexcept { return css_rounds_left_ != 0; }

 private:
  void begin_round(const ack_sample& sample) noexcept;
  void watch_train(const congestion_window& window, std::uint32_t now_us,
                   std::uint32_t delay_min_us) noexcept;
  void watch_delay(std::uint32_t rtt_us, std::uint32_t delay_min_us) noexcept;
  std::uint32_t plus_plus(congestion_window& window, const ack_sample& sample) noexcept;

  /// Times of day are cut to 32 bits, as differences of less than 2^31 microseconds are taken.
  std::uint32_t round_start_us_ = 0;
  std::uint32_t last_ack_us_ = 0;
  sequence round_end_;
  /// The shortest round trip of this round, of the last, and when conservative slow start began.
  std::uint32_t round_rtt_us_ = UINT32_MAX;
  std::uint32_t last_round_rtt_us_ = UINT32_MAX;
  std::uint32_t css_baseline_us_ = UINT32_MAX;
  std::uint8_t samples_ = 0;
  std::uint8_t css_rounds_left_ = 0;
  slow_start kind_ = slow_start::standard;
  bool begun_ : 1 = false;
  bool found_ : 1 = false;
};

}  // namespace runnel::tcp::detail
