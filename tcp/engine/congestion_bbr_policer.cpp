#include "congestion.hpp"

// BBR's long-term bandwidth sampling: a token-bucket policer lets a burst through and then drops
// what is beyond its rate, which the largest bandwidth of ten rounds would go on taking for the
// path's. Two intervals of high loss with the same rate tell it.

namespace runnel::tcp::detail {

namespace {

// Linux's bbr_lt_intvl_min_rtts, bbr_lt_loss_thresh (of 256), bbr_lt_bw_ratio (1 / 8),
// bbr_lt_bw_diff (4 kbit/s) and bbr_lt_bw_max_rtts.
constexpr std::uint32_t lt_min_rounds = 4;
constexpr std::uint64_t lt_loss_threshold = 50;
constexpr std::uint32_t lt_bw_ratio_divisor = 8;
constexpr std::uint32_t lt_bw_difference = 4000 / 8;
constexpr std::uint32_t lt_max_rounds = 48;
// No rate is told from less.
constexpr std::uint32_t shortest_interval_us = 1000;

}  // namespace

void bbr_state::begin_lt_interval(std::uint32_t now_us) noexcept {
  lt_last_us_ = now_us;
  lt_last_delivered_ = delivered_;
  lt_last_lost_ = lost_;
  lt_rtt_cnt_ = 0;
}

void bbr_state::reset_lt_bw(std::uint32_t now_us) noexcept {
  lt_bw_ = 0;
  lt_use_bw_ = false;
  lt_is_sampling_ = false;
  begin_lt_interval(now_us);
}

void bbr_state::end_lt_interval(std::uint32_t bw, std::uint32_t now_us) noexcept {
  const std::uint32_t difference = bw > lt_bw_ ? bw - lt_bw_ : lt_bw_ - bw;
  if (lt_bw_ != 0 && (difference <= lt_bw_ / lt_bw_ratio_divisor ||
                      difference <= lt_bw_difference / bandwidth_unit)) {
    lt_bw_ = bw / 2 + lt_bw_ / 2;
    lt_use_bw_ = true;
    pacing_gain_ = 256;
    lt_rtt_cnt_ = 0;
    return;
  }
  lt_bw_ = bw;
  begin_lt_interval(now_us);
}

void bbr_state::sample_lt_bw(std::uint32_t now_us, bool lossy, bool limited) noexcept {
  if (lt_use_bw_) {
    // After a while it is worth a try whether the policer is gone.
    if (mode_ == mode::probe_bw && round_start_ && ++lt_rtt_cnt_ >= lt_max_rounds) {
      reset_lt_bw(now_us);
      enter_probe_bw(now_us);
    }
    return;
  }
  if (!lt_is_sampling_) {
    if (!lossy) return;
    // The bucket is empty.
    begin_lt_interval(now_us);
    lt_is_sampling_ = true;
  }
  if (limited) return reset_lt_bw(now_us);
  if (round_start_) ++lt_rtt_cnt_;
  if (lt_rtt_cnt_ < lt_min_rounds) return;
  if (lt_rtt_cnt_ > 4 * lt_min_rounds) return reset_lt_bw(now_us);
  // An interval ends with a loss, as one that ends in the policer's refill would tell too much.
  if (!lossy) return;
  const std::uint32_t lost = lost_ - lt_last_lost_;
  const std::uint32_t delivered = delivered_ - lt_last_delivered_;
  if (delivered == 0 || std::uint64_t{lost} * 256 < lt_loss_threshold * delivered) return;
  const std::uint32_t interval_us = now_us - lt_last_us_;
  if (interval_us < shortest_interval_us) return;
  end_lt_interval(bandwidth_of(delivered, interval_us), now_us);
}

}  // namespace runnel::tcp::detail
