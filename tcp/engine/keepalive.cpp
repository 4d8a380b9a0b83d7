#include <algorithm>

#include "core.hpp"

// Keepalive (RFC 1122 §4.2.3.6) as Linux has it. What arrives moves no timer: when the timer fires,
// it looks at how long the peer has been quiet and may sleep again.

namespace runnel::tcp::detail {

namespace {

/// Linux's keepalive_time_elapsed: since the last acknowledgement or text.
std::uint32_t quiet_for_ms(const core& host, const connection& c) noexcept {
  const std::uint32_t since_ack = host.ms() - c.last_ack_ms;
  if (c.traffic.bytes_received == 0) return since_ack;
  return std::min(since_ack, host.ms() - c.ack.last_received_ms);
}

/// Whether it is for keepalive to find out if the peer is there. What is on its way or held back
/// by a closed window finds it out by itself, and FIN-WAIT-2 without an owner ends anyway.
bool applies(const connection& c) noexcept {
  return c.synchronized() && !(c.closed_by_owner && c.state == state::fin_wait_2);
}

bool waits_for_answer(const connection& c) noexcept {
  return c.snd_.una != c.snd_.nxt || !c.tx.empty() || c.fin_queued != c.fin_sent;
}

/// TCP_USER_TIMEOUT takes the place of the number of probes.
bool found_dead(const core& host, const connection& c, std::uint32_t quiet_ms) noexcept {
  const std::uint32_t bearable_ms = setting_ms(host, c, &connection_policy::user_timeout);
  if (bearable_ms != 0) return quiet_ms >= bearable_ms && c.keepalive_sent > 0;
  return c.keepalive_sent >= setting(host, c, &connection_policy::keepalive_probes);
}

}  // namespace

void arm_keepalive(core& host, connection& c) noexcept {
  c.keepalive_sent = 0;
  c.keepalive_begins = false;
  c.when.keepalive = 0;
  if (!applies(c) || !setting(host, c, &connection_policy::keepalive)) return;
  c.when.keepalive = host.after_ms(setting_ms(host, c, &connection_policy::keepalive_time));
  schedule(host, c);
}

void rearm_keepalive(core& host, connection& c) noexcept {
  const bool was_on = c.when.keepalive != 0;
  const std::uint8_t sent = c.keepalive_sent;
  arm_keepalive(host, c);
  if (c.when.keepalive == 0) return;
  // Policies change without a time: the timer fires at once and then knows what time it is.
  c.keepalive_begins = !was_on;
  if (was_on) c.keepalive_sent = sent;
  c.when.keepalive = host.after_ms(0);
  schedule(host, c);
}

void on_keepalive_timeout(core& host, connection& c) {
  if (!applies(c) || !setting(host, c, &connection_policy::keepalive)) return;
  const std::uint32_t idle_ms = setting_ms(host, c, &connection_policy::keepalive_time);
  const bool begins = c.keepalive_begins;
  c.keepalive_begins = false;
  if (begins || waits_for_answer(c)) {
    c.when.keepalive = host.after_ms(idle_ms);
    return;
  }
  const std::uint32_t quiet_ms = quiet_for_ms(host, c);
  if (quiet_ms < idle_ms) {
    c.when.keepalive = host.after_ms(idle_ms - quiet_ms);
    return;
  }
  if (found_dead(host, c, quiet_ms)) {
    send_reset(host, c);
    return give_up(host, c);
  }
  ++c.keepalive_sent;
  ++host.count.keep_alive;
  c.probe_due = true;
  want_transmit(host, c);
  c.when.keepalive = host.after_ms(setting_ms(host, c, &connection_policy::keepalive_interval));
}

}  // namespace runnel::tcp::detail
