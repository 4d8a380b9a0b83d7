#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "hystart.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "windowed_max.hpp"

// Congestion control behind one small interface: an algorithm is a file and a struct of plain data;
// what it may know and change is below. Sizes are bytes, times are microseconds.

namespace runnel::tcp::detail {

/// What every algorithm works on, and what survives when nothing is in flight.
struct congestion_window {
  std::uint32_t cwnd = 0;
  std::uint32_t ssthresh = UINT32_MAX;
  /// The sender's MSS, options not counted.
  std::uint32_t mss = 536;
  /// Bytes a second at which segments may leave; 0 does not pace.
  std::uint64_t pacing_rate = 0;

  bool in_slow_start() const noexcept { return cwnd < ssthresh; }
};

/// What one acknowledgement has told. "Delivered" is acknowledged or selectively acknowledged.
struct ack_sample {
  std::uint64_t now_us = 0;
  sequence una;
  sequence nxt;
  /// Bytes that this acknowledgement says were delivered, each once.
  std::uint32_t delivered_bytes = 0;
  /// Bytes found lost with it.
  std::uint32_t lost_bytes = 0;
  /// Bytes in flight before and after it (RFC 6675's pipe).
  std::uint32_t prior_flight = 0;
  std::uint32_t flight = 0;
  /// Its round trip; 0 for none that can be told (Karn).
  std::uint32_t rtt_us = 0;
  std::uint32_t srtt_us = 0;
  std::uint32_t min_rtt_us = 0;
  /// `cwnd` has kept something from being sent in this flight (RFC 7661 §4.1): only then may it
  /// grow.
  bool cwnd_limited = false;

  // A delivery rate sample (draft-ietf-ccwg-bbr, Linux's rate_sample): `rate_bytes` were delivered
  // in `rate_interval_us`; 0 for no sample.
  std::uint32_t rate_bytes = 0;
  std::uint32_t rate_interval_us = 0;
  /// What was delivered in all when the newest packet of it left, and what is now.
  std::uint64_t prior_delivered_bytes = 0;
  std::uint64_t total_delivered_bytes = 0;
  /// The application had nothing more to send then.
  bool rate_app_limited = false;
  /// The acknowledgement is a delayed or stretched one.
  bool ack_delayed = false;
};

/// How far loss recovery is, as Linux's tcp_ca_state has it.
enum class recovery_phase : std::uint8_t {
  /// Nothing is known to be lost.
  open,
  /// The window shrinks for a congestion echo or a local reason (Linux's CWR).
  reduced,
  /// Losses were found without a time-out.
  recovery,
  /// The retransmission timer has fired.
  loss,
};

/// More than any send buffer holds; no window grows beyond it.
inline constexpr std::uint32_t cwnd_max = 1U << 30;

/// Grows `cwnd` by what was acknowledged, up to `ssthresh`; returns the bytes that are left.
inline std::uint32_t grow_in_slow_start(congestion_window& window, std::uint32_t bytes) noexcept {
  const std::uint32_t end = std::min(window.ssthresh, cwnd_max);
  const std::uint32_t grown = window.cwnd < end ? std::min(bytes, end - window.cwnd) : 0;
  window.cwnd += grown;
  return bytes - grown;
}

/// What `cwnd` has earned in congestion avoidance and not been given, because it is not yet a whole
/// segment (Linux's snd_cwnd_cnt): 32 bits of bytes and 32 of a byte's fraction.
class growth_credit {
 public:
  /// `bytes` of growth for each acknowledged byte, as a fraction of 2^32; at most 1.
  void earn(std::uint32_t acked_bytes, std::uint64_t rate) noexcept {
    earned_ += std::min(acked_bytes, cwnd_max) * rate;
  }
  /// The whole segments earned so far, in bytes.
  std::uint32_t take(std::uint32_t mss) noexcept {
    const auto bytes = static_cast<std::uint32_t>(earned_ >> 32);
    const std::uint32_t whole = bytes - bytes % mss;
    earned_ -= std::uint64_t{whole} << 32;
    return whole;
  }
  void clear() noexcept { earned_ = 0; }

 private:
  std::uint64_t earned_ = 0;
};

/// `part` of `whole` as a fraction of 2^32, rounded up, so that a whole of acknowledged bytes earns
/// a part.
constexpr std::uint64_t growth_rate(std::uint32_t part, std::uint32_t whole) noexcept {
  whole = std::max(whole, 1U);
  return ((std::uint64_t{part} << 32) + whole - 1) / whole;
}

/// NewReno (RFC 5681 with the byte counting of RFC 3465).
struct reno_state {
  growth_credit credit;
  hystart exit;

  void start(slow_start kind) noexcept;
  void on_ack(congestion_window& window, const ack_sample& sample, recovery_phase phase) noexcept;
  std::uint32_t ssthresh_on_loss(const congestion_window& window) const noexcept;
  void on_timeout() noexcept;
};

/// CUBIC (RFC 9438). A time of day of `never` is none.
struct cubic_state {
  static constexpr std::uint64_t never = UINT64_MAX;

  /// What the curve is drawn from, and what a spurious loss gives back (RFC 9438 §4.9).
  struct curve {
    /// When congestion avoidance began.
    std::uint64_t epoch_us = never;
    /// The window before the last loss, less with fast convergence; 0 before any.
    std::uint32_t w_max = 0;
    /// Where the curve is flat, and how long after the epoch's beginning, in 1/1024 s.
    std::uint32_t origin = 0;
    std::uint32_t k = 0;
    /// What Reno would have reached meanwhile (RFC 9438 §4.3).
    std::uint32_t w_est = 0;
  };

  curve now;
  curve before_loss;
  /// The last acknowledgement outside of recovery.
  std::uint64_t last_ack_us = 0;
  growth_credit credit;
  growth_credit w_est_credit;
  hystart exit;
  /// RFC 9438's cwnd_prior: the window when `ssthresh` was set last.
  std::uint32_t cwnd_prior = 0;
  /// The shortest round trip seen, 0 for none.
  std::uint32_t delay_min_us = 0;

  void start(slow_start kind) noexcept;
  void on_ack(congestion_window& window, const ack_sample& sample, recovery_phase phase) noexcept;
  std::uint32_t ssthresh_on_loss(const congestion_window& window) noexcept;
  void on_timeout() noexcept;
  void undo() noexcept { now = before_loss; }
  void on_idle_restart(std::uint64_t idle_us, std::uint64_t now_us) noexcept;

 private:
  void begin_epoch(const congestion_window& window, std::uint64_t now_us) noexcept;
  void avoid_congestion(congestion_window& window, std::uint32_t acked_bytes,
                        std::uint64_t now_us) noexcept;
};

/// BBR, version 1, as Linux's net/ipv4/tcp_bbr.c has it; the names are its own. Bandwidths are in
/// units of 16 bytes a second, gains in 1/256. Times of day and totals are cut to 32 bits, as only
/// differences are taken.
class bbr_state {
 public:
  enum class mode : std::uint8_t { startup, drain, probe_bw, probe_rtt };
  /// A bandwidth of 1, in bytes a second.
  static constexpr std::uint32_t bandwidth_unit = 16;
  static constexpr std::uint64_t us_per_byte_at_1 = 1'000'000 / bandwidth_unit;

  void start(congestion_window& window, std::uint64_t now_us, std::uint32_t seed) noexcept;
  void on_ack(congestion_window& window, const ack_sample& sample, recovery_phase phase) noexcept;
  void on_loss(const congestion_window& window) noexcept { save_cwnd(window); }
  void on_timeout(std::uint64_t now_us) noexcept;
  void on_recovery_exit(congestion_window& window) noexcept;
  void undo() noexcept;
  void on_idle_restart(congestion_window& window, std::uint64_t now_us) noexcept;

  mode current_mode() const noexcept { return mode_; }
  std::uint32_t min_rtt_us() const noexcept { return min_rtt_us_; }
  /// What the path is believed to carry, in bytes a second.
  std::uint64_t bandwidth() const noexcept { return std::uint64_t{bw()} * bandwidth_unit; }
  /// A policer is believed to bound it.
  bool policed() const noexcept { return lt_use_bw_; }

 private:
  static std::uint32_t bandwidth_of(std::uint64_t bytes, std::uint32_t us) noexcept {
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(bytes * us_per_byte_at_1 / std::max(us, 1U), UINT32_MAX));
  }
  std::uint32_t bw() const noexcept { return lt_use_bw_ ? lt_bw_ : max_bw_.best(); }
  bool is_round_start(const ack_sample& sample) noexcept;
  bool app_limited(const ack_sample& sample) noexcept;
  void update_ack_aggregation(const congestion_window& window, const ack_sample& sample) noexcept;
  void update_cycle_phase(const congestion_window& window, const ack_sample& sample) noexcept;
  bool is_next_cycle_phase(const congestion_window& window,
                           const ack_sample& sample) const noexcept;
  void check_full_bw_reached(bool limited) noexcept;
  void check_drain(congestion_window& window, const ack_sample& sample) noexcept;
  void update_min_rtt(congestion_window& window, const ack_sample& sample) noexcept;
  void check_probe_rtt_done(congestion_window& window, std::uint64_t now_us) noexcept;
  void update_gains() noexcept;
  void set_pacing_rate(congestion_window& window, std::uint32_t bw, std::uint32_t gain,
                       std::uint32_t srtt_us) noexcept;
  void set_cwnd(congestion_window& window, const ack_sample& sample, recovery_phase phase) noexcept;
  bool recover_or_restore(congestion_window& window, const ack_sample& sample,
                          recovery_phase phase) noexcept;

  std::uint64_t bdp(const congestion_window& window, std::uint32_t bw,
                    std::uint32_t gain) const noexcept;
  std::uint64_t quantized(const congestion_window& window, std::uint64_t bytes) const noexcept;
  std::uint64_t inflight(const congestion_window& window, std::uint32_t bw,
                         std::uint32_t gain) const noexcept;
  std::uint64_t aggregation_bonus() const noexcept;

  void save_cwnd(const congestion_window& window) noexcept;
  void enter_probe_bw(std::uint32_t now_us) noexcept;
  void sample_lt_bw(std::uint32_t now_us, bool lossy, bool limited) noexcept;
  void end_lt_interval(std::uint32_t bw, std::uint32_t now_us) noexcept;
  void begin_lt_interval(std::uint32_t now_us) noexcept;
  void reset_lt_bw(std::uint32_t now_us) noexcept;

  windowed_max max_bw_;
  std::uint32_t rtt_cnt_ = 0;
  std::uint32_t next_rtt_delivered_ = 0;
  std::uint32_t delivered_ = 0;
  std::uint32_t lost_ = 0;
  std::uint32_t min_rtt_us_ = UINT32_MAX;
  std::uint32_t min_rtt_stamp_ms_ = 0;
  std::uint32_t probe_rtt_done_ms_ = 0;
  std::uint32_t cycle_stamp_us_ = 0;
  std::uint32_t prior_cwnd_ = 0;
  std::uint32_t full_bw_ = 0;
  // Long-term sampling, which looks for a policer.
  std::uint32_t lt_bw_ = 0;
  std::uint32_t lt_last_us_ = 0;
  std::uint32_t lt_last_delivered_ = 0;
  std::uint32_t lt_last_lost_ = 0;
  // What came beyond the bandwidth: the most of this and the last five rounds.
  std::uint32_t ack_epoch_us_ = 0;
  std::uint32_t ack_epoch_acked_ = 0;
  std::uint32_t extra_acked_[2] = {0, 0};
  /// What left while PROBE_RTT kept the window small says nothing of the bandwidth.
  std::uint32_t limited_until_ = 0;
  std::uint32_t random_ = 0;
  std::uint16_t pacing_gain_ = 0;
  std::uint16_t cwnd_gain_ = 0;
  mode mode_ = mode::startup;
  recovery_phase prior_phase_ = recovery_phase::open;
  std::uint8_t cycle_idx_ : 3 = 0;
  std::uint8_t full_bw_cnt_ : 2 = 0;
  std::uint8_t extra_acked_idx_ : 1 = 0;
  std::uint8_t extra_acked_rtts_ = 0;
  std::uint8_t lt_rtt_cnt_ = 0;
  bool round_start_ : 1 = false;
  bool full_bw_reached_ : 1 = false;
  bool packet_conservation_ : 1 = false;
  bool idle_restart_ : 1 = false;
  bool has_seen_rtt_ : 1 = false;
  bool probe_rtt_timed_ : 1 = false;
  bool probe_rtt_round_done_ : 1 = false;
  bool limited_by_probe_ : 1 = false;
  bool lt_is_sampling_ : 1 = false;
  bool lt_use_bw_ : 1 = false;
};

/// One connection's congestion control: the algorithm and its state, plain data that is copied and
/// dropped freely. The caller owns the window, tells of acknowledgements and losses, and runs
/// recovery; it calls nothing before `start`.
class congestion {
 public:
  /// Begins with `cwnd` at `initial_cwnd_bytes` and `ssthresh` without bound. `window.mss` is set
  /// already. `seed` decides where BBR's gain cycle begins.
  void start(congestion_control algorithm, slow_start exit, congestion_window& window,
             std::uint32_t initial_cwnd_bytes, std::uint64_t now_us, std::uint32_t seed) noexcept;

  congestion_control algorithm() const noexcept { return algorithm_; }
  /// The algorithm sets `cwnd` in every phase and `pacing_rate` with it: the caller does no
  /// proportional rate reduction, does not take `cwnd` to `ssthresh`, does not validate or decay
  /// `cwnd` after idling, and paces.
  bool owns_window() const noexcept { return algorithm_ == congestion_control::bbr; }

  /// For each acknowledgement that delivered something, after losses were found and `phase` was
  /// brought up to date with it. CUBIC and Reno leave the window alone in the phases `reduced` and
  /// `recovery`, where the caller reduces it; in `loss` they grow it as in `open`.
  void on_ack(congestion_window& window, const ack_sample& sample, recovery_phase phase) noexcept;

  /// Once for each reduction, before `cwnd` changes: what `ssthresh` is to be from now on. That is
  /// when `reduced` or `recovery` is entered from `open`, and when `loss` is unless the same flight
  /// was reduced for already (Linux's tcp_init_cwnd_reduction and tcp_enter_loss). What was before
  /// is kept for `undo`.
  std::uint32_t ssthresh_on_loss(const congestion_window& window) noexcept;

  /// The retransmission timer has fired. `ssthresh_on_loss` comes first where it is due. Takes
  /// `cwnd` to one segment (RFC 5681 §3.1); a caller that still counts bytes as in flight adds
  /// them, as Linux does.
  void on_timeout(congestion_window& window, std::uint64_t now_us) noexcept;

  /// `recovery`, `reduced` or `loss` is over, and not by `undo`. CUBIC and Reno expect `cwnd` where
  /// the caller's reduction has left it; BBR takes it back to what it was.
  void on_recovery_exit(congestion_window& window, std::uint64_t now_us) noexcept;

  /// The last `ssthresh_on_loss` was without reason: `cwnd` and `ssthresh` become what they were
  /// then, or remain if they are larger. A second call does nothing.
  void undo(congestion_window& window) noexcept;

  /// Something is sent after nothing was in flight for `idle_us` (Linux's CA_EVENT_TX_START).
  void on_idle_restart(congestion_window& window, std::uint64_t idle_us,
                       std::uint64_t now_us) noexcept;

  const cubic_state* cubic() const noexcept {
    return algorithm_ == congestion_control::cubic ? &state_.cubic : nullptr;
  }
  const bbr_state* bbr() const noexcept {
    return algorithm_ == congestion_control::bbr ? &state_.bbr : nullptr;
  }

 private:
  union algorithm_state {
    algorithm_state() noexcept : reno() {}
    reno_state reno;
    cubic_state cubic;
    bbr_state bbr;
  };

  algorithm_state state_;
  /// The window at the last loss, for `undo`; 0 for none.
  std::uint32_t prior_cwnd_ = 0;
  std::uint32_t prior_ssthresh_ = 0;
  congestion_control algorithm_ = congestion_control::reno;
};

static_assert(std::is_trivially_copyable_v<congestion>);
static_assert(sizeof(congestion) <= 136);

/// What is paced at, in percent of `cwnd` a round trip: in the first half of slow start, and after
/// it (tcp_pacing_ss_ratio, tcp_pacing_ca_ratio).
struct pacing_ratio {
  std::uint32_t slow_start = 200;
  std::uint32_t avoidance = 120;
};

/// Bytes a second at which Linux paces an algorithm that does not pace by itself, once pacing is
/// asked for; `flight` counts where it is more than `cwnd`. 0 without a round trip.
std::uint64_t classic_pacing_rate(const congestion_window& window, std::uint32_t srtt_us,
                                  std::uint32_t flight = 0, pacing_ratio ratio = {}) noexcept;

}  // namespace runnel::tcp::detail
