#include "congestion.hpp"

#include <algorithm>
#include <memory>

namespace runnel::tcp::detail {

void congestion::start(congestion_control algorithm, slow_start exit, congestion_window& window,
                       std::uint32_t initial_cwnd_bytes, std::uint64_t now_us,
                       std::uint32_t seed) noexcept {
  algorithm_ = algorithm;
  prior_cwnd_ = 0;
  prior_ssthresh_ = 0;
  window.cwnd = std::min(initial_cwnd_bytes, cwnd_max);
  window.ssthresh = UINT32_MAX;
  window.pacing_rate = 0;
  switch (algorithm) {
    case congestion_control::cubic:
      std::construct_at(&state_.cubic)->start(exit);
      return;
    case congestion_control::reno:
      std::construct_at(&state_.reno)->start(exit);
      return;
    case congestion_control::bbr:
      std::construct_at(&state_.bbr)->start(window, now_us, seed);
      return;
  }
}

void congestion::on_ack(congestion_window& window, const ack_sample& sample,
                        recovery_phase phase) noexcept {
  switch (algorithm_) {
    case congestion_control::cubic:
      state_.cubic.on_ack(window, sample, phase);
      return;
    case congestion_control::reno:
      state_.reno.on_ack(window, sample, phase);
      return;
    case congestion_control::bbr:
      state_.bbr.on_ack(window, sample, phase);
      return;
  }
}

std::uint32_t congestion::ssthresh_on_loss(const congestion_window& window) noexcept {
  prior_cwnd_ = window.cwnd;
  prior_ssthresh_ = window.ssthresh;
  switch (algorithm_) {
    case congestion_control::cubic:
      return state_.cubic.ssthresh_on_loss(window);
    case congestion_control::reno:
      return state_.reno.ssthresh_on_loss(window);
    case congestion_control::bbr:
      state_.bbr.on_loss(window);
      break;
  }
  return window.ssthresh;
}

void congestion::on_timeout(congestion_window& window, std::uint64_t now_us) noexcept {
  window.cwnd = window.mss;
  switch (algorithm_) {
    case congestion_control::cubic:
      state_.cubic.on_timeout();
      return;
    case congestion_control::reno:
      state_.reno.on_timeout();
      return;
    case congestion_control::bbr:
      state_.bbr.on_timeout(now_us);
      return;
  }
}

void congestion::on_recovery_exit(congestion_window& window, std::uint64_t now_us) noexcept {
  (void)now_us;
  if (algorithm_ == congestion_control::bbr) state_.bbr.on_recovery_exit(window);
}

void congestion::undo(congestion_window& window) noexcept {
  if (prior_cwnd_ == 0) return;
  window.cwnd = std::max(window.cwnd, prior_cwnd_);
  window.ssthresh = std::max(window.ssthresh, prior_ssthresh_);
  prior_cwnd_ = 0;
  if (algorithm_ == congestion_control::cubic) state_.cubic.undo();
  if (algorithm_ == congestion_control::bbr) state_.bbr.undo();
}

void congestion::on_idle_restart(congestion_window& window, std::uint64_t idle_us,
                                 std::uint64_t now_us) noexcept {
  if (algorithm_ == congestion_control::cubic) state_.cubic.on_idle_restart(idle_us, now_us);
  if (algorithm_ == congestion_control::bbr) state_.bbr.on_idle_restart(window, now_us);
}

std::uint64_t classic_pacing_rate(const congestion_window& window, std::uint32_t srtt_us,
                                  std::uint32_t flight, pacing_ratio ratio) noexcept {
  if (srtt_us == 0) return 0;
  const std::uint64_t percent =
      window.cwnd < window.ssthresh / 2 ? ratio.slow_start : ratio.avoidance;
  return std::max<std::uint64_t>(std::max(window.cwnd, flight) * percent * 10'000 / srtt_us, 1);
}

}  // namespace runnel::tcp::detail
