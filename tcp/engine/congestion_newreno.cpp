#include <algorithm>

#include "congestion.hpp"

namespace runnel::tcp::detail {

void reno_state::start(slow_start kind) noexcept {
  credit.clear();
  exit.start(kind == slow_start::hystart ? slow_start::standard : kind);
}

void reno_state::on_ack(congestion_window& window, const ack_sample& sample,
                        recovery_phase phase) noexcept {
  if (phase == recovery_phase::reduced || phase == recovery_phase::recovery) return;
  std::uint32_t bytes = sample.delivered_bytes;
  if (window.in_slow_start()) bytes = exit.on_ack(window, sample, sample.min_rtt_us);
  if (!sample.cwnd_limited) return;
  // What an acknowledgement has left over from slow start counts for congestion avoidance, as in
  // Linux.
  if (window.in_slow_start()) bytes = grow_in_slow_start(window, bytes);
  if (bytes == 0 || window.in_slow_start()) return;
  // RFC 5681 §3.1: one segment for each window.
  const std::uint32_t mss = std::max(window.mss, 1U);
  credit.earn(bytes, growth_rate(mss, std::max(window.cwnd, mss)));
  window.cwnd = std::min(window.cwnd + credit.take(mss), std::max(window.cwnd, cwnd_max));
}

std::uint32_t reno_state::ssthresh_on_loss(const congestion_window& window) const noexcept {
  // RFC 5681 §3.1 (4), from cwnd as Linux does: what the window was not used for it has not grown
  // by.
  return std::max(window.cwnd / 2, 2 * window.mss);
}

void reno_state::on_timeout() noexcept {
  credit.clear();
}

}  // namespace runnel::tcp::detail
