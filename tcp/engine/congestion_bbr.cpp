#include <algorithm>

#include "congestion.hpp"

// BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00), with the values of Linux's
// net/ipv4/tcp_bbr.c, whose names the constants carry in their comments.

namespace runnel::tcp::detail {

namespace {

// BBR_UNIT: gains are fractions of it.
constexpr std::uint32_t unit = 256;
// bbr_high_gain, 2/ln 2, and bbr_drain_gain, its inverse.
constexpr std::uint16_t high_gain = unit * 2885 / 1000 + 1;
constexpr std::uint16_t drain_gain = unit * 1000 / 2885;
// bbr_cwnd_gain and bbr_pacing_gain[].
constexpr std::uint16_t probe_bw_cwnd_gain = unit * 2;
constexpr std::uint8_t cycle_length = 8;
constexpr std::uint16_t cycle_gains[cycle_length] = {unit * 5 / 4, unit * 3 / 4, unit, unit,
                                                     unit,         unit,         unit, unit};
// bbr_cycle_rand.
constexpr std::uint32_t cycle_random = 7;
// bbr_bw_rtts: the rounds over which the largest bandwidth counts.
constexpr std::uint32_t bw_rounds = cycle_length + 2;
// bbr_min_rtt_win_sec and bbr_probe_rtt_mode_ms.
constexpr std::uint32_t min_rtt_window_ms = 10'000;
constexpr std::uint32_t probe_rtt_ms = 200;
// bbr_cwnd_min_target and TCP_INIT_CWND.
constexpr std::uint32_t min_segments = 4;
constexpr std::uint32_t initial_segments = 10;
// bbr_pacing_margin_percent.
constexpr std::uint64_t pacing_percent = 99;
// bbr_full_bw_thresh and bbr_full_bw_cnt.
constexpr std::uint32_t full_bw_threshold = unit * 5 / 4;
constexpr std::uint32_t full_bw_rounds = 3;
// bbr_min_tso_rate, sk_pacing_shift, and GSO_LEGACY_MAX_SIZE: how large a burst pacing makes.
constexpr std::uint64_t min_burst_rate = 1'200'000 / 8;
constexpr std::uint32_t burst_shift = 10;
constexpr std::uint64_t burst_max = 65536;
constexpr std::uint64_t burst_segments_max = 127;
// bbr_extra_acked_win_rtts, bbr_extra_acked_max_us, bbr_ack_epoch_acked_reset_thresh (which is in
// packets of about 1 KiB).
constexpr std::uint32_t extra_acked_rounds = 5;
constexpr std::uint32_t extra_acked_max_us = 100'000;
constexpr std::uint32_t ack_epoch_max = 1U << 30;
// Before anything is known: a round trip of 1 ms.
constexpr std::uint32_t nominal_rtt_us = 1000;

std::uint64_t bytes_in(std::uint32_t bw, std::uint32_t us) noexcept {
  return std::uint64_t{bw} * us / bbr_state::us_per_byte_at_1;
}

std::uint32_t scaled(std::uint32_t bw, std::uint32_t gain) noexcept {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(std::uint64_t{bw} * gain / unit, UINT32_MAX));
}

std::uint32_t narrow(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, cwnd_max));
}

bool reached(std::uint32_t value, std::uint32_t mark) noexcept {
  return static_cast<std::int32_t>(value - mark) >= 0;
}

bool has_rate(const ack_sample& sample) noexcept {
  return sample.rate_interval_us != 0;
}

/// Milliseconds of a time of day, which wrap at 2^32 of them and not earlier.
std::uint32_t in_ms(std::uint64_t us) noexcept {
  return static_cast<std::uint32_t>(us / 1000);
}

}  // namespace

void bbr_state::start(congestion_window& window, std::uint64_t now_us,
                      std::uint32_t seed) noexcept {
  *this = bbr_state();
  const auto now = static_cast<std::uint32_t>(now_us);
  random_ = seed;
  pacing_gain_ = cwnd_gain_ = high_gain;
  min_rtt_stamp_ms_ = in_ms(now_us);
  cycle_stamp_us_ = ack_epoch_us_ = now;
  begin_lt_interval(now);
  set_pacing_rate(window, bandwidth_of(window.cwnd, nominal_rtt_us), high_gain, 0);
}

void bbr_state::on_ack(congestion_window& window, const ack_sample& sample,
                       recovery_phase phase) noexcept {
  delivered_ = static_cast<std::uint32_t>(sample.total_delivered_bytes);
  lost_ += sample.lost_bytes;
  if (min_rtt_us_ == UINT32_MAX && sample.min_rtt_us != 0) min_rtt_us_ = sample.min_rtt_us;
  const bool limited = app_limited(sample);
  round_start_ = has_rate(sample) && is_round_start(sample);
  if (has_rate(sample)) {
    sample_lt_bw(static_cast<std::uint32_t>(sample.now_us), sample.lost_bytes != 0, limited);
    const std::uint32_t rate = bandwidth_of(sample.rate_bytes, sample.rate_interval_us);
    if (!limited || rate >= max_bw_.best()) max_bw_.add(rate, rtt_cnt_, bw_rounds);
    update_ack_aggregation(window, sample);
  }
  update_cycle_phase(window, sample);
  check_full_bw_reached(limited);
  check_drain(window, sample);
  update_min_rtt(window, sample);
  update_gains();
  set_pacing_rate(window, bw(), pacing_gain_, sample.srtt_us);
  set_cwnd(window, sample, phase);
}

/// What left after the last round's end was acknowledged begins the next.
bool bbr_state::is_round_start(const ack_sample& sample) noexcept {
  if (!reached(static_cast<std::uint32_t>(sample.prior_delivered_bytes), next_rtt_delivered_)) {
    return false;
  }
  next_rtt_delivered_ = delivered_;
  ++rtt_cnt_;
  packet_conservation_ = false;
  return true;
}

bool bbr_state::app_limited(const ack_sample& sample) noexcept {
  if (limited_by_probe_ && has_rate(sample) &&
      !reached(limited_until_, static_cast<std::uint32_t>(sample.prior_delivered_bytes))) {
    limited_by_probe_ = false;
  }
  return sample.rate_app_limited || limited_by_probe_;
}

/// Links that gather acknowledgements let the window run dry between them: what came beyond the
/// bandwidth is allowed on top of it.
void bbr_state::update_ack_aggregation(const congestion_window& window,
                                       const ack_sample& sample) noexcept {
  if (round_start_ && ++extra_acked_rtts_ >= extra_acked_rounds) {
    extra_acked_rtts_ = 0;
    extra_acked_idx_ = extra_acked_idx_ == 0 ? 1 : 0;
    extra_acked_[extra_acked_idx_] = 0;
  }
  const auto now = static_cast<std::uint32_t>(sample.now_us);
  std::uint64_t expected = bytes_in(bw(), now - ack_epoch_us_);
  if (ack_epoch_acked_ <= expected || ack_epoch_acked_ >= ack_epoch_max) {
    ack_epoch_acked_ = 0;
    ack_epoch_us_ = now;
    expected = 0;
  }
  ack_epoch_acked_ += std::min(sample.delivered_bytes, cwnd_max);
  const auto extra =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(ack_epoch_acked_ - expected, window.cwnd));
  extra_acked_[extra_acked_idx_] = std::max(extra_acked_[extra_acked_idx_], extra);
}

std::uint64_t bbr_state::aggregation_bonus() const noexcept {
  if (!full_bw_reached_) return 0;
  const std::uint64_t most = std::max(extra_acked_[0], extra_acked_[1]);
  return std::min(most, bytes_in(bw(), extra_acked_max_us));
}

bool bbr_state::is_next_cycle_phase(const congestion_window& window,
                                    const ack_sample& sample) const noexcept {
  const bool full_length =
      static_cast<std::uint32_t>(sample.now_us) - cycle_stamp_us_ > min_rtt_us_;
  if (pacing_gain_ == unit) return full_length;
  // Probing lasts until it has filled the path that much further or has met losses; draining ends
  // as soon as the queue is gone.
  if (pacing_gain_ > unit) {
    return full_length && (sample.lost_bytes != 0 ||
                           sample.prior_flight >= inflight(window, max_bw_.best(), pacing_gain_));
  }
  return full_length || sample.prior_flight <= inflight(window, max_bw_.best(), unit);
}

void bbr_state::update_cycle_phase(const congestion_window& window,
                                   const ack_sample& sample) noexcept {
  if (mode_ != mode::probe_bw || !is_next_cycle_phase(window, sample)) return;
  // Three bits: after the last comes the first.
  ++cycle_idx_;
  cycle_stamp_us_ = static_cast<std::uint32_t>(sample.now_us);
}

void bbr_state::enter_probe_bw(std::uint32_t now_us) noexcept {
  mode_ = mode::probe_bw;
  // Any phase but the one that drains: there is nothing to drain.
  random_ = random_ * 1664525 + 1013904223;
  const std::uint32_t drawn = (random_ >> 16) % cycle_random;
  cycle_idx_ = static_cast<std::uint8_t>((cycle_length - drawn) % cycle_length) & 7U;
  cycle_stamp_us_ = now_us;
}

void bbr_state::check_full_bw_reached(bool limited) noexcept {
  if (full_bw_reached_ || !round_start_ || limited) return;
  if (max_bw_.best() >= scaled(full_bw_, full_bw_threshold)) {
    full_bw_ = max_bw_.best();
    full_bw_cnt_ = 0;
    return;
  }
  ++full_bw_cnt_;
  full_bw_reached_ = full_bw_cnt_ >= full_bw_rounds;
}

void bbr_state::check_drain(congestion_window& window, const ack_sample& sample) noexcept {
  if (mode_ == mode::startup && full_bw_reached_) {
    mode_ = mode::drain;
    window.ssthresh = narrow(inflight(window, max_bw_.best(), unit));
  }
  if (mode_ == mode::drain && sample.flight <= inflight(window, max_bw_.best(), unit)) {
    enter_probe_bw(static_cast<std::uint32_t>(sample.now_us));
  }
}

void bbr_state::update_min_rtt(congestion_window& window, const ack_sample& sample) noexcept {
  const std::uint32_t now_ms = in_ms(sample.now_us);
  const bool expired = !reached(min_rtt_stamp_ms_ + min_rtt_window_ms, now_ms);
  if (sample.rtt_us != 0 && (sample.rtt_us < min_rtt_us_ || (expired && !sample.ack_delayed))) {
    min_rtt_us_ = sample.rtt_us;
    min_rtt_stamp_ms_ = now_ms;
  }
  if (expired && !idle_restart_ && mode_ != mode::probe_rtt) {
    save_cwnd(window);
    mode_ = mode::probe_rtt;
    probe_rtt_timed_ = false;
  }
  if (mode_ == mode::probe_rtt) {
    limited_by_probe_ = true;
    limited_until_ = delivered_ + sample.flight;
    if (!probe_rtt_timed_) {
      // The 200 ms begin when the queue can be empty.
      if (sample.flight <= min_segments * window.mss) {
        probe_rtt_timed_ = true;
        probe_rtt_done_ms_ = now_ms + probe_rtt_ms;
        probe_rtt_round_done_ = false;
        next_rtt_delivered_ = delivered_;
      }
    } else {
      if (round_start_) probe_rtt_round_done_ = true;
      if (probe_rtt_round_done_) check_probe_rtt_done(window, sample.now_us);
    }
  }
  if (has_rate(sample) && sample.rate_bytes != 0) idle_restart_ = false;
}

void bbr_state::check_probe_rtt_done(congestion_window& window, std::uint64_t now_us) noexcept {
  const std::uint32_t now_ms = in_ms(now_us);
  if (!probe_rtt_timed_ || reached(probe_rtt_done_ms_, now_ms)) return;
  min_rtt_stamp_ms_ = now_ms;
  window.cwnd = std::max(window.cwnd, prior_cwnd_);
  probe_rtt_timed_ = false;
  if (full_bw_reached_) {
    enter_probe_bw(static_cast<std::uint32_t>(now_us));
  } else {
    mode_ = mode::startup;
  }
}

void bbr_state::update_gains() noexcept {
  switch (mode_) {
    case mode::startup:
      pacing_gain_ = cwnd_gain_ = high_gain;
      return;
    case mode::drain:
      pacing_gain_ = drain_gain;
      cwnd_gain_ = high_gain;
      return;
    case mode::probe_bw:
      pacing_gain_ = lt_use_bw_ ? static_cast<std::uint16_t>(unit) : cycle_gains[cycle_idx_];
      cwnd_gain_ = probe_bw_cwnd_gain;
      return;
    case mode::probe_rtt:
      pacing_gain_ = cwnd_gain_ = unit;
      return;
  }
}

void bbr_state::set_pacing_rate(congestion_window& window, std::uint32_t bw, std::uint32_t gain,
                                std::uint32_t srtt_us) noexcept {
  if (!has_seen_rtt_ && srtt_us != 0) {
    // The first guess was made without a round trip.
    has_seen_rtt_ = true;
    window.pacing_rate = 0;
    set_pacing_rate(window, bandwidth_of(window.cwnd, srtt_us), high_gain, srtt_us);
  }
  const std::uint64_t rate =
      std::uint64_t{bw} * bandwidth_unit * gain / unit * pacing_percent / 100;
  // Before the path is known to be full, one low sample does not slow it down.
  if (full_bw_reached_ || rate > window.pacing_rate)
    window.pacing_rate = std::max<std::uint64_t>(rate, 1);
}

std::uint64_t bbr_state::bdp(const congestion_window& window, std::uint32_t bw,
                             std::uint32_t gain) const noexcept {
  if (min_rtt_us_ == UINT32_MAX) return std::uint64_t{initial_segments} * window.mss;
  return std::min<std::uint64_t>(bytes_in(bw, min_rtt_us_), cwnd_max) * gain / unit;
}

/// With room for the bursts that sender, link and receiver make of it, so that they do not stall.
std::uint64_t bbr_state::quantized(const congestion_window& window,
                                   std::uint64_t bytes) const noexcept {
  const std::uint64_t mss = std::max(window.mss, 1U);
  const std::uint64_t burst = std::min(window.pacing_rate >> burst_shift, burst_max) / mss;
  const std::uint64_t least = window.pacing_rate < min_burst_rate ? 1 : 2;
  bytes += 3 * std::clamp(burst, least, burst_segments_max) * mss;
  // An even number, so that delayed acknowledgements leave nothing over.
  bytes = (bytes + 2 * mss - 1) / (2 * mss) * (2 * mss);
  if (mode_ == mode::probe_bw && cycle_idx_ == 0) bytes += 2 * mss;
  return bytes;
}

std::uint64_t bbr_state::inflight(const congestion_window& window, std::uint32_t bw,
                                  std::uint32_t gain) const noexcept {
  return quantized(window, bdp(window, bw, gain));
}

void bbr_state::save_cwnd(const congestion_window& window) noexcept {
  const bool undisturbed = prior_phase_ < recovery_phase::recovery && mode_ != mode::probe_rtt;
  prior_cwnd_ = undisturbed ? window.cwnd : std::max(prior_cwnd_, window.cwnd);
}

/// In the first round of recovery what leaves is what is delivered. Returns whether that decides.
bool bbr_state::recover_or_restore(congestion_window& window, const ack_sample& sample,
                                   recovery_phase phase) noexcept {
  if (sample.lost_bytes != 0) {
    window.cwnd = std::max(window.cwnd - std::min(window.cwnd, sample.lost_bytes), window.mss);
  }
  const std::uint32_t conserved = narrow(std::uint64_t{sample.flight} + sample.delivered_bytes);
  if (phase == recovery_phase::recovery && prior_phase_ != recovery_phase::recovery) {
    packet_conservation_ = true;
    next_rtt_delivered_ = delivered_;
    window.cwnd = conserved;
  } else if (phase < recovery_phase::recovery) {
    on_recovery_exit(window);
  }
  prior_phase_ = phase;
  if (packet_conservation_) window.cwnd = std::max(window.cwnd, conserved);
  return packet_conservation_;
}

void bbr_state::set_cwnd(congestion_window& window, const ack_sample& sample,
                         recovery_phase phase) noexcept {
  const std::uint32_t least = min_segments * window.mss;
  if (sample.delivered_bytes != 0 && !recover_or_restore(window, sample, phase)) {
    const std::uint64_t target =
        quantized(window, bdp(window, bw(), cwnd_gain_) + aggregation_bonus());
    const std::uint64_t grown = std::uint64_t{window.cwnd} + sample.delivered_bytes;
    if (full_bw_reached_) {
      window.cwnd = narrow(std::min(grown, target));
    } else if (window.cwnd < target ||
               sample.total_delivered_bytes < std::uint64_t{initial_segments} * window.mss) {
      window.cwnd = narrow(grown);
    }
    window.cwnd = std::max(window.cwnd, least);
  }
  if (mode_ == mode::probe_rtt) window.cwnd = std::min(window.cwnd, least);
}

void bbr_state::on_timeout(std::uint64_t now_us) noexcept {
  prior_phase_ = recovery_phase::loss;
  full_bw_ = 0;
  round_start_ = true;
  sample_lt_bw(static_cast<std::uint32_t>(now_us), true, false);
}

void bbr_state::on_recovery_exit(congestion_window& window) noexcept {
  if (prior_phase_ < recovery_phase::recovery) return;
  window.cwnd = std::max(window.cwnd, prior_cwnd_);
  packet_conservation_ = false;
  prior_phase_ = recovery_phase::open;
}

void bbr_state::undo() noexcept {
  // The losses that ended or might end STARTUP were none.
  full_bw_ = 0;
  full_bw_cnt_ = 0;
  reset_lt_bw(lt_last_us_);
}

void bbr_state::on_idle_restart(congestion_window& window, std::uint64_t now_us) noexcept {
  idle_restart_ = true;
  ack_epoch_us_ = static_cast<std::uint32_t>(now_us);
  ack_epoch_acked_ = 0;
  if (mode_ == mode::probe_bw) {
    // The path is empty: the bandwidth fills it, and no burst is needed.
    set_pacing_rate(window, bw(), unit, 0);
  } else if (mode_ == mode::probe_rtt) {
    check_probe_rtt_done(window, now_us);
  }
}

}  // namespace runnel::tcp::detail
