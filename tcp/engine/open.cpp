#include <algorithm>

#include "core.hpp"
#include "send_room.hpp"

// SYN-SENT (RFC 9293 §3.10.7.3), and what both kinds of opening share: options and the step to
// ESTABLISHED.

namespace runnel::tcp::detail {

std::uint16_t own_mss(const core& host, std::uint16_t max_segment, net::family family) {
  const std::uint32_t headers = (family == net::family::v6 ? 40U : 20U) + 20U;
  const std::uint32_t fits = std::max<std::uint32_t>(host.mtu - headers, host.policy.min_adv_mss);
  const std::uint32_t wanted = max_segment == 0 ? fits : max_segment;
  return static_cast<std::uint16_t>(std::min({fits, wanted, 65495U}));
}

std::uint16_t peer_mss(const core& host, const wire::tcp_options& options,
                       net::family family) noexcept {
  return std::max(options.mss.value_or(default_mss_of(family)), host.policy.min_snd_mss);
}

void negotiate(core& host, connection& c, const wire::tcp_options& options) {
  c.timestamps = c.timestamps && options.timestamp.has_value();
  if (c.timestamps) {
    c.ts_recent = options.timestamp->value;
    c.ts_recent_ms = host.ms();
  }
  const std::uint16_t theirs = peer_mss(host, options, c.key.remote.family());
  agree_on_mss(host, c, std::min(theirs, c.rcv_mss_offered));
  c.sack_permitted = c.sack_permitted && options.sack_permitted;
  c.window_scaled = c.window_scaled && options.window_scale.has_value();
  // RFC 7323 §2.3: more than 14 is taken as 14.
  c.snd_wscale = c.window_scaled ? std::min<std::uint8_t>(*options.window_scale, 14) : 0;
  if (!c.window_scaled) c.rcv_wscale = 0;
}

bool agrees_on_ecn(const core& host, const segment& syn) noexcept {
  // A SYN that says it is ECN-capable itself was meddled with (RFC 3168 §6.1.1).
  return host.policy.ecn != ecn::off && syn.has(flag::ece) && syn.has(flag::cwr) && syn.ecn == 0;
}

void enter_established(core& host, connection& c) {
  set_state(host, c, state::established);
  c.flow.retransmits = 0;
  c.syn_due = false;
  stop_rtx_timer(c);
  // With Fast Open text may be on its way already.
  if (c.flow.cwnd == 0) start_congestion_control(c);
  if (setting(host, c, &connection_policy::congestion_control) == congestion_control::bbr) {
    flight_of(host, c);
  }
  begin_send_buffer(host, c);
  c.last_ack_ms = host.ms();
  arm_keepalive(host, c);
  report(host, c, events::connected | events::writable);
  if (c.tx.size() > 0 || c.fin_queued) want_transmit(host, c);
  if (c.fin_queued) set_state(host, c, state::fin_wait_1);
}

namespace {

void take_peer_syn(core& host, connection& c, const segment& seg) {
  c.rcv_.irs = seg.seq;
  c.rcv_.nxt = seg.seq + 1;
  c.rcv_.wup = c.rcv_.nxt;
  negotiate(host, c, *seg.options);
  // The window of a segment with SYN is never scaled (RFC 7323 §2.2).
  c.snd_.wnd = seg.window;
  c.snd_.max_wnd = seg.window;
  c.snd_.wl1 = seg.seq;
  c.snd_.wl2 = seg.ack;
}

}  // namespace

void on_syn_sent_segment(core& host, connection& c, segment& seg) {
  const bool has_ack = seg.has(flag::ack);
  if (has_ack && (at_or_before(seg.ack, c.snd_.iss) || after(seg.ack, c.snd_.nxt))) {
    send_reset_for(host, seg);
    return;
  }
  if (seg.has(flag::rst)) {
    if (!has_ack) return;
    ++host.count.attempt_fails;
    end_connection(host, c, end_reason::refused, error::connection_refused);
    return;
  }
  if (!seg.has(flag::syn)) return;
  if (host.quiet_left_ms() > 0) {
    ++host.count.quiet_time_drops;
    return;
  }
  if (has_ack && c.timestamps && seg.options->timestamp) {
    const std::uint32_t echo = seg.options->timestamp->echo;
    // An echo that we never sent belongs to an older connection (RFC 7323 §3.2). Some middleboxes
    // write zero; Linux bears that.
    if (echo != 0 && host.ms() - (echo - c.ts_offset) > rto_limit_ms * 2) {
      ++host.count.paws_active;
      send_reset_for(host, seg);
      return;
    }
  }
  take_peer_syn(host, c, seg);
  if (!has_ack) {
    // Simultaneous open (RFC 9293 §3.5, figure 8).
    c.ecn = c.ecn_asked && agrees_on_ecn(host, seg);
    release_syn(host, c);
    take_back_syn_text(c);
    set_state(host, c, state::syn_received);
    c.syn_due = true;
    want_transmit(host, c);
    return;
  }
  c.ecn = c.ecn_asked && seg.has(flag::ece) && !seg.has(flag::cwr);
  on_fastopen_synack(host, c, seg);
  c.snd_.una = seg.ack;
  if (c.flow.timing) {
    c.flow.timing = false;
    sample_rtt(host, c, static_cast<std::uint32_t>(host.now_us()) - c.flow.timed_at_us);
  }
  enter_established(host, c);
  tell_drained(host, c);
  c.ack.due = true;
  want_transmit(host, c);
  if (seg.has(flag::fin) || seg.len > 0) {
    seg.seq += 1;
    seg.flags &= static_cast<std::uint8_t>(~flag::syn);
    take_text(host, c, seg);
    take_fin(host, c, seg);
  }
}

}  // namespace runnel::tcp::detail
