#include <algorithm>

#include "core.hpp"
#include "recovery.hpp"
#include "send_room.hpp"

// The fifth check of RFC 9293 §3.10.7.4: what the peer acknowledges, and the window it offers.

namespace runnel::tcp::detail {

namespace {

/// RFC 5961 §5.2: an acknowledgement older than the largest window ever offered is forged or
/// ancient, and what was never sent cannot be acknowledged. As Linux does, both are asked back.
bool plausible_ack(core& host, connection& c, const segment& seg) {
  if (after(seg.ack, c.snd_.nxt) || before(seg.ack, c.snd_.una - c.snd_.max_wnd)) {
    send_challenge_ack(host, c);
    return false;
  }
  return true;
}

/// RFC 7323 §4.3: only a segment that covers Last.ACK.sent updates TS.Recent, so that an echo
/// measures the whole round trip of what is acknowledged. As in Linux only with an acknowledgement
/// that nobody has overtaken: who cannot see the connection must not choose what the timestamps of
/// others are held against.
void remember_timestamp(core& host, connection& c, const segment& seg) {
  if (!c.timestamps || !seg.options->timestamp || before(seg.ack, c.snd_.una)) return;
  if (after(seg.seq, c.rcv_.wup)) return;
  c.ts_recent = seg.options->timestamp->value;
  c.ts_recent_ms = host.ms();
}

void update_window(core& host, connection& c, const segment& seg) {
  // RFC 9293 §3.10.7.4: only where SND.UNA =< SEG.ACK. The window of an overtaken segment counts
  // from an older number and would reach beyond what was offered.
  if (before(seg.ack, c.snd_.una)) return;
  const std::uint32_t window = std::uint32_t{seg.window} << c.snd_wscale;
  const bool newer = after(seg.ack, c.snd_.una) || after(seg.seq, c.snd_.wl1) ||
                     (seg.seq == c.snd_.wl1 && at_or_after(seg.ack, c.snd_.wl2));
  if (!newer) return;
  const bool opened = window > c.snd_.wnd;
  c.snd_.wnd = window;
  c.snd_.max_wnd = std::max(c.snd_.max_wnd, window);
  c.snd_.wl1 = seg.seq;
  c.snd_.wl2 = seg.ack;
  if (opened && c.unsent() > 0) want_transmit(host, c);
  // The peer is alive. As long as it answers, the probes go on (RFC 9293 §3.8.6.1), and so does
  // sending again what it has taken its window back from.
  if (c.timer == rtx_timer::persist || (window == 0 && !c.closed_by_owner)) c.heard = true;
  // Only what it lets out ends the waiting: one that is too small to be used at once, or closes
  // before it was, leaves the probes and their bounds as they are.
  if (c.timer == rtx_timer::persist && window > 0) want_transmit(host, c);
}

void measure(core& host, connection& c, const segment& seg, const ack_facts& facts) {
  const std::uint32_t told = facts.rtt_us != 0 ? facts.rtt_us : facts.sack_rtt_us;
  if (told != 0) return sample_rtt(host, c, told);
  // RFC 7323 §4: with timestamps even a retransmitted segment can be measured, to the millisecond.
  if (!facts.advanced || !c.timestamps || !seg.options->timestamp) return;
  const std::uint32_t sent = seg.options->timestamp->echo - c.ts_offset;
  const std::uint32_t elapsed_ms = host.ms() - sent;
  if (elapsed_ms < rto_limit_ms) sample_rtt(host, c, std::max(elapsed_ms, 1U) * 1000);
}

/// Moves SND.UNA.
void advance_una(core& host, connection& c, const segment& seg, ack_facts& facts) {
  std::uint32_t acked = distance(c.snd_.una, seg.ack);
  score_ack(host, c, seg.ack, facts);
  // Whatever was without a range of its own, for want of memory, counts all the same.
  facts.advanced = true;
  facts.acked_bytes = acked;
  c.snd_.una = seg.ack;
  if (c.path != no_index) {
    keep_cut_point(host, c);
    check_mtu_probe(host, c);
  }
  c.snd_.sml = later(c.snd_.sml, c.snd_.una);
  // These points follow SND.UNA, or they would come round again after 2 GiB.
  c.flow.limited_at = later(c.flow.limited_at, c.snd_.una - acked);
  if (c.fin_sent && c.snd_.una == c.snd_.nxt) --acked;
  if (acked > 0) take_acknowledged(host, c, acked);
  c.flow.retransmits = 0;
  c.flow.silent_since_ms = host.ms();
  c.stalled_since_ms = host.ms();
}

/// What waits for an acknowledgement that moves: the timers, and who is to be told.
void after_advance(core& host, connection& c) {
  if (c.snd_.una == c.snd_.nxt) {
    stop_rtx_timer(c);
    tell_drained(host, c);
    land_soon(host, c);
  } else if (c.timer != rtx_timer::reordering && !host.sent_ranges[c.sent.head].sacked) {
    // RFC 6298 (5.3).
    if (!arm_probe(host, c)) arm_retransmit(host, c);
  }
  if (c.unsent() > 0 || c.flow.phase != recovery_phase::open || (c.fin_queued && !c.fin_sent)) {
    want_transmit(host, c);
  }
}

/// RFC 5681 §2: what counts as a duplicate.
bool is_duplicate(const connection& c, const segment& seg) {
  return seg.ack == c.snd_.una && c.snd_.una != c.snd_.nxt && seg.seq_len() == 0 &&
         std::uint32_t{seg.window} << c.snd_wscale == c.snd_.wnd;
}

/// Our FIN is acknowledged: the states that waited for it. False when the connection is gone.
bool on_fin_acked(core& host, connection& c) {
  switch (c.state) {
    case state::fin_wait_1:
      set_state(host, c, state::fin_wait_2);
      return !c.closed_by_owner || wait_for_fin(host, c, host.count.abort_on_data);
    case state::closing:
      enter_time_wait(host, c);
      return false;
    case state::last_ack:
      end_connection(host, c, end_reason::clean, error::none);
      return false;
    default:
      return true;
  }
}

/// SYN-RECEIVED of a simultaneous open: the acknowledgement of our SYN.
bool finish_simultaneous_open(core& host, connection& c, const segment& seg) {
  if (seg.ack != c.snd_.nxt) {
    send_reset_for(host, seg);
    return false;
  }
  c.snd_.una = seg.ack;
  // The window of a segment with SYN is never scaled (RFC 7323 §2.2).
  c.snd_.wnd = std::uint32_t{seg.window} << (seg.has(flag::syn) ? 0 : c.snd_wscale);
  c.snd_.max_wnd = std::max(c.snd_.max_wnd, c.snd_.wnd);
  c.snd_.wl1 = seg.seq;
  c.snd_.wl2 = seg.ack;
  enter_established(host, c);
  return true;
}

}  // namespace

void take_acknowledged(core& host, connection& c, std::uint32_t bytes) {
  c.traffic.bytes_acked += bytes;
  const std::uint32_t held = c.tx.held_bytes();
  c.tx.consume(host.pool, bytes);
  if (c.orphan) host.orphan_bytes -= held - c.tx.held_bytes();
}

void tell_drained(core& host, connection& c) noexcept {
  if (!c.wants_drained || !c.drained()) return;
  c.wants_drained = false;
  report(host, c, events::drained);
}

bool check_ack(core& host, connection& c, segment& seg) {
  if (c.state == state::syn_received) {
    if (!c.fastopen_child) return finish_simultaneous_open(host, c, seg);
    if (!finish_fastopen(host, c, seg)) return false;
  }
  if (!plausible_ack(host, c, seg)) return false;
  remember_timestamp(host, c, seg);
  c.last_ack_ms = host.ms();
  c.keepalive_sent = 0;
  // Something gets through.
  c.soft_error = error::none;
  ack_facts facts;
  facts.duplicate = is_duplicate(c, seg);
  // With nothing on its way there is nothing that met congestion.
  facts.congestion_echo =
      c.ecn && seg.has(flag::ece) && c.in_flight() > 0 && at_or_after(seg.ack, c.snd_.una);
  facts.prior_flight = pipe_of(host, c);
  facts.prior_fack = c.flight == no_index ? c.snd_.una : host.flights[c.flight].fack;
  update_window(host, c, seg);
  if (c.sack_permitted) score_sacks(host, c, seg.ack, seg.options->sacks(), facts);
  if (after(seg.ack, c.snd_.una)) advance_una(host, c, seg, facts);
  if (facts.advanced || facts.sacked_more) measure(host, c, seg, facts);
  recover(host, c, seg, facts);
  if (c.wants_room) tell_room(host, c);
  if (facts.advanced) {
    after_advance(host, c);
  } else if (c.snd_.una == c.snd_.nxt && c.when.pace == 0) {
    land_soon(host, c);
  }
  if (facts.advanced && c.fin_acked()) return on_fin_acked(host, c);
  return true;
}

}  // namespace runnel::tcp::detail
