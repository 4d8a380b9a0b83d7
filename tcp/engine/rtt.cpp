#include <algorithm>

#include "core.hpp"

// Round-trip time and the retransmission time-out (RFC 6298 with Linux's bounds).

namespace runnel::tcp::detail {

namespace {

/// Linux's net.ipv4.tcp_min_rtt_wlen.
constexpr std::uint32_t minimum_window_ms = 300'000;

}  // namespace

void sample_rtt(core& host, connection& c, std::uint32_t rtt_us) noexcept {
  transmission& flow = c.flow;
  rtt_us = std::clamp<std::uint32_t>(rtt_us, 1, rto_limit_ms * 1000);
  const bool stale = host.ms() - flow.min_rtt_ms > minimum_window_ms;
  if (flow.min_rtt_us == 0 || rtt_us <= flow.min_rtt_us || stale) {
    flow.min_rtt_us = rtt_us;
    flow.min_rtt_ms = host.ms();
  }
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
  flow.rto_ms = measured_rto_ms(host, c);
}

std::uint32_t measured_rto_ms(const core& host, const connection& c) noexcept {
  if (c.flow.srtt_us == 0) return rto_initial_of(host, c);
  // Linux bounds the variance's share and not the sum, so that the RTO is never under SRTT +
  // `rto_min`.
  const std::uint32_t least_us = setting_ms(host, c, &connection_policy::rto_min) * 1000;
  const std::uint32_t variance_us = std::max(4 * c.flow.rttvar_us, least_us);
  return std::min((c.flow.srtt_us + variance_us + 999) / 1000, rto_max_of(host, c));
}

}  // namespace runnel::tcp::detail
