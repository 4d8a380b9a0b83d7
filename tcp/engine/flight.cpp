#include "flight.hpp"

#include "core.hpp"

namespace runnel::tcp::detail {

flight* flight_of(core& host, connection& c) noexcept {
  if (c.flight != no_index) return &host.flights[c.flight];
  const std::uint32_t index = host.flights.allocate();
  if (index == no_index) return nullptr;
  host.pool.charge(sizeof(flight));
  c.flight = index;
  flight& f = host.flights[index];
  f = flight();
  f.fack = c.snd_.una;
  f.high_seq = c.snd_.una;
  f.delivered_us = f.first_sent_us = host.now_us();
  congestion_window window = window_of(host, c);
  const std::uint32_t ssthresh = window.ssthresh;
  const auto seed = static_cast<std::uint32_t>(host.flow_hash(c.key));
  f.control.start(setting(host, c, &connection_policy::congestion_control),
                  setting(host, c, &connection_policy::slow_start), window, window.cwnd,
                  host.now_us(), seed);
  // What was learned in earlier flights.
  if (!f.control.owns_window()) window.ssthresh = ssthresh;
  keep_window(host, c, window);
  return &f;
}

void land(core& host, connection& c) noexcept {
  if (c.flight == no_index || c.flow.phase != recovery_phase::open) return;
  const flight& f = host.flights[c.flight];
  // What was sent last keeps the next packet waiting.
  if (f.pacing_rate != 0 && f.next_send_us > host.now_us()) {
    c.when.pace = host.after_ms(static_cast<std::uint32_t>(
        std::min<std::uint64_t>((f.next_send_us - host.now_us()) / 1000 + 1, rto_limit_ms)));
    return schedule(host, c);
  }
  // BBR's model of the path is too dear to learn anew, as long as it is wanted.
  const auto wanted = setting(host, c, &connection_policy::congestion_control);
  if (!f.control.owns_window() || wanted != f.control.algorithm()) give_back_flight(host, c);
}

void land_soon(core& host, connection& c) noexcept {
  if (c.flight == no_index || c.unsent() > 0 || (c.fin_queued && !c.fin_sent)) return;
  if (host.flights[c.flight].control.owns_window()) return land(host, c);
  // Whether a probe has repaired a loss shows in the next acknowledgements.
  const bool probed = host.flights[c.flight].tlp_out;
  if (c.flow.cwnd < c.flow.ssthresh && !probed) return land(host, c);
  c.when.pace = host.after_ms(c.flow.rto_ms);
  schedule(host, c);
}

void give_back_flight(core& host, connection& c) noexcept {
  if (c.flight == no_index) return;
  host.flights.release(c.flight);
  host.pool.refund(sizeof(flight));
  c.flight = no_index;
  c.flow.phase = recovery_phase::open;
}

congestion_window window_of(const core& host, const connection& c) noexcept {
  congestion_window window;
  window.cwnd = c.flow.cwnd;
  window.ssthresh = c.flow.ssthresh;
  window.mss = c.snd_mss;
  if (c.flight != no_index) window.pacing_rate = host.flights[c.flight].pacing_rate;
  return window;
}

void keep_window(core& host, connection& c, const congestion_window& window) noexcept {
  c.flow.cwnd = std::clamp(window.cwnd, std::uint32_t{c.snd_mss}, cwnd_max);
  c.flow.ssthresh = window.ssthresh;
  if (c.flight == no_index) return;
  host.flights[c.flight].pacing_rate = window.pacing_rate;
  follow_pace(host, c);
}

bool is_paced(const core& host, const connection& c) noexcept {
  if (c.flight != no_index) return host.flights[c.flight].pacing_rate != 0;
  return setting(host, c, &connection_policy::pacing) ||
         setting(host, c, &connection_policy::max_pacing_rate) != 0;
}

void follow_pace(core& host, connection& c) noexcept {
  if (c.flight == no_index) return;
  flight& f = host.flights[c.flight];
  const std::uint64_t bound = setting(host, c, &connection_policy::max_pacing_rate);
  if (!f.control.owns_window()) {
    const bool wanted = bound != 0 || setting(host, c, &connection_policy::pacing);
    const pacing_ratio ratio{host.policy.pacing_ss_ratio, host.policy.pacing_ca_ratio};
    f.pacing_rate =
        wanted ? classic_pacing_rate(window_of(host, c), c.flow.srtt_us, c.in_flight(), ratio) : 0;
  }
  if (bound != 0 && (f.pacing_rate == 0 || f.pacing_rate > bound)) f.pacing_rate = bound;
}

}  // namespace runnel::tcp::detail
