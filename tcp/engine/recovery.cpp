#include "recovery.hpp"

#include <algorithm>

// What an acknowledgement means for what is lost and for the window: the states of Linux's
// tcp_fastretrans_alert, with losses by RACK (RFC 8985), or by three duplicates where the peer has
// no SACK (RFC 6582), and proportional rate reduction (RFC 6937).

namespace runnel::tcp::detail {

namespace {

/// RFC 7661 §4.1: what did not fill the window says nothing about a larger one. In slow start half
/// of it is enough, as in Linux.
bool window_was_used(const connection& c, std::uint32_t acked_bytes) noexcept {
  const transmission& flow = c.flow;
  if (before(c.snd_.una - acked_bytes, flow.limited_at)) return true;
  return flow.cwnd < flow.ssthresh && c.in_flight() + acked_bytes > flow.cwnd / 2;
}

/// Linux's tcp_current_ssthresh.
std::uint32_t current_ssthresh(const connection& c) noexcept {
  const bool reducing =
      c.flow.phase == recovery_phase::reduced || c.flow.phase == recovery_phase::recovery;
  if (reducing) return c.flow.ssthresh;
  return std::max(c.flow.ssthresh, c.flow.cwnd - c.flow.cwnd / 4);
}

/// RFC 6937 §3: the counts begin, and the window's target is the algorithm's.
void begin_reduction(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  f.high_seq = c.snd_.nxt;
  f.tlp_out = false;
  f.prior_cwnd = c.flow.cwnd;
  f.prr_delivered = 0;
  f.prr_out = 0;
  c.flow.ssthresh = f.control.ssthresh_on_loss(window_of(host, c));
  if (c.ecn) c.cwr_due = true;
}

void end_reduction(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  if (f.control.owns_window()) return;
  const bool keeps = c.flow.phase == recovery_phase::reduced || f.may_undo;
  if (c.flow.ssthresh != UINT32_MAX && keeps) {
    c.flow.cwnd = std::max(c.flow.ssthresh, std::uint32_t{c.snd_mss});
  }
}

void set_phase(core& host, connection& c, recovery_phase to) noexcept {
  if (c.flow.phase == to) return;
  const bool left =
      c.flow.phase == recovery_phase::recovery || c.flow.phase == recovery_phase::loss;
  c.flow.phase = to;
  if (!left || to != recovery_phase::open) return;
  congestion_window window = window_of(host, c);
  host.flights[c.flight].control.on_recovery_exit(window, host.now_us());
  keep_window(host, c, window);
}

/// RFC 6937 §3.1 with the reduction bound of the packets that are in flight.
void reduce_in_proportion(core& host, connection& c, const ack_facts& facts) noexcept {
  flight& f = host.flights[c.flight];
  if (facts.delivered_bytes == 0 || f.prior_cwnd == 0) return;
  const std::uint32_t pipe = pipe_of(host, c);
  f.prr_delivered += facts.delivered_bytes;
  std::int64_t may_send = 0;
  if (pipe > c.flow.ssthresh) {
    const std::uint64_t share = std::uint64_t{c.flow.ssthresh} * f.prr_delivered;
    may_send = static_cast<std::int64_t>((share + f.prior_cwnd - 1) / f.prior_cwnd) -
               std::int64_t{f.prr_out};
  } else {
    may_send = std::max(std::int64_t{f.prr_delivered} - std::int64_t{f.prr_out},
                        std::int64_t{facts.delivered_bytes});
    if (facts.advanced && facts.lost_bytes == 0) may_send += c.snd_mss;
    may_send = std::min(may_send, std::int64_t{c.flow.ssthresh} - std::int64_t{pipe});
  }
  // The first retransmission goes whatever the sums say.
  may_send = std::max<std::int64_t>(may_send, f.prr_out == 0 ? c.snd_mss : 0);
  c.flow.cwnd = pipe + static_cast<std::uint32_t>(may_send);
  follow_pace(host, c);
}

void find_losses(core& host, connection& c, ack_facts& facts) noexcept {
  flight& f = host.flights[c.flight];
  const std::uint32_t before_it = f.lost_bytes;
  const std::uint32_t resent = f.resent_bytes;
  if (!c.sack_permitted) {
    newreno_mark_lost(host, c, facts);
  } else if (!loses_by_time(host)) {
    count_losses(host, c, facts);
  } else if (f.rack_advanced) {
    f.rack_advanced = false;
    const std::uint32_t wait_ms = rack_detect_loss(host, c);
    if (wait_ms > 0) {
      c.timer = rtx_timer::reordering;
      c.when.rtx = host.after_ms(wait_ms);
      schedule(host, c);
    }
  }
  if (f.lost_bytes > before_it) facts.lost_bytes += f.lost_bytes - before_it;
  if (f.resent_bytes < resent) facts.resent_lost = true;
}

/// RFC 5682 §3.1: whether the time-out was for nothing. True when what is lost is to be left alone
/// for now.
bool on_ack_in_loss(core& host, connection& c, const segment& seg, const ack_facts& facts) {
  flight& f = host.flights[c.flight];
  const bool recovered = at_or_after(c.snd_.una, f.high_seq);
  if (facts.advanced && undo_timeout(host, c, seg, false)) return true;
  if (f.frto) {
    if (facts.original_delivered && undo_timeout(host, c, seg, true)) return true;
    if (after(c.snd_.nxt, f.high_seq)) {
      if (facts.sacked_more || facts.duplicate) f.frto = false;
    } else if (facts.advanced && !recovered) {
      f.high_seq = c.snd_.nxt;
      if (c.unsent() > 0 && c.snd_.wnd > c.in_flight()) {
        f.frto_send_new = true;
        return true;
      }
      f.frto = false;
    }
  }
  if (recovered) {
    const bool undone = undo_full(host, c, seg);
    if (!undone && repeats_point(host, c)) return true;
    set_phase(host, c, recovery_phase::open);
    return false;
  }
  if (!c.sack_permitted) {
    if (after(c.snd_.nxt, f.high_seq) && facts.duplicate) {
      ack_facts counted;
      count_duplicate(host, c, counted);
    } else if (facts.advanced) {
      f.counted_bytes = 0;
    }
  }
  return false;
}

/// The peer has thrown away what it said that it holds (Linux's tcp_check_sack_reneging): the first
/// range is one of those when an acknowledgement ends right before it.
bool check_reneging(core& host, connection& c, const ack_facts& facts) {
  if (!facts.advanced || c.sent.head == no_index) return false;
  if (!host.sent_ranges[c.sent.head].sacked) return false;
  // It may have been reordered on its way: give it half a round trip, 10 ms at least.
  const std::uint32_t wait_ms = std::max(c.flow.srtt_us / 2000, 10U);
  c.timer = rtx_timer::retransmit;
  c.when.rtx = host.after_ms(wait_ms);
  schedule(host, c);
  return true;
}

void try_to_open(core& host, connection& c, const ack_facts& facts) {
  flight& f = host.flights[c.flight];
  if (f.resent_bytes == 0) f.has_retrans_stamp = false;
  if (facts.congestion_echo && c.flow.phase == recovery_phase::open) {
    f.prior_ssthresh = 0;
    begin_reduction(host, c);
    f.may_undo = false;
    c.flow.phase = recovery_phase::reduced;
  }
}

/// States that end when the recovery point is acknowledged.
void leave_finished(core& host, connection& c, const segment& seg) {
  flight& f = host.flights[c.flight];
  if (c.flow.phase == recovery_phase::open) {
    f.has_retrans_stamp = false;
    return;
  }
  if (before(c.snd_.una, f.high_seq)) return;
  if (c.flow.phase == recovery_phase::reduced) {
    // One more than that, so that the peer has CWR.
    if (c.snd_.una == f.high_seq && c.ecn && c.snd_.una != c.snd_.nxt) return;
    end_reduction(host, c);
    set_phase(host, c, recovery_phase::open);
  } else if (c.flow.phase == recovery_phase::recovery) {
    f.counted_bytes = 0;
    const bool undone = undo_full(host, c, seg);
    if (!undone && repeats_point(host, c)) return;
    if (!undone) end_reduction(host, c);
    set_phase(host, c, recovery_phase::open);
  }
}

void on_ack_in_recovery(core& host, connection& c, const segment& seg, ack_facts& facts) {
  if (!facts.advanced) {
    if (!c.sack_permitted && facts.duplicate) count_duplicate(host, c, facts);
  } else {
    if (!c.sack_permitted) {
      flight& f = host.flights[c.flight];
      const std::uint32_t acked = facts.acked_bytes;
      // What is acknowledged now was counted as delivered before, but for the hole.
      f.counted_bytes -= std::min(f.counted_bytes, acked > c.snd_mss ? acked - c.snd_mss : 0);
    }
    if (undo_partial(host, c, seg)) return;
  }
  if (undo_by_dsack(host, c)) set_phase(host, c, recovery_phase::open);
  find_losses(host, c, facts);
  if (c.flow.phase == recovery_phase::open && host.flights[c.flight].lost_bytes > 0) {
    enter_recovery(host, c, facts.congestion_echo);
  }
}

void on_ack_when_open(core& host, connection& c, ack_facts& facts) {
  flight& f = host.flights[c.flight];
  if (!c.sack_permitted) {
    if (facts.advanced) f.counted_bytes = 0;
    if (facts.duplicate) count_duplicate(host, c, facts);
  }
  if (c.flow.phase == recovery_phase::open) undo_by_dsack(host, c);
  find_losses(host, c, facts);
  if (f.lost_bytes == 0) return try_to_open(host, c, facts);
  if (lost_only_mtu_probe(host, c)) return;
  enter_recovery(host, c, facts.congestion_echo);
}

void step(core& host, connection& c, const segment& seg, ack_facts& facts) {
  flight& f = host.flights[c.flight];
  if (facts.congestion_echo) f.prior_ssthresh = 0;
  if (check_reneging(host, c, facts)) return;
  leave_finished(host, c, seg);
  switch (c.flow.phase) {
    case recovery_phase::recovery:
      return on_ack_in_recovery(host, c, seg, facts);
    case recovery_phase::loss: {
      if (on_ack_in_loss(host, c, seg, facts)) return;
      find_losses(host, c, facts);
      const bool open = c.flow.phase == recovery_phase::open;
      if (!open && !facts.resent_lost) return;
      if (f.lost_bytes > 0 && open) enter_recovery(host, c, facts.congestion_echo);
      return;
    }
    case recovery_phase::open:
    case recovery_phase::reduced:
      return on_ack_when_open(host, c, facts);
  }
}

ack_sample sample_of(const core& host, const connection& c, const ack_facts& facts) noexcept {
  const flight& f = host.flights[c.flight];
  ack_sample out;
  out.now_us = host.now_us();
  out.una = c.snd_.una;
  out.nxt = c.snd_.nxt;
  out.delivered_bytes = facts.delivered_bytes;
  out.lost_bytes = facts.lost_bytes;
  out.prior_flight = facts.prior_flight;
  out.flight = pipe_of(host, c);
  out.rtt_us = facts.rtt_us != 0 ? facts.rtt_us : facts.sack_rtt_us;
  out.srtt_us = c.flow.srtt_us;
  out.min_rtt_us = c.flow.min_rtt_us;
  out.cwnd_limited = window_was_used(c, facts.acked_bytes);
  out.total_delivered_bytes = f.delivered_bytes;
  // Less than a segment alone: the peer may have waited for more (Linux's FLAG_ACK_MAYBE_DELAYED).
  out.ack_delayed =
      facts.advanced && facts.acked_bytes < c.snd_mss && facts.delivered_bytes == facts.acked_bytes;
  if (!facts.has_newest) return out;
  out.prior_delivered_bytes = facts.newest_delivered;
  out.rate_app_limited = facts.newest_app_limited;
  const std::uint64_t sending = facts.newest_sent_us - facts.newest_first_sent_us;
  const std::uint64_t arriving = host.now_us() - facts.newest_delivered_us;
  const std::uint64_t interval = std::max(sending, arriving);
  // Linux's tcp_rate_gen: shorter than a round trip it is a burst, and says nothing.
  if (interval < c.flow.min_rtt_us) return out;
  out.rate_interval_us = static_cast<std::uint32_t>(std::min<std::uint64_t>(interval, UINT32_MAX));
  out.rate_bytes = static_cast<std::uint32_t>(f.delivered_bytes - facts.newest_delivered);
  return out;
}

void control_window(core& host, connection& c, const ack_facts& facts) noexcept {
  flight& f = host.flights[c.flight];
  if (facts.has_newest) f.first_sent_us = facts.newest_sent_us;
  if (f.app_limited_until != 0 && f.delivered_bytes > f.app_limited_until) f.app_limited_until = 0;
  const bool reducing =
      c.flow.phase == recovery_phase::reduced || c.flow.phase == recovery_phase::recovery;
  if (!f.control.owns_window()) {
    if (reducing) return reduce_in_proportion(host, c, facts);
    // RFC 5681: a window grows with what is acknowledged in order, unless the path reorders.
    const bool forward =
        c.reordering > host.policy.reordering ? facts.delivered_bytes > 0 : facts.acked_bytes > 0;
    if (!forward) return;
  }
  congestion_window window = window_of(host, c);
  f.control.on_ack(window, sample_of(host, c, facts), c.flow.phase);
  keep_window(host, c, window);
}

}  // namespace

void enter_recovery(core& host, connection& c, bool for_echo) noexcept {
  flight& f = host.flights[c.flight];
  if (c.flow.phase >= recovery_phase::recovery) return;
  ++(c.sack_permitted ? host.count.sack_recovery : host.count.reno_recovery);
  f.prior_ssthresh = 0;
  begin_undo(host, c);
  if (c.flow.phase != recovery_phase::reduced) {
    if (!for_echo) f.prior_ssthresh = current_ssthresh(c);
    begin_reduction(host, c);
  }
  f.high_seq = c.snd_.nxt;
  c.flow.phase = recovery_phase::recovery;
}

void reduce_once(core& host, connection& c) noexcept {
  flight& f = host.flights[c.flight];
  f.prior_ssthresh = 0;
  begin_reduction(host, c);
  c.flow.phase = recovery_phase::reduced;
  end_reduction(host, c);
  c.flow.phase = recovery_phase::open;
}

void recover(core& host, connection& c, const segment& seg, ack_facts& facts) {
  const bool quiet = !facts.sacked_more && !facts.duplicate && !facts.duplicate_sack &&
                     !facts.congestion_echo && c.flow.phase == recovery_phase::open;
  if (c.flight == no_index) {
    // Little was in flight and all is well: the window grows as in slow start.
    if (quiet && facts.acked_bytes > 0 && c.flow.cwnd < c.flow.ssthresh) {
      if (!window_was_used(c, facts.acked_bytes)) return;
      c.flow.cwnd = std::min(c.flow.cwnd + facts.acked_bytes, cwnd_max);
      return;
    }
    if (quiet && facts.acked_bytes == 0) return;
    if (flight_of(host, c) == nullptr) return;
  }
  flight& f = host.flights[c.flight];
  on_probe_ack(host, c, f, seg.ack, facts);
  rack_adapt(host, c, f, facts);
  step(host, c, seg, facts);
  if (facts.delivered_bytes > 0 || facts.lost_bytes > 0) control_window(host, c, facts);
  // RFC 3042: a duplicate tells that a segment has left the network, and new text may take its
  // place.
  const bool more = facts.delivered_bytes > 0 && (c.unsent() > 0 || (c.fin_queued && !c.fin_sent));
  if (more || f.lost_bytes > 0 || f.frto_send_new) want_transmit(host, c);
}

void on_reordering_timeout(core& host, connection& c) {
  ack_facts facts;
  facts.prior_flight = pipe_of(host, c);
  c.timer = rtx_timer::none;
  const std::uint32_t wait_ms = rack_detect_loss(host, c);
  if (pipe_of(host, c) != facts.prior_flight) {
    if (!lost_only_mtu_probe(host, c) && c.flow.phase < recovery_phase::recovery) {
      enter_recovery(host, c, false);
      if (!host.flights[c.flight].control.owns_window()) {
        facts.delivered_bytes = 1;
        facts.lost_bytes = facts.prior_flight - pipe_of(host, c);
        reduce_in_proportion(host, c, facts);
      }
    }
    want_transmit(host, c);
  }
  if (wait_ms == 0) return arm_retransmit(host, c);
  c.timer = rtx_timer::reordering;
  c.when.rtx = host.after_ms(wait_ms);
  schedule(host, c);
}

void start_congestion_control(connection& c) noexcept {
  c.flow.cwnd = initial_window_segments * c.snd_mss;
  c.flow.limited_at = c.snd_.nxt;
  c.snd_.sml = c.snd_.una;
}

void restart_after_idle(core& host, connection& c) noexcept {
  if (c.snd_.una != c.snd_.nxt) return;
  transmission& flow = c.flow;
  const std::uint32_t idle_ms = host.ms() - flow.silent_since_ms;
  const std::uint32_t restart = initial_window_segments * c.snd_mss;
  if (c.flight != no_index && idle_ms > 0) {
    congestion_window window = window_of(host, c);
    host.flights[c.flight].control.on_idle_restart(window, std::uint64_t{idle_ms} * 1000,
                                                   host.now_us());
    keep_window(host, c, window);
    if (host.flights[c.flight].control.owns_window()) return;
  }
  if (idle_ms <= flow.rto_ms || flow.cwnd <= restart) return;
  if (!host.policy.slow_start_after_idle) return;
  flow.ssthresh = std::max(flow.ssthresh, flow.cwnd - flow.cwnd / 4);
  const std::uint32_t halvings = std::min(idle_ms / flow.rto_ms, 31U);
  flow.cwnd = std::max(flow.cwnd >> halvings, restart);
}

void resend_for_path(core& host, connection& c, sequence begin, sequence end) noexcept {
  flight* const f = flight_of(host, c);
  if (f == nullptr) return;
  c.flow.ssthresh = current_ssthresh(c);
  f->high_seq = c.snd_.nxt;
  f->prior_ssthresh = 0;
  f->may_undo = false;
  if (begin == c.snd_.una && end == c.snd_.nxt) {
    mark_all_lost(host, c, 0);
  } else {
    mark_lost_between(host, c, begin, end);
  }
  c.flow.phase = recovery_phase::loss;
  f->frto = false;
  c.flow.cwnd = std::max(c.flow.cwnd, std::uint32_t{c.snd_mss});
}

void on_retransmission_timeout(core& host, connection& c) noexcept {
  flight* const f = flight_of(host, c);
  if (f == nullptr) return;
  const bool fresh = c.flow.phase < recovery_phase::recovery;
  const bool reneged = c.sent.head != no_index && host.sent_ranges[c.sent.head].sacked;
  if (reneged) {
    ++host.count.sack_reneging;
    forget_sacks(host, c);
  }
  // Linux's tcp_enter_loss: a time-out despite so much evidence says that it was not taken for what
  // it was.
  if (fresh &&
      f->sacked_bytes + f->counted_bytes >= std::uint32_t{host.policy.reordering} * c.snd_mss) {
    c.reordering = std::min(c.reordering, host.policy.reordering);
  }
  f->counted_bytes = 0;
  const bool same = c.flow.phase == recovery_phase::loss && c.flow.retransmits > 0;
  if (!same &&
      (fresh || at_or_after(c.snd_.una, f->high_seq) || c.flow.phase == recovery_phase::loss)) {
    // RFC 5681 §3.1: only the first time-out of a segment moves what is thought to be the capacity.
    f->prior_ssthresh = current_ssthresh(c);
    f->prior_cwnd = c.flow.cwnd;
    c.flow.ssthresh = f->control.ssthresh_on_loss(window_of(host, c));
    begin_undo(host, c);
  }
  f->tlp_out = false;
  // RFC 8985 §6.3: what left a moment ago may well be on its way.
  const bool spares = c.sack_permitted && loses_by_time(host);
  const std::uint64_t young = spares ? std::uint64_t{f->rack_rtt_us} : 0;
  mark_all_lost(host, c, reneged ? 0 : young);
  c.flow.phase = recovery_phase::loss;
  f->high_seq = c.snd_.nxt;
  // RFC 5682 §3.1: not for a repeated time-out of the same number, unless others came since.
  f->frto = host.policy.frto && (fresh || c.flow.retransmits > 0);
  f->frto_send_new = false;
  congestion_window window = window_of(host, c);
  f->control.on_timeout(window, host.now_us());
  // One segment beside what may well be on its way.
  window.cwnd = pipe_of(host, c) + c.snd_mss;
  keep_window(host, c, window);
  if (c.ecn) c.cwr_due = true;
}

}  // namespace runnel::tcp::detail
