#include <algorithm>
#include <bit>

#include "core.hpp"
#include "recovery.hpp"

// The timers of a connection. Each is a deadline; one wheel node stands for the earliest, and
// moving a deadline back, which is what every acknowledgement does, leaves the node where it is.

namespace runnel::tcp::detail {

namespace {

std::uint32_t earliest(const deadlines& when) noexcept {
  std::uint32_t result = 0;
  for (const std::uint32_t at :
       {when.rtx, when.delayed_ack, when.cork, when.pace, when.life, when.keepalive}) {
    if (at != 0 && (result == 0 || is_due(at, result))) result = at;
  }
  return result;
}

std::uint8_t retry_limit(const core& host, const connection& c) noexcept {
  return c.closed_by_owner ? setting(host, c, &connection_policy::orphan_retries)
                           : setting(host, c, &connection_policy::retries2);
}

/// Whether nothing has been acknowledged, or let through, for as long as this; 0 is no limit.
bool stalled_for(const core& host, const connection& c, std::uint32_t limit_ms) noexcept {
  return limit_ms != 0 && host.ms() - c.stalled_since_ms >= limit_ms;
}

/// TCP_USER_TIMEOUT has passed. As in Linux there is always one more try.
bool user_gave_up(const core& host, const connection& c) noexcept {
  return c.flow.retransmits > 0 &&
         stalled_for(host, c, setting_ms(host, c, &connection_policy::user_timeout));
}

/// Brings the timer forward to when the connection has stalled for `limit_ms`; 0 is no limit.
void bound_by(const core& host, connection& c, std::uint32_t limit_ms) noexcept {
  if (limit_ms == 0 || c.when.rtx == 0) return;
  const std::uint32_t at = c.stalled_since_ms + limit_ms;
  if (!is_due(at, c.when.rtx)) return;
  const std::uint32_t next = host.after_ms(0);
  c.when.rtx = is_due(at, next) ? next : std::max(at, 1U);
}

/// Linear first, doubling afterwards (net.ipv4.tcp_syn_linear_timeouts).
std::uint32_t syn_timeout_ms(const core& host, const connection& c, unsigned tries) noexcept {
  const unsigned doublings =
      tries > host.policy.syn_linear_timeouts ? tries - host.policy.syn_linear_timeouts : 0;
  const auto wait_ms = std::uint64_t{rto_initial_of(host, c)} << std::min(doublings, 20U);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wait_ms, rto_max_of(host, c)));
}

void on_syn_timeout(core& host, connection& c) {
  if (!c.syn_due && c.snd_.nxt == c.snd_.iss) {
    // It was held back for the quiet time.
    c.when.rtx = host.after_ms(rto_initial_of(host, c));
    c.syn_due = true;
    return want_transmit(host, c);
  }
  const unsigned limit =
      setting(host, c, &connection_policy::syn_retries) + host.policy.syn_linear_timeouts;
  ++host.count.timeouts;
  const bool gives_up = c.flow.retransmits >= limit || user_gave_up(host, c);
  suspect_fastopen_path(host, c, gives_up);
  if (gives_up) {
    ++host.count.attempt_fails;
    return give_up(host, c);
  }
  ++c.flow.retransmits;
  c.when.rtx = host.after_ms(syn_timeout_ms(host, c, c.flow.retransmits));
  bound_by_user_timeout(host, c);
  c.syn_due = true;
  want_transmit(host, c);
}

/// Whether unanswered sending has lasted for so many retries. Linux's retransmits_timed_out: the
/// time that so many doublings of 200 ms take, whatever `rto_min` is.
bool silent_for(const core& host, const connection& c, unsigned retries) noexcept {
  constexpr std::uint64_t first_ms = 200;
  const std::uint64_t max_ms = rto_max_of(host, c);
  const auto doubling_end = static_cast<unsigned>(std::bit_width(max_ms / first_ms)) - 1;
  std::uint64_t limit_ms = 0;
  if (retries <= doubling_end) {
    limit_ms = ((std::uint64_t{2} << retries) - 1) * first_ms;
  } else {
    limit_ms = ((std::uint64_t{2} << doubling_end) - 1) * first_ms +
               std::uint64_t{retries - doubling_end} * max_ms;
  }
  return host.ms() - c.flow.silent_since_ms >= limit_ms;
}

/// Whether nobody has answered for as long as the policy bears it. What was answered starts the
/// count anew when it is next sent.
bool unanswered_too_long(const core& host, connection& c) noexcept {
  if (c.heard) {
    c.heard = false;
    c.flow.silent_since_ms = host.ms();
    return false;
  }
  return silent_for(host, c, retry_limit(host, c));
}

/// Linux's tcp_stream_is_thin: too little is in flight for duplicates to tell of a loss.
bool is_thin(const core& host, const connection& c) noexcept {
  constexpr std::uint32_t enough = 4;
  return c.flow.ssthresh != UINT32_MAX && segments_in_flight(host, c, enough) < enough;
}

void back_off(const core& host, connection& c) noexcept {
  constexpr std::uint8_t linear_retries = 6;  // Linux's TCP_THIN_LINEAR_RETRIES
  const bool linear = c.flow.retransmits <= linear_retries && c.state == state::established &&
                      setting(host, c, &connection_policy::thin_linear_timeouts) &&
                      is_thin(host, c);
  // RFC 6298 (5.5).
  c.flow.rto_ms =
      linear ? measured_rto_ms(host, c) : std::min(c.flow.rto_ms * 2, rto_max_of(host, c));
}

void on_rtx_timeout(core& host, connection& c) {
  if (c.fastopen_child) return on_fastopen_synack_timeout(host, c);
  if (c.state == state::syn_sent || c.state == state::syn_received) return on_syn_timeout(host, c);
  // As in Linux the one that gives up counts too, and what a window that was taken back holds up
  // does not.
  if (c.snd_.wnd > 0 || c.closed_by_owner) ++host.count.timeouts;
  // As there the one takes the place of the other.
  const bool bounded = setting_ms(host, c, &connection_policy::user_timeout) != 0;
  // As there, whatever the policy says, what was lost is sent again once.
  const bool gives_up =
      c.flow.retransmits > 0 && (bounded ? user_gave_up(host, c) : unanswered_too_long(host, c));
  suspect_fastopen_path(host, c, gives_up);
  if (gives_up) return give_up(host, c);
  if (c.orphan && too_many_orphans(host, c)) return reset_orphan(host, c);
  if (c.flow.retransmits > 0 && silent_for(host, c, host.policy.retries1)) {
    suspect_black_hole(host, c);
  }
  on_retransmission_timeout(host, c);
  if (c.flow.retransmits < UINT8_MAX) ++c.flow.retransmits;
  back_off(host, c);
  arm_retransmit(host, c);
  want_transmit(host, c);
}

std::uint64_t persist_wait_ms(const connection& c) noexcept {
  return std::uint64_t{c.flow.rto_ms} << std::min<unsigned>(c.flow.retransmits, 16);
}

/// Answers keep a connection alive for ever while someone owns it; without an owner it is for as
/// long as the waits still grow, as in Linux.
bool worn_out(const core& host, const connection& c) noexcept {
  return c.closed_by_owner && persist_wait_ms(c) >= rto_max_of(host, c) &&
         c.flow.retransmits >= setting(host, c, &connection_policy::orphan_retries);
}

std::uint32_t window_patience_ms(const core& host, const connection& c) noexcept {
  return c.closed_by_owner ? setting_ms(host, c, &connection_policy::orphan_window_timeout) : 0;
}

void on_persist_timeout(core& host, connection& c) {
  if (worn_out(host, c) || user_gave_up(host, c) || unanswered_too_long(host, c)) {
    return give_up(host, c);
  }
  if (stalled_for(host, c, window_patience_ms(host, c))) {
    send_reset(host, c);
    return give_up(host, c);
  }
  if (c.orphan && too_many_orphans(host, c)) return reset_orphan(host, c);
  ++host.count.win_probe;
  if (c.flow.retransmits < UINT8_MAX) ++c.flow.retransmits;
  c.probe_due = true;
  want_transmit(host, c);
  c.timer = rtx_timer::none;
  arm_persist(host, c);
}

void on_delayed_ack(core& host, connection& c) {
  c.ack.delayed = false;
  ++host.count.delayed_acks;
  // Linux's tcp_delack_timer_handler: nobody answered in time, so this is no dialogue (any more).
  if (c.ack.interactive) {
    c.ack.interactive = false;
    c.ack.ato_ms = 40;
  } else {
    c.ack.ato_ms = static_cast<std::uint16_t>(std::min<std::uint32_t>(c.ack.ato_ms * 2U, 200));
  }
  c.ack.due = true;
  want_transmit(host, c);
}

}  // namespace

void schedule(core& host, connection& c) noexcept {
  const std::uint32_t at = earliest(c.when);
  if (at == 0) return;
  if (c.node.armed() && is_due(c.node.expiry, at)) return;
  const auto ahead = static_cast<std::int32_t>(at - host.ms());
  host.wheel.arm(host.connections, c.index,
                 host.now_ms + static_cast<std::uint64_t>(std::max(ahead, 0)));
}

void on_connection_timer(core& host, connection& c) {
  const auto fires = [&](std::uint32_t& at) {
    if (at == 0 || !is_due(at, host.ms())) return false;
    at = 0;
    return true;
  };
  if (fires(c.when.life)) {
    on_life_timeout(host, c);
    if (c.state == state::closed) return;
  }
  if (fires(c.when.keepalive)) {
    on_keepalive_timeout(host, c);
    if (c.state == state::closed) return;
  }
  if (fires(c.when.delayed_ack) && c.ack.delayed) on_delayed_ack(host, c);
  if (fires(c.when.pace)) {
    const bool fin_waits = c.fin_queued && !c.fin_sent;
    if (c.snd_.una == c.snd_.nxt && c.unsent() == 0 && !fin_waits) {
      land(host, c);
    } else {
      want_transmit(host, c);
    }
  }
  if (fires(c.when.cork)) {
    c.uncork_due = true;
    want_transmit(host, c);
  }
  if (fires(c.when.rtx)) {
    switch (c.timer) {
      case rtx_timer::persist:
        on_persist_timeout(host, c);
        break;
      case rtx_timer::probe:
        send_probe(host, c);
        break;
      case rtx_timer::reordering:
        on_reordering_timeout(host, c);
        break;
      default:
        on_rtx_timeout(host, c);
    }
    if (c.state == state::closed) return;
  }
  schedule(host, c);
}

void arm_retransmit(core& host, connection& c) noexcept {
  c.timer = rtx_timer::retransmit;
  c.when.rtx = host.after_ms(c.flow.rto_ms);
  if (c.flow.retransmits > 0) bound_by_user_timeout(host, c);
  schedule(host, c);
}

void arm_persist(core& host, connection& c) noexcept {
  if (c.timer != rtx_timer::none) return;
  c.timer = rtx_timer::persist;
  if (c.flow.retransmits == 0) {
    c.flow.silent_since_ms = host.ms();
    c.stalled_since_ms = host.ms();
  }
  const std::uint64_t wait = std::min<std::uint64_t>(persist_wait_ms(c), rto_max_of(host, c));
  c.when.rtx = host.after_ms(static_cast<std::uint32_t>(wait));
  if (c.flow.retransmits > 0) bound_by_user_timeout(host, c);
  bound_by(host, c, window_patience_ms(host, c));
  schedule(host, c);
}

void bound_by_user_timeout(core& host, connection& c) noexcept {
  bound_by(host, c, setting_ms(host, c, &connection_policy::user_timeout));
}

void bound_closed_window(core& host, connection& c) noexcept {
  const std::uint32_t patience_ms = window_patience_ms(host, c);
  if (patience_ms == 0) return;
  c.stalled_since_ms = host.ms();
  bound_by(host, c, patience_ms);
  schedule(host, c);
}

void give_up(core& host, connection& c) {
  ++host.count.abort_on_timeout;
  const bool known = c.soft_error != error::none;
  end_connection(host, c, end_reason::timed_out, known ? c.soft_error : error::timed_out);
}

void stop_rtx_timer(connection& c) noexcept {
  c.timer = rtx_timer::none;
  c.when.rtx = 0;
}

}  // namespace runnel::tcp::detail
