#include <algorithm>

#include "core.hpp"

// Round-trip time (RFC 6298), congestion control (RFC 5681) and loss recovery without SACK
// (RFC 6582).

namespace runnel::tcp::detail {

void sample_rtt(const core& host, connection& c, std::uint32_t rtt_us) noexcept {
  transmission& flow = c.flow;
  rtt_us = std::clamp<std::uint32_t>(rtt_us, 1, rto_limit_ms * 1000);
  if (flow.srtt_us == 0) {
    // RFC 6298 (2.2).
    flow.srtt_us = rtt_us;
    flow.rttvar_us = rtt_us / 2;
  } else {
    // RFC 6298 (2.3): beta is 1/4, alpha is 1/8.
    const std::uint32_t error =
        flow.srtt_us > rtt_us ? flow.srtt_us - rtt_us : rtt_us - flow.srtt_us;
    flow.rttvar_us = flow.rttvar_us - flow.rttvar_us / 4 + error / 4;
    flow.srtt_us = std::max(flow.srtt_us - flow.srtt_us / 8 + rtt_us / 8, 1U);
  }
  // Linux bounds the variance's share and not the sum, so that the RTO is never under SRTT +
  // `rto_min`.
  const std::uint32_t least_us = setting_ms(host, c, &connection_policy::rto_min) * 1000;
  const std::uint32_t variance_us = std::max(4 * flow.rttvar_us, least_us);
  flow.rto_ms = std::min((flow.srtt_us + variance_us + 999) / 1000, rto_max_of(host, c));
}

void start_congestion_control(connection& c) noexcept {
  c.flow.cwnd = initial_window_segments * c.snd_mss;
  c.flow.recover = c.snd_.iss;
  c.flow.limited_at = c.snd_.nxt;
  c.flow.rtx_nxt = c.snd_.nxt;
  c.flow.rtx_end = c.snd_.nxt;
  c.flow.cwr_until = c.snd_.una;
  c.snd_.sml = c.snd_.una;
}

void restart_after_idle(const core& host, connection& c) noexcept {
  transmission& flow = c.flow;
  const std::uint32_t idle_ms = host.ms() - flow.silent_since_ms;
  const std::uint32_t restart = initial_window_segments * c.snd_mss;
  if (c.snd_.una != c.snd_.nxt || idle_ms <= flow.rto_ms || flow.cwnd <= restart) return;
  flow.ssthresh = std::max(flow.ssthresh, flow.cwnd - flow.cwnd / 4);
  const std::uint32_t halvings = std::min(idle_ms / flow.rto_ms, 31U);
  flow.cwnd = std::max(flow.cwnd >> halvings, restart);
}

namespace {

/// More than what a send buffer holds is never used, and must not be when the path has changed.
constexpr std::uint32_t cwnd_max = 1U << 30;

/// RFC 7661 §4.1: what did not fill the window says nothing about a larger one. In slow start half
/// of it is enough, as in Linux.
bool window_was_used(const connection& c, std::uint32_t acked_bytes) noexcept {
  const transmission& flow = c.flow;
  if (before(c.snd_.una - acked_bytes, flow.limited_at)) return true;
  return flow.cwnd < flow.ssthresh && c.in_flight() + acked_bytes > flow.cwnd / 2;
}

void grow(connection& c, std::uint32_t acked_bytes) noexcept {
  transmission& flow = c.flow;
  if (!window_was_used(c, acked_bytes)) return;
  if (flow.cwnd < flow.ssthresh) {
    // RFC 5681 §3.1 with RFC 3465's limit of two segments an acknowledgement, except that one
    // acknowledgement here may stand for a whole burst.
    flow.cwnd += acked_bytes;
    if (flow.cwnd > flow.ssthresh) flow.cwnd = std::max(flow.ssthresh, std::uint32_t{c.snd_mss});
  } else {
    flow.avoidance_acked += acked_bytes;
    while (flow.avoidance_acked >= flow.cwnd) {
      flow.avoidance_acked -= flow.cwnd;
      flow.cwnd += c.snd_mss;
    }
  }
  flow.cwnd = std::min(flow.cwnd, cwnd_max);
}

/// RFC 5681 equation 4.
std::uint32_t half_of_flight(const connection& c) noexcept {
  return std::max(c.in_flight() / 2, 2U * c.snd_mss);
}

/// RFC 6582 §3.2 step 3: an acknowledgement that does not cover everything that was in flight when
/// the loss was seen tells of the next loss.
void on_partial_ack(connection& c, std::uint32_t acked_bytes) noexcept {
  transmission& flow = c.flow;
  flow.rtx_nxt = c.snd_.una;
  flow.rtx_end = c.snd_.una + c.snd_mss;
  flow.cwnd -= std::min(flow.cwnd, acked_bytes);
  if (acked_bytes >= c.snd_mss) flow.cwnd += c.snd_mss;
  flow.cwnd = std::max(flow.cwnd, std::uint32_t{c.snd_mss});
}

}  // namespace

void on_new_ack(connection& c, std::uint32_t acked_bytes) noexcept {
  transmission& flow = c.flow;
  // These points follow SND.UNA, or they would come round again after 2 GiB.
  flow.rtx_nxt = later(flow.rtx_nxt, c.snd_.una);
  flow.rtx_end = later(flow.rtx_end, c.snd_.una);
  flow.cwr_until = later(flow.cwr_until, c.snd_.una);
  const bool recovered = at_or_after(c.snd_.una, flow.recover);
  // This one stays behind, for what is acknowledged must lie beyond it (RFC 6582 §3.2 step 2).
  flow.recover = later(flow.recover, c.snd_.una - 1);
  switch (flow.recovery) {
    case recovery_state::open:
      grow(c, acked_bytes);
      break;
    case recovery_state::loss:
      grow(c, acked_bytes);
      if (recovered) flow.recovery = recovery_state::open;
      break;
    case recovery_state::fast_recovery:
      if (recovered) {
        const std::uint32_t flight = std::max(c.in_flight(), std::uint32_t{c.snd_mss});
        flow.cwnd = std::min(flow.ssthresh, flight + c.snd_mss);
        flow.recovery = recovery_state::open;
        flow.rtx_end = c.snd_.una;
      } else {
        on_partial_ack(c, acked_bytes);
      }
      break;
  }
  flow.limited_at = later(flow.limited_at, c.snd_.una);
}

void on_duplicate_ack(core& host, connection& c) noexcept {
  transmission& flow = c.flow;
  if (flow.duplicate_acks < UINT8_MAX) ++flow.duplicate_acks;
  if (flow.recovery == recovery_state::fast_recovery) {
    // A segment has left the network: one more may enter it.
    flow.cwnd = std::min(flow.cwnd + c.snd_mss, cwnd_max);
    want_transmit(host, c);
    return;
  }
  // RFC 6582 §3.2 step 2: duplicates of what was sent before the last recovery ended prove nothing.
  if (flow.recovery != recovery_state::open || flow.duplicate_acks != 3 ||
      at_or_before(c.snd_.una, flow.recover)) {
    return;
  }
  ++host.count.fast_retrans;
  flow.ssthresh = half_of_flight(c);
  flow.cwnd = flow.ssthresh + 3U * c.snd_mss;
  flow.recovery = recovery_state::fast_recovery;
  flow.recover = c.snd_.nxt;
  flow.rtx_nxt = c.snd_.una;
  flow.rtx_end = c.snd_.una + c.snd_mss;
  flow.timing = false;
  want_transmit(host, c);
}

void on_congestion_echo(connection& c) noexcept {
  transmission& flow = c.flow;
  if (flow.recovery != recovery_state::open || before(c.snd_.una, flow.cwr_until)) return;
  flow.ssthresh = half_of_flight(c);
  flow.cwnd = std::min(flow.cwnd, flow.ssthresh);
  flow.cwr_until = c.snd_.nxt;
  c.cwr_due = true;
}

void resend_for_path(connection& c) noexcept {
  transmission& flow = c.flow;
  flow.recovery = recovery_state::loss;
  flow.recover = c.snd_.nxt;
  flow.rtx_nxt = c.snd_.una;
  flow.rtx_end = c.snd_.nxt;
  flow.duplicate_acks = 0;
  flow.timing = false;
  flow.cwnd = std::max(flow.cwnd, std::uint32_t{c.snd_mss});
}

void on_retransmission_timeout(connection& c) noexcept {
  transmission& flow = c.flow;
  // RFC 5681 §3.1: only the first timeout of a segment halves what is thought to be the capacity.
  if (flow.retransmits == 0) flow.ssthresh = half_of_flight(c);
  flow.cwnd = c.snd_mss;
  flow.avoidance_acked = 0;
  flow.duplicate_acks = 0;
  flow.recovery = recovery_state::loss;
  flow.recover = c.snd_.nxt;
  flow.rtx_nxt = c.snd_.una;
  flow.rtx_end = c.snd_.nxt;
  flow.timing = false;
}

}  // namespace runnel::tcp::detail
