#include <algorithm>

#include "congestion.hpp"

// CUBIC: RFC 9438, and where that leaves a choice, or Linux has made another, net/ipv4/tcp_cubic.c.
// Lengths of the curve are bytes, its times 1/1024 s (BICTCP_HZ).

namespace runnel::tcp::detail {

namespace {

// RFC 9438 §4.6: beta_cubic 0.7, as Linux's 717/1024.
constexpr std::uint64_t beta = 717;
constexpr std::uint64_t beta_scale = 1024;
// RFC 9438 §5.1: C is 0.4 segments per cubic second, as 2/5.
constexpr std::uint64_t c_numerator = 2;
constexpr std::uint64_t c_denominator = 5;
// RFC 9438 §4.3: alpha_cubic = 3 (1 - beta) / (1 + beta).
constexpr std::uint64_t alpha_numerator = 3 * (beta_scale - beta);
constexpr std::uint64_t alpha_denominator = beta_scale + beta;
// RFC 9438 §4.2: the target is at most 1.5 times cwnd.
constexpr std::uint64_t fastest = std::uint64_t{1} << 31;
// Linux: before any loss 5 % in a round trip at least; on the plateau a segment in 100.
constexpr std::uint64_t unknown_ceiling_rate = (std::uint64_t{1} << 32) / 20;
constexpr std::uint64_t plateau_rounds = 100;
// Linux: round trips of the first second after a loss still have the old queue in them.
constexpr std::uint64_t settling_us = 1'000'000;
// 1024 s from the plateau the curve is beyond every window.
constexpr std::uint64_t time_max = std::uint64_t{1} << 20;

/// The integer part of the cube root, bit by bit.
std::uint32_t cube_root(std::uint64_t value) noexcept {
  std::uint64_t root = 0;
  for (int shift = 63; shift >= 0; shift -= 3) {
    root *= 2;
    const std::uint64_t step = 3 * root * (root + 1) + 1;
    if ((value >> shift) >= step) {
      value -= step << shift;
      ++root;
    }
  }
  return static_cast<std::uint32_t>(root);
}

/// RFC 9438 §4.2: K = cubic root of ((W_max - cwnd) / C).
std::uint32_t time_to_plateau(std::uint32_t bytes, std::uint32_t mss) noexcept {
  // In (1/1024 s)^3, of which a cubic second has 2^30. Half is taken twice to stay below 2^64.
  const std::uint64_t scaled = (std::uint64_t{bytes} << 30) / c_numerator * c_denominator;
  return cube_root(scaled / mss);
}

/// RFC 9438 §4.2: W_cubic(t) = C (t - K)^3 + W_max.
std::uint64_t curve_at(std::uint64_t time, std::uint64_t k, std::uint64_t origin,
                       std::uint32_t mss) noexcept {
  const std::uint64_t off = std::min(time < k ? k - time : time - k, time_max);
  // In 1/1024 of a segment: 2^60 / 2^20.
  const std::uint64_t segments = ((off * off * off) >> 20) * c_numerator / c_denominator;
  const std::uint64_t height = segments * mss / 1024;
  if (time >= k) return origin + height;
  return origin > height ? origin - height : 0;
}

}  // namespace

void cubic_state::start(slow_start kind) noexcept {
  *this = cubic_state();
  exit.start(kind);
}

void cubic_state::on_ack(congestion_window& window, const ack_sample& sample,
                         recovery_phase phase) noexcept {
  const bool settling = now.epoch_us != never && sample.now_us - now.epoch_us < settling_us;
  if (sample.rtt_us != 0 && !settling) {
    delay_min_us = delay_min_us == 0 ? sample.rtt_us : std::min(delay_min_us, sample.rtt_us);
  }
  if (phase == recovery_phase::reduced || phase == recovery_phase::recovery) return;
  std::uint32_t bytes = sample.delivered_bytes;
  if (window.in_slow_start()) bytes = exit.on_ack(window, sample, delay_min_us);
  const std::uint64_t since_last_us = sample.now_us - last_ack_us;
  last_ack_us = sample.now_us;
  if (!sample.cwnd_limited) {
    // RFC 9438 §4.2: time in which the window was not used is not part of t. Linux leaves out idle
    // time alone.
    if (now.epoch_us != never) {
      now.epoch_us = std::min(now.epoch_us + since_last_us, sample.now_us);
    }
    return;
  }
  if (window.in_slow_start()) bytes = grow_in_slow_start(window, bytes);
  if (bytes == 0 || window.in_slow_start()) return;
  avoid_congestion(window, bytes, sample.now_us);
}

void cubic_state::begin_epoch(const congestion_window& window, std::uint64_t now_us) noexcept {
  now.epoch_us = now_us;
  now.w_est = window.cwnd;
  w_est_credit.clear();
  const bool below = window.cwnd < now.w_max;
  now.k = below ? time_to_plateau(now.w_max - window.cwnd, std::max(window.mss, 1U)) : 0;
  now.origin = below ? now.w_max : window.cwnd;
}

void cubic_state::avoid_congestion(congestion_window& window, std::uint32_t acked_bytes,
                                   std::uint64_t now_us) noexcept {
  if (now.epoch_us == never) begin_epoch(window, now_us);
  const std::uint32_t mss = std::max(window.mss, 1U);
  const std::uint32_t cwnd = std::max(window.cwnd, mss);

  // RFC 9438 §4.3: what Reno with CUBIC's beta had by now; from the old window on, as Reno itself.
  const std::uint64_t reno_rate = growth_rate(mss, cwnd);
  w_est_credit.earn(acked_bytes, now.w_est < cwnd_prior
                                     ? reno_rate * alpha_numerator / alpha_denominator
                                     : reno_rate);
  now.w_est = std::min(now.w_est + w_est_credit.take(1), cwnd_max);

  // Where the curve is one round trip from now is where this round trip should lead.
  const std::uint64_t age_us = std::min(now_us - now.epoch_us + delay_min_us, time_max * 4096);
  const std::uint64_t planned = curve_at(age_us * 1024 / 1'000'000, now.k, now.origin, mss);
  const std::uint64_t target =
      std::min(std::max<std::uint64_t>(planned, now.w_est), std::uint64_t{UINT32_MAX});
  std::uint64_t rate = reno_rate / plateau_rounds;
  if (target > cwnd) {
    rate = std::max(rate, growth_rate(static_cast<std::uint32_t>(target) - cwnd, cwnd));
  }
  if (now.w_max == 0) rate = std::max(rate, unknown_ceiling_rate);
  credit.earn(acked_bytes, std::min(rate, fastest));
  window.cwnd = std::min(window.cwnd + credit.take(mss), std::max(window.cwnd, cwnd_max));
}

std::uint32_t cubic_state::ssthresh_on_loss(const congestion_window& window) noexcept {
  before_loss = now;
  now.epoch_us = never;
  cwnd_prior = window.cwnd;
  // RFC 9438 §4.7: who did not come back to the last W_max makes room for others.
  const std::uint64_t cwnd = window.cwnd;
  now.w_max = static_cast<std::uint32_t>(
      window.cwnd < now.w_max ? cwnd * (beta_scale + beta) / (2 * beta_scale) : cwnd);
  return std::max(static_cast<std::uint32_t>(cwnd * beta / beta_scale), 2 * window.mss);
}

void cubic_state::on_timeout() noexcept {
  // RFC 9438 §4.8: congestion avoidance begins anew from the window that slow start reaches. Like
  // Linux, what was known of the path is forgotten with it.
  now = curve();
  credit.clear();
  delay_min_us = 0;
  exit.restart();
}

void cubic_state::on_idle_restart(std::uint64_t idle_us, std::uint64_t now_us) noexcept {
  last_ack_us = now_us;
  if (now.epoch_us == never) return;
  now.epoch_us = std::min(now.epoch_us + idle_us, now_us);
}

}  // namespace runnel::tcp::detail
