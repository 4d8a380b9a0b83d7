#include <algorithm>

#include "core.hpp"

// The seventh and eighth checks of RFC 9293 §3.10.7.4: the segment's text, and FIN.

namespace runnel::tcp::detail {

namespace {

/// Linux's tcp_incr_quickack: a small window needs few.
void be_quick(connection& c) noexcept {
  const std::uint32_t pairs = c.rcv_.wnd / (2U * c.ack.rcv_mss);
  const auto most = static_cast<std::uint8_t>(std::min<std::uint32_t>(pairs, quick_acks));
  c.ack.quick = std::max<std::uint8_t>(c.ack.quick, pairs == 0 ? 2 : most);
}

/// Linux's tcp_event_data_recv: the delay follows the pace of what arrives, and after a pause that
/// makes the sender start slowly it is told soon.
void note_arrival(core& host, connection& c) noexcept {
  if (c.ack.last_received_ms == 0) c.ack.quick = 0;
  const std::uint32_t gap = host.ms() - c.ack.last_received_ms;
  c.ack.last_received_ms = host.ms();
  if (gap <= ato_min_ms / 2) {
    c.ack.ato_ms = static_cast<std::uint16_t>(c.ack.ato_ms / 2 + ato_min_ms / 2);
  } else if (gap < c.ack.ato_ms) {
    c.ack.ato_ms = static_cast<std::uint16_t>(c.ack.ato_ms / 2 + gap);
  } else if (gap > c.flow.rto_ms) {
    be_quick(c);
  }
}

/// The delay in force: however patient the estimate is, a path this short needs no more.
std::uint32_t ack_delay_ms(const connection& c) noexcept {
  const std::uint32_t useful = std::max(c.flow.srtt_us / 1000, std::uint32_t{ato_min_ms});
  return std::min({std::uint32_t{c.ack.ato_ms}, useful, ato_max_ms});
}

/// Linux's tcp_measure_rcv_mss. Of a super-segment the length of its segments counts.
void measure_segment(connection& c, std::uint32_t length, const segment& seg) noexcept {
  const std::uint32_t whole = length;
  if (seg.gso_size != 0) length = std::min<std::uint32_t>(length, seg.gso_size);
  if (length < c.ack.rcv_mss) {
    c.ack.pushed_again = c.ack.pushed;
    c.ack.pushed = true;
    return;
  }
  c.ack.rcv_mss = static_cast<std::uint16_t>(
      std::max<std::uint32_t>(c.ack.rcv_mss, std::min<std::uint32_t>(length, c.rcv_mss_offered)));
  // A write that ends with a full segment says so.
  if (whole == c.ack.rcv_mss && seg.has(flag::psh)) c.ack.pushed = true;
}

/// Decides between an acknowledgement now and one later (RFC 9293 §3.8.6.3 with Linux's quick
/// mode).
void owe_ack(core& host, connection& c) {
  const bool two_segments = distance(c.rcv_.wup, c.rcv_.nxt) > c.ack.rcv_mss;
  if (two_segments || (c.ack.quick > 0 && !c.ack.interactive) ||
      setting(host, c, &connection_policy::quickack)) {
    c.ack.due = true;
    want_transmit(host, c);
    return;
  }
  if (c.ack.delayed) return;
  c.ack.delayed = true;
  c.when.delayed_ack = host.after_ms(ack_delay_ms(c));
  schedule(host, c);
}

/// As in Linux the acknowledgement of FIN waits for our own FIN, which answers it where the owner
/// closes at once (measured: 41 to 46 ms where he does not). Without text before it there is no
/// delay to go by.
void owe_fin_ack(core& host, connection& c) {
  if (c.state == state::established && c.traffic.bytes_received > 0) {
    c.ack.interactive = true;
    return owe_ack(host, c);
  }
  c.ack.due = true;
  want_transmit(host, c);
}

/// There is no memory for the text. The number before it is acknowledged and the rest is not, with
/// a window of zero as Linux's: the peer probes until there is room instead of sending in vain.
void refuse_text(core& host, connection& c, segment& seg) {
  ++host.count.rcv_q_drop;
  ++host.count.rcv_pruned;
  seg.len = 0;
  seg.flags &= static_cast<std::uint8_t>(~flag::fin);
  note_advertised(host, c, 0);
  c.ack.due = true;
  want_transmit(host, c);
}

/// What a window promises fits into the buffer, whatever the packets' bookkeeping takes meanwhile.
/// But a scaled one is rounded up with each acknowledgement, and who makes us acknowledge every few
/// bytes would so be promised more and more.
bool has_promised_room(core& host, connection& c) {
  constexpr std::uint32_t roundings = 64;
  return make_room(host, c) || c.rx.size() <= c.receive_buffer + (roundings << c.rcv_wscale);
}

/// The memory that the text will hold. Short text is copied; what it holds then depends on what
/// comes before and after, and counts as if it stood alone.
std::uint32_t cost_of(const segment& seg) noexcept {
  if (seg.len > copy_threshold_bytes) return seg.payload->truesize();
  return static_cast<std::uint32_t>(net::packet_pool::truesize_for(seg.len));
}

void take_in_order(core& host, connection& c, segment& seg) {
  const std::uint32_t length = seg.len;
  if (!c.discards && !(has_promised_room(host, c) && may_hold_more(host, c, length))) {
    return refuse_text(host, c, seg);
  }
  const std::uint32_t truesize = cost_of(seg);
  const std::uint32_t taken = c.discards ? length : c.rx.append(host.pool, std::move(seg.payload));
  c.rcv_.nxt += taken;
  c.traffic.bytes_received += taken;
  if (taken > 0) report(host, c, events::readable);
  if (taken < length) return refuse_text(host, c, seg);
  const bool had_hole = !c.out_of_order.empty();
  if (had_hole) {
    const std::uint32_t joined = c.out_of_order.take(host.pool, c.rcv_.nxt, c.rx);
    c.rcv_.nxt += joined;
    c.traffic.bytes_received += joined;
    c.sacks.advance(c.rcv_.nxt);
    if (c.discards) c.rx.clear(host.pool);
    // RFC 5681 §4.2: what fills a hole is acknowledged at once.
    c.ack.due = true;
    want_transmit(host, c);
  }
  measure_segment(c, length, seg);
  note_arrival(host, c);
  tune_on_arrival(host, c, seg, length, truesize);
  // FIN in the same segment decides for both.
  if (!seg.has(flag::fin)) owe_ack(host, c);
}

/// RFC 3168 §6.1.3: CE is echoed until the peer says that it has slowed down; the same segment may
/// say so and have met congestion again.
void take_congestion_marks(core& host, connection& c, const segment& seg) {
  if (seg.has(flag::cwr)) c.ece_due = false;
  if (seg.ecn != ecn_congestion || c.ece_due) return;
  c.ece_due = true;
  c.ack.due = true;
  want_transmit(host, c);
}

/// Each segment ahead of a hole owes an acknowledgement of its own, unless it may wait for others.
void owe_for_hole(core& host, connection& c, bool may_wait) {
  if (!may_wait || !compress_ack(host, c)) owe_duplicate(host, c);
}

void take_out_of_order(core& host, connection& c, segment& seg) {
  ++host.count.ofo_queue;
  const std::uint32_t length = seg.len;
  const std::uint32_t truesize = cost_of(seg);
  // Under pressure what waits ahead of a hole is a debt too many: it will come again.
  const bool pressure = under_pressure(host);
  if (pressure) relieve_pressure(host, c);
  const bool room = make_room(host, c) && !pressure;
  auto verdict = reassembly_queue::verdict::refused;
  if (room) verdict = c.out_of_order.insert(host.pool, seg.seq, std::move(seg.payload));
  if (verdict == reassembly_queue::verdict::refused) {
    ++host.count.ofo_drop;
    return owe_duplicate(host, c);
  }
  // FIN has a number of its own, and who sends it with the last text waits for both.
  const sequence end = seg.seq + seg.seq_len();
  // A peer that keeps few ranges in mind must hear of each while it is among the first two.
  const bool fresh = c.sacks.place_of(seg.seq, end) < 2;
  c.sacks.add(seg.seq, end);
  if (verdict == reassembly_queue::verdict::duplicate) {
    note_duplicate_text(host, c, seg.seq, seg.seq + length, host.count.dsack_ofo_sent);
    return owe_duplicate(host, c);
  }
  const bool marked = c.ecn && seg.ecn == ecn_congestion;
  owe_for_hole(host, c, fresh && !marked && !seg.has(flag::fin));
  tune_out_of_order(host, c, length, truesize);
}

}  // namespace

void owe_duplicate(core& host, connection& c) {
  if (c.ack.duplicates < UINT8_MAX) ++c.ack.duplicates;
  want_transmit(host, c);
}

void note_duplicate_text(core& host, connection& c, sequence left, sequence right,
                         std::uint64_t& counted) {
  if (!c.sack_permitted || !host.policy.dsack) return;
  ++counted;
  c.sacks.add_duplicate(left, right);
}

void take_text(core& host, connection& c, segment& seg) {
  if (seg.len == 0) return;
  if (c.fin_received || c.state == state::last_ack || c.state == state::closing ||
      c.state == state::close_wait) {
    // Nothing may follow the peer's FIN.
    seg.len = 0;
    seg.flags &= static_cast<std::uint8_t>(~flag::fin);
    return;
  }
  if (c.ecn) take_congestion_marks(host, c, seg);
  if (seg.seq == c.rcv_.nxt) return take_in_order(host, c, seg);
  take_out_of_order(host, c, seg);
}

void take_fin(core& host, connection& c, const segment& seg) {
  if (c.fin_received) return;
  if (seg.has(flag::fin)) {
    c.fin_seen = true;
    c.fin_at = seg.seq + seg.len;
  }
  if (!c.fin_seen || c.fin_at != c.rcv_.nxt) {
    // Text ahead of a hole has owed its duplicate already.
    if (seg.has(flag::fin) && seg.len == 0) {
      owe_duplicate(host, c);
      if (after(c.fin_at, c.rcv_.nxt)) c.sacks.add(c.fin_at, c.fin_at + 1);
    }
    return;
  }
  c.fin_received = true;
  forget_out_of_order(host, c);
  c.rcv_.nxt += 1;
  owe_fin_ack(host, c);
  report(host, c, events::readable);
  switch (c.state) {
    case state::syn_received:
    case state::established:
      set_state(host, c, state::close_wait);
      on_peer_fin(host, c);
      break;
    // Were our FIN acknowledged, the fifth check would have left this state already.
    case state::fin_wait_1:
      set_state(host, c, state::closing);
      break;
    case state::fin_wait_2:
      enter_time_wait(host, c);
      break;
    default:
      break;
  }
}

}  // namespace runnel::tcp::detail
