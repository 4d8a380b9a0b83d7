#include "hystart.hpp"

#include <algorithm>

#include "congestion.hpp"

namespace runnel::tcp::detail {

namespace {

// Linux's tcp_cubic: hystart_low_window, hystart_ack_delta_us, HYSTART_MIN_SAMPLES and the bounds
// of HYSTART_DELAY_THRESH.
constexpr std::uint32_t low_window_segments = 16;
constexpr std::uint32_t train_gap_us = 2000;
constexpr std::uint32_t delay_samples = 8;
constexpr std::uint32_t delay_threshold_min_us = 4000;
constexpr std::uint32_t delay_threshold_max_us = 16000;
// Its hystart_ack_delay: four of the largest bursts that a paced sender makes, within 1 ms.
constexpr std::uint64_t train_burst_bytes = std::uint64_t{4} * 65536;
constexpr std::uint64_t train_allowance_us = 1000;

// RFC 9406 §4.3: MIN_RTT_THRESH, MAX_RTT_THRESH, MIN_RTT_DIVISOR, N_RTT_SAMPLE,
// CSS_GROWTH_DIVISOR, CSS_ROUNDS and L.
constexpr std::uint32_t min_rtt_thresh_us = 4000;
constexpr std::uint32_t max_rtt_thresh_us = 16000;
constexpr std::uint32_t min_rtt_divisor = 8;
constexpr std::uint32_t n_rtt_sample = 8;
constexpr std::uint32_t css_growth_divisor = 4;
constexpr std::uint8_t css_rounds = 5;
constexpr std::uint32_t burst_segments = 8;

}  // namespace

void hystart::start(slow_start kind) noexcept {
  *this = hystart();
  kind_ = kind;
}

void hystart::begin_round(const ack_sample& sample) noexcept {
  round_start_us_ = last_ack_us_ = static_cast<std::uint32_t>(sample.now_us);
  round_end_ = sample.nxt;
  last_round_rtt_us_ = round_rtt_us_;
  round_rtt_us_ = UINT32_MAX;
  samples_ = 0;
  begun_ = true;
}

std::uint32_t hystart::on_ack(congestion_window& window, const ack_sample& sample,
                              std::uint32_t delay_min_us) noexcept {
  if (kind_ == slow_start::hystart_plus_plus) return plus_plus(window, sample);
  if (kind_ == slow_start::standard || found_ || sample.rtt_us == 0) return sample.delivered_bytes;
  if (!begun_ || after(sample.una, round_end_)) begin_round(sample);
  if (window.cwnd / std::max(window.mss, 1U) >= low_window_segments) {
    watch_train(window, static_cast<std::uint32_t>(sample.now_us), delay_min_us);
    watch_delay(sample.rtt_us, delay_min_us);
    if (found_) window.ssthresh = window.cwnd;
  }
  return sample.delivered_bytes;
}

void hystart::watch_train(const congestion_window& window, std::uint32_t now_us,
                          std::uint32_t delay_min_us) noexcept {
  if (now_us - last_ack_us_ > train_gap_us) return;
  last_ack_us_ = now_us;
  // A train half a round trip long fills the path. Pacing itself may stretch one to half of it.
  std::uint32_t threshold = delay_min_us / 2;
  if (window.pacing_rate != 0) {
    threshold =
        delay_min_us + static_cast<std::uint32_t>(std::min(
                           train_allowance_us, train_burst_bytes * 1'000'000 / window.pacing_rate));
  }
  if (now_us - round_start_us_ > threshold) found_ = true;
}

void hystart::watch_delay(std::uint32_t rtt_us, std::uint32_t delay_min_us) noexcept {
  round_rtt_us_ = std::min(round_rtt_us_, rtt_us);
  if (samples_ < delay_samples) {
    ++samples_;
    return;
  }
  const std::uint32_t growth =
      std::clamp(delay_min_us / 8, delay_threshold_min_us, delay_threshold_max_us);
  if (round_rtt_us_ > delay_min_us + growth) found_ = true;
}

std::uint32_t hystart::plus_plus(congestion_window& window, const ack_sample& sample) noexcept {
  if (found_) return sample.delivered_bytes;
  if (!begun_ || after(sample.una, round_end_)) {
    begin_round(sample);
    // RFC 9406 §4.2: a round in part counts.
    if (conservative() && --css_rounds_left_ == 0) {
      found_ = true;
      window.ssthresh = window.cwnd;
      return sample.delivered_bytes;
    }
  }
  if (sample.rtt_us != 0) {
    round_rtt_us_ = std::min(round_rtt_us_, sample.rtt_us);
    if (samples_ < n_rtt_sample) ++samples_;
  }
  if (samples_ == n_rtt_sample) {
    if (conservative()) {
      // The growth was not for good.
      if (round_rtt_us_ < css_baseline_us_) css_rounds_left_ = 0;
    } else if (last_round_rtt_us_ != UINT32_MAX) {
      const std::uint32_t growth =
          std::clamp(last_round_rtt_us_ / min_rtt_divisor, min_rtt_thresh_us, max_rtt_thresh_us);
      if (round_rtt_us_ >= last_round_rtt_us_ + growth) {
        css_baseline_us_ = round_rtt_us_;
        css_rounds_left_ = css_rounds;
      }
    }
  }
  std::uint32_t bytes = sample.delivered_bytes;
  // What is paced needs no bound on bursts.
  if (window.pacing_rate == 0) bytes = std::min(bytes, burst_segments * window.mss);
  return conservative() ? bytes / css_growth_divisor : bytes;
}

}  // namespace runnel::tcp::detail
