#include "flight.hpp"

#include "core.hpp"

namespace runnel::tcp::detail {

flight* flight_of(core& host, connection& c) noexcept {
  if (c.flight != no_index) return &host.flights[c.flight];
  const std::uint32_t index = host.flights.allocate();
  if (index == no_index) return nullptr;
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
  if (c.flight != no_index) host.flights[c.flight].pacing_rate = window.pacing_rate;
}

}  // namespace runnel::tcp::detail
