#include <algorithm>

#include "core.hpp"
#include "emit.hpp"
#include "recovery.hpp"
#include "send_room.hpp"

// What a connection sends next, one segment a call, in the order of urgency: its SYN, what was
// lost, new data and FIN, probes, acknowledgements.

namespace runnel::tcp::detail {

namespace {

constexpr std::uint32_t cork_limit_ms = 200;

/// What one segment is to carry.
struct plan {
  sequence seq;
  std::uint32_t length = 0;
  std::uint8_t flags = flag::ack;
  /// What is sent again; `no_index` for new text.
  std::uint32_t range = no_index;
  /// It is the tail loss probe.
  bool is_probe = false;
  /// The time-out itself sends it, not an acknowledgement after it.
  bool by_timer = false;
  /// It asks whether the path carries its size.
  bool is_mtu_probe = false;

  /// One by one: a fresh one copied over it would wait for what was just written in pieces.
  void clear() noexcept {
    seq = {};
    length = 0;
    flags = flag::ack;
    range = no_index;
    is_probe = false;
    by_timer = false;
    is_mtu_probe = false;
  }
};

bool fin_fits_behind(const connection& c, sequence end) noexcept {
  return c.fin_queued && end == c.snd_.una + c.tx.size() && before(end, c.snd_.una + c.snd_.wnd);
}

/// SYN or SYN-ACK; what its Fast Open option is.
std::optional<std::span<const std::byte>> plan_syn(core& host, connection& c, plan& out) {
  c.syn_due = false;
  out.seq = c.snd_.iss;
  out.flags = flag::syn;
  if (c.state == state::syn_received) {
    out.flags |= flag::ack;
    if (!c.gives_cookie || c.synack_sent) return {};
    return fastopen_cookie_for(host, c.key);
  }
  const fastopen_syn fast = plan_fastopen_syn(host, c);
  out.length = fast.text_bytes;
  return fast.option;
}

/// What may be sent beside what is on the network already.
std::uint32_t room_in_window(const core& host, const connection& c) noexcept {
  const std::uint32_t pipe = pipe_of(host, c);
  return c.flow.cwnd > pipe ? c.flow.cwnd - pipe : 0;
}

/// F-RTO (RFC 5682) waits for what comes of the first retransmission, and of new text after it.
bool frto_holds_back(const core& host, const connection& c) noexcept {
  if (c.flight == no_index || c.flow.phase != recovery_phase::loss) return false;
  const flight& f = host.flights[c.flight];
  return f.frto && (f.frto_send_new || after(c.snd_.nxt, f.high_seq));
}

/// What the range is to carry again, FIN with it where it is the last.
bool plan_again(core& host, connection& c, plan& out, std::uint32_t most) {
  const sent_range& range = host.sent_ranges[out.range];
  const bool with_fin = c.fin_sent && range.end == c.snd_.nxt;
  const std::uint32_t text = range.size() - (with_fin ? 1U : 0U);
  out.seq = range.begin;
  out.length = std::min(text, most);
  if (with_fin && out.length == text) out.flags |= flag::fin;
  return out.length > 0 || (out.flags & flag::fin) != 0;
}

/// Whether the pace lets something go now; arms the timer when not. The clock of the timers ticks
/// in milliseconds, so what is due within the next one goes together.
bool pace_allows(core& host, connection& c) noexcept {
  constexpr std::uint64_t tick_us = 1000;
  if (c.flight == no_index) return true;
  const flight& f = host.flights[c.flight];
  if (f.pacing_rate == 0 || f.next_send_us < host.now_us() + tick_us) return true;
  const std::uint64_t wait_us = f.next_send_us - host.now_us();
  c.when.pace = host.after_ms(static_cast<std::uint32_t>(wait_us / tick_us));
  schedule(host, c);
  return false;
}

bool plan_retransmission(core& host, connection& c, plan& out) {
  if (c.probe_resend_due) {
    c.probe_resend_due = false;
    out.range = c.sent.tail;
    out.is_probe = true;
    const bool there = out.range != no_index && !host.sent_ranges[out.range].sacked;
    // What has arrived meanwhile needs no probe.
    if (!there && c.flight != no_index) host.flights[c.flight].tlp_out = false;
    return there && plan_again(host, c, out, c.snd_mss);
  }
  if (frto_holds_back(host, c)) return false;
  out.range = next_to_resend(host, c);
  if (out.range == no_index) return false;
  if (room_in_window(host, c) == 0) {
    c.flow.limited_at = c.snd_.nxt;
    return false;
  }
  // What a time-out sends does not wait for the pace, or the time-outs would go on counting.
  const bool timed_out = c.flow.phase == recovery_phase::loss && out.range == c.sent.head &&
                         c.flight != no_index && host.flights[c.flight].resent_bytes == 0;
  if (!timed_out && !pace_allows(host, c)) return false;
  out.by_timer = timed_out && c.flow.retransmits > 0;
  join_lost(host, c, out.range);
  return plan_again(host, c, out, c.snd_mss);
}

/// Where F-RTO has waited for new text and none may go, it is over and what was lost goes on
/// (RFC 5682 §3.1 (2b)).
bool plan_without_frto(core& host, connection& c, plan& out) {
  if (!frto_holds_back(host, c) || after(c.snd_.nxt, host.flights[c.flight].high_seq)) return false;
  host.flights[c.flight].frto = false;
  return plan_retransmission(host, c, out);
}

/// The most bytes that one packet of new data may have.
std::uint32_t largest_segment(const core& host, const connection& c) noexcept {
  if (host.gso_max_bytes <= c.snd_mss) return c.snd_mss;
  std::uint32_t most = host.gso_max_bytes;
  if (c.flight != no_index && host.flights[c.flight].pacing_rate != 0) {
    // What is paced leaves a millisecond at a time, two segments at least (Linux's
    // tcp_tso_autosize).
    const std::uint64_t a_tick = host.flights[c.flight].pacing_rate / 1000;
    most = static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(a_tick, std::min(2U * c.snd_mss, most), most));
  }
  return most / c.snd_mss * c.snd_mss;
}

/// Whether a segment shorter than the MSS may go (RFC 9293 §3.7.4 and §3.8.6.2.1).
bool may_send_short(const core& host, const connection& c, std::uint32_t length,
                    std::uint32_t unsent) noexcept {
  if (length == unsent) {
    if (c.fin_queued || c.uncork_due) return true;
    if (setting(host, c, &connection_policy::cork)) return false;
    // Minshall's variant, as in Linux: only another short segment holds this one back.
    return !after(c.snd_.sml, c.snd_.una) || setting(host, c, &connection_policy::nodelay);
  }
  // The window cut it short: wait for more unless this is already half of all the peer ever offers,
  // or the time to wait is over.
  return c.probe_due || length >= c.snd_.max_wnd / 2;
}

/// What TCP_CORK holds back waits for 200 ms at most, as in Linux.
void hold_corked(core& host, connection& c) noexcept {
  if (c.when.cork != 0 || !setting(host, c, &connection_policy::cork)) return;
  c.when.cork = host.after_ms(cork_limit_ms);
  schedule(host, c);
}

/// The rate at which what is in flight now is delivered is the application's, not the path's.
void note_app_limited(core& host, const connection& c) noexcept {
  if (c.flight == no_index) return;
  flight& f = host.flights[c.flight];
  const std::uint32_t pipe = pipe_of(host, c);
  if (pipe >= c.flow.cwnd || f.lost_bytes > f.resent_bytes) return;
  f.app_limited_until = std::max<std::uint64_t>(f.delivered_bytes + pipe, 1);
}

bool plan_new(core& host, connection& c, plan& out) {
  if (c.fin_sent) return false;
  const std::uint32_t unsent = c.unsent();
  if (unsent == 0) note_app_limited(host, c);
  if (unsent == 0 && !c.fin_queued) return false;
  restart_after_idle(host, c);
  if (!c.probe_new_due && !pace_allows(host, c)) return false;
  const std::uint32_t flight = c.in_flight();
  const std::uint32_t window = c.snd_.wnd > flight ? c.snd_.wnd - flight : 0;
  out.is_probe = c.probe_new_due;
  c.probe_new_due = false;
  if (!out.is_probe) {
    const mtu_probe asks = plan_mtu_probe(host, c, out.length);
    out.seq = c.snd_.nxt;
    out.is_mtu_probe = asks == mtu_probe::go;
    if (asks != mtu_probe::none) return out.is_mtu_probe;
  }
  const std::uint32_t room = room_in_window(host, c) + (out.is_probe ? c.snd_mss : 0U);
  std::uint32_t length = std::min({unsent, window, largest_segment(host, c)});
  if (length > room) {
    length = room / c.snd_mss * c.snd_mss;
    c.flow.limited_at = c.snd_.nxt;
  }
  out.seq = c.snd_.nxt;
  if (length > c.snd_mss && length < unsent) length = length / c.snd_mss * c.snd_mss;
  if (length < unsent && length < c.snd_mss &&
      (length == 0 || !may_send_short(host, c, length, unsent))) {
    if (flight == 0) arm_persist(host, c);
    return false;
  }
  if (length == unsent && ends_short(length, c.snd_mss) && !out.is_probe &&
      !may_send_short(host, c, length, unsent)) {
    length = length / c.snd_mss * c.snd_mss;
    if (length == 0) return hold_corked(host, c), false;
  }
  out.length = length;
  if (length == unsent && length > 0) out.flags |= flag::psh;
  if (fin_fits_behind(c, out.seq + length)) out.flags |= flag::fin;
  if (length == 0 && (out.flags & flag::fin) == 0) {
    if (flight == 0) arm_persist(host, c);
    return false;
  }
  return true;
}

/// An acknowledged byte again, without text: the peer answers with its window (RFC 9293 §3.8.6.1).
void plan_probe(connection& c, plan& out) {
  c.probe_due = false;
  out.seq = c.snd_.una - 1;
}

bool plan_ack(connection& c, plan& out) {
  if (c.ack.duplicates > 0) {
    --c.ack.duplicates;
  } else if (!c.ack.due) {
    return false;
  }
  out.seq = c.snd_.nxt;
  return true;
}

/// Counts a segment, or as many as the link cuts it into.
void count_sent(core& host, connection& c, const plan& sent) noexcept {
  if (sent.length == 0) {
    ++c.traffic.segs_out;
    return;
  }
  const bool whole = (sent.flags & flag::syn) != 0 || sent.is_mtu_probe;
  const std::uint32_t segments = whole ? 1 : segments_in(sent.length, c.snd_mss);
  c.traffic.segs_out += segments;
  c.traffic.data_segs_out += segments;
  c.last_sent_ms = host.ms();
}

/// What recovery and the probe count of a segment that has left.
void note_in_flight(core& host, connection& c, const plan& sent) noexcept {
  // Until so much is on its way nothing needs a flight block.
  const bool much = c.in_flight() > 4U * c.snd_mss;
  flight* const f =
      c.flight != no_index || much || is_paced(host, c) ? flight_of(host, c) : nullptr;
  if (f == nullptr) return;
  if (c.flow.phase == recovery_phase::recovery || c.flow.phase == recovery_phase::reduced) {
    f->prr_out += sent.length;
  }
  if (sent.is_probe) f->tlp_high_seq = c.snd_.nxt;
  // Linux's tcp_update_skb_after_send, as its fq: what begins a connection is not held back.
  constexpr std::uint64_t unpaced_segments = 10;
  if (f->pacing_rate == 0 || c.traffic.data_segs_out < unpaced_segments) return;
  const std::uint64_t takes_us = std::uint64_t{sent.length} * 1'000'000 / f->pacing_rate;
  f->next_send_us = std::max(f->next_send_us, host.now_us()) + takes_us;
}

void after_new_data(core& host, connection& c, const plan& sent) {
  const sequence end = sent.seq + sent.length + ((sent.flags & flag::fin) != 0 ? 1U : 0U);
  if (c.snd_.una == c.snd_.nxt) {
    c.flow.silent_since_ms = host.ms();
    c.stalled_since_ms = host.ms();
  }
  const bool asks = sent.is_mtu_probe && sent.length > c.snd_mss;
  if (asks) note_mtu_probe(host, c, sent.seq, sent.length);
  note_sent(host, c, distance(c.snd_.nxt, end));
  c.snd_.nxt = end;
  note_in_flight(host, c, sent);
  if ((sent.flags & flag::fin) != 0) c.fin_sent = true;
  if (ends_short(sent.length, c.snd_mss) && !asks) c.snd_.sml = end;
  if (c.wants_room) tell_room(host, c);
  c.probe_due = false;
  c.uncork_due = false;
  c.when.cork = 0;
  if (c.timer == rtx_timer::persist) {
    c.flow.retransmits = 0;
    c.heard = false;
  }
  if (c.timer != rtx_timer::retransmit && c.timer != rtx_timer::reordering && !arm_probe(host, c)) {
    arm_retransmit(host, c);
  }
  // Linux's pingpong: an answer soon after a request means that the next acknowledgement may wait
  // for the next answer.
  if (sent.length > 0 && host.ms() - c.ack.last_received_ms < c.ack.ato_ms) {
    c.ack.interactive = true;
  }
}

void after_retransmission(core& host, connection& c, const plan& sent) {
  if (c.path != no_index) abandon_mtu_probe(host, c);
  note_resent(host, c, sent.range, sent.length + ((sent.flags & flag::fin) != 0 ? 1U : 0U));
  flight& f = host.flights[c.flight];
  if (f.undo_retrans < 0) f.undo_retrans = 0;
  ++f.undo_retrans;
  if (!f.has_retrans_stamp) {
    f.has_retrans_stamp = true;
    f.retrans_stamp = host.ms() + c.ts_offset;
  }
  note_in_flight(host, c, sent);
  c.traffic.bytes_retrans += sent.length;
  ++c.flow.total_retrans;
  ++host.count.retrans_segs;
  if (c.flow.phase == recovery_phase::recovery) ++host.count.fast_retrans;
  // As in Linux what the timer itself sends again is no part of slow start.
  if (c.flow.phase == recovery_phase::loss && !sent.by_timer) ++host.count.slow_start_retrans;
  if (c.timer != rtx_timer::retransmit && c.timer != rtx_timer::reordering) {
    arm_retransmit(host, c);
  }
}

void after_syn(core& host, connection& c, const plan& sent) {
  const bool first = c.fastopen_child ? !c.synack_sent : c.snd_.nxt == c.snd_.iss;
  c.synack_sent = c.fastopen_child;
  if (first) {
    if (!c.fastopen_child) c.snd_.nxt = c.snd_.iss + 1 + sent.length;
    c.syn_data = sent.length > 0;
    c.flow.timing = true;
    c.flow.timed_at_us = static_cast<std::uint32_t>(host.now_us());
    c.flow.silent_since_ms = host.ms();
    c.stalled_since_ms = host.ms();
  } else {
    c.flow.timing = false;
    ++host.count.retrans_segs;
    ++host.count.syn_retrans;
  }
}

/// Every segment with ACK acknowledges: what was owed is paid.
void acknowledged(core& host, connection& c, std::uint32_t window) {
  if (c.ack.quick > 0 && (c.ack.due || c.ack.delayed)) --c.ack.quick;
  c.ack.due = false;
  c.ack.delayed = false;
  c.ack.pushed = false;
  c.ack.pushed_again = false;
  note_acknowledged(host, c);
  c.when.delayed_ack = 0;
  note_advertised(host, c, window);
}

enum class kind : std::uint8_t { retransmission, fresh, other };

/// What of all that may be due goes first; false when nothing does.
bool choose(core& host, connection& c, plan& next, kind& what) {
  if (c.may_send()) {
    what = kind::retransmission;
    if (plan_retransmission(host, c, next)) return true;
    next.clear();
    what = kind::fresh;
    if (plan_new(host, c, next)) return true;
    next.clear();
    what = kind::retransmission;
    if (plan_without_frto(host, c, next)) return true;
    what = kind::other;
    if (c.probe_due) return plan_probe(c, next), true;
  }
  return plan_ack(c, next);
}

/// Writes the segment; the plan says afterwards what of it has left.
void emit(core& host, connection& c, plan& next, outgoing& out) {
  // One by one, for the reason of `plan::clear`.
  out.seq = next.seq;
  out.length = next.length;
  out.flags = next.flags;
  out.mtu_probe = next.is_mtu_probe;
  emit_segment(host, c, out);
  next.length = out.length;
  next.flags = out.flags;
  if (out.told_sacks) c.sacks.forget_duplicate();
  count_sent(host, c, next);
}

void build_syn(core& host, connection& c) {
  plan next;
  const std::optional<std::span<const std::byte>> fastopen = plan_syn(host, c, next);
  // SYN-ACK knows already that each segment will have timestamps.
  const bool stamped = c.timestamps && c.state == state::syn_received;
  outgoing out;
  out.window = first_window(c.receive_buffer, c.rcv_mss_offered - (stamped ? 12U : 0U));
  out.fastopen = &fastopen;
  emit(host, c, next, out);
  after_syn(host, c, next);
  acknowledged(host, c, out.window);
}

}  // namespace

bool build_segment(core& host, connection& c) {
  if (c.path != no_index) refresh_path(host, c);
  if (c.syn_due) return build_syn(host, c), true;
  plan next;
  kind what = kind::other;
  if (!choose(host, c, next, what)) return false;
  outgoing out;
  out.window = select_window(host, c);
  out.carries_ect = c.ecn && what == kind::fresh && next.length > 0;
  emit(host, c, next, out);
  if (what == kind::retransmission) after_retransmission(host, c, next);
  if (what == kind::fresh) after_new_data(host, c, next);
  acknowledged(host, c, out.window);
  return true;
}

}  // namespace runnel::tcp::detail
