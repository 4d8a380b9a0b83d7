#include <algorithm>

#include "core.hpp"

// Segment arrival in the synchronized states, and in SYN-RECEIVED after a simultaneous or a fast
// open: the ordered checks of RFC 9293 §3.10.7.4. The third, security, has nothing to check here;
// urgent data, the sixth, stays in the stream where it was sent (RFC 6093 §6).

namespace runnel::tcp::detail {

namespace {

/// RFC 7323 §5.5: a clock of a millisecond has gone half way round after 24.8 days, and then what
/// was older looks newer.
constexpr std::uint32_t timestamp_lifetime_ms = 24U * 24 * 3600 * 1000;

/// RFC 7323 §5.3: a segment whose timestamp is older than the last one accepted is a duplicate from
/// an earlier turn of the sequence space.
bool paws_rejects(const core& host, const connection& c, const segment& seg) {
  if (!c.timestamps || !seg.options->timestamp || seg.has(flag::rst)) return false;
  if (host.ms() - c.ts_recent_ms >= timestamp_lifetime_ms) return false;
  return static_cast<std::int32_t>(seg.options->timestamp->value - c.ts_recent) < 0;
}

/// The window that acceptability is judged by.
std::uint32_t receive_window(const connection& c) {
  const sequence edge = c.rcv_.wup + c.rcv_.wnd;
  return after(edge, c.rcv_.nxt) ? distance(c.rcv_.nxt, edge) : 0;
}

/// RFC 9293 §3.10.7.4, first check, the table of four cases.
bool acceptable(const connection& c, const segment& seg) {
  const std::uint32_t window = receive_window(c);
  const std::uint32_t length = seg.seq_len();
  if (length == 0) {
    return window == 0 ? seg.seq == c.rcv_.nxt
                       : in_window(seg.seq, c.rcv_.nxt, window) || seg.seq == c.rcv_.nxt + window;
  }
  if (window == 0) return false;
  return in_window(seg.seq, c.rcv_.nxt, window) ||
         in_window(seg.seq + (length - 1), c.rcv_.nxt, window);
}

/// What counts an answer that was held back: Linux's FIN-WAIT-2 without an owner is a compact entry
/// with a counter of its own.
std::uint64_t& skip_counter(core& host, const connection& c, std::uint64_t& otherwise) noexcept {
  const bool compact = c.state == state::fin_wait_2 && c.closed_by_owner;
  return compact ? host.count.ack_skipped_fin_wait_2 : otherwise;
}

/// RFC 5961 §4.2: a SYN never ends a connection, it is asked back. Linux calls it an error in
/// ESTABLISHED only.
void challenge_syn(core& host, connection& c) {
  if (c.state == state::established) ++host.count.in_errs;
  ++host.count.syn_challenge;
  send_challenge_ack(host, c);
}

bool check_sequence_number(core& host, connection& c, segment& seg) {
  if (paws_rejects(host, c, seg)) {
    if (seg.seq_len() == 0 && at_or_before(seg.seq, c.rcv_.nxt)) {
      // Overtaken on the way; answering would look like a duplicate acknowledgement.
      ++host.count.paws_old_ack;
      return false;
    }
    ++host.count.paws_estab;
    send_plain_ack(host, c, seg, skip_counter(host, c, host.count.ack_skipped_paws));
    return false;
  }
  if (acceptable(c, seg)) return true;
  // RFC 5961 §3.2: a reset outside the window is dropped in silence.
  if (seg.has(flag::rst)) return false;
  if (seg.has(flag::syn)) {
    challenge_syn(host, c);
    return false;
  }
  // An acknowledgement with text that does not fit a closed window still counts as one: it may be
  // what opens our own sending again (RFC 9293 §3.10.7.4, "should be processed").
  if (receive_window(c) == 0 && seg.has(flag::ack) && seg.seq == c.rcv_.nxt && c.synchronized()) {
    if (seg.len > 0) ++host.count.zero_window_drop;
    check_ack(host, c, seg);
    if (c.state == state::closed) return false;
  }
  if (seg.len > 0 && c.sack_permitted && at_or_before(seg.seq + seg.len, c.rcv_.nxt)) {
    // It has arrived before, and the answer to it was lost, or was not waited for.
    note_duplicate_text(host, c, seg.seq, seg.seq + seg.len, host.count.dsack_old_sent);
    owe_duplicate(host, c);
    return false;
  }
  send_plain_ack(host, c, seg, skip_counter(host, c, host.count.ack_skipped_seq));
  return false;
}

/// Second check. RFC 5961 §3.2: only the exact number resets, another one in the window is asked
/// back.
bool check_reset(core& host, connection& c, const segment& seg) {
  if (!seg.has(flag::rst)) return true;
  if (seg.seq != c.rcv_.nxt) {
    send_challenge_ack(host, c);
    return false;
  }
  if (c.state == state::syn_received) {
    ++host.count.attempt_fails;
    if (c.fastopen_child) {
      // It may have an owner, to whom it was open.
      ++host.count.embryonic_rsts;
      end_connection(host, c, end_reason::reset, error::connection_reset);
    } else {
      end_connection(host, c, end_reason::refused, error::connection_refused);
    }
    return false;
  }
  // Behind the peer's FIN too: an end is clean when our FIN was acknowledged, and in CLOSING and
  // LAST-ACK it is not. As Linux says it, EPIPE is for those who may still write.
  end_connection(host, c, end_reason::reset,
                 c.state == state::close_wait ? error::broken_pipe : error::connection_reset);
  return false;
}

/// Fourth check.
bool check_syn(core& host, connection& c, const segment& seg) {
  if (!seg.has(flag::syn)) return true;
  challenge_syn(host, c);
  return false;
}

/// SYN-RECEIVED after a simultaneous or a fast open: the peer's SYN, which lies before RCV.NXT,
/// once more. As SYN-ACK it is what figure 8 of RFC 9293 ends with; alone it says that our SYN-ACK
/// was lost.
void on_repeated_syn(core& host, connection& c, segment& seg) {
  if (!seg.has(flag::ack)) {
    c.syn_due = true;
  } else if (check_ack(host, c, seg)) {
    c.ack.due = true;
  }
  want_transmit(host, c);
}

/// Cuts what lies left of RCV.NXT and right of the window, so that the text begins with something
/// new.
void trim(const connection& c, segment& seg) {
  if (before(seg.seq, c.rcv_.nxt)) {
    std::uint32_t known = distance(seg.seq, c.rcv_.nxt);
    if (known > seg.len) {
      // The FIN itself is old.
      seg.flags &= static_cast<std::uint8_t>(~flag::fin);
      known = seg.len;
    }
    if (seg.payload && known > 0) seg.payload->begin += known;
    seg.len -= known;
    seg.seq = c.rcv_.nxt;
  }
  const sequence edge = c.rcv_.nxt + receive_window(c);
  if (seg.len > 0 && after(seg.seq + seg.len, edge)) {
    const std::uint32_t beyond = std::min(distance(edge, seg.seq + seg.len), seg.len);
    seg.len -= beyond;
    seg.payload->end -= beyond;
    seg.flags &= static_cast<std::uint8_t>(~flag::fin);
  }
}

/// RFC 1122 §4.2.2.13: text for a connection whose owner is gone will never be read, and the peer
/// is told so.
bool nobody_reads(core& host, connection& c, const segment& seg) {
  if (seg.len == 0 || !c.closed_by_owner || c.discards) return false;
  if (!after(seg.seq + seg.len, c.rcv_.nxt)) return false;
  if (c.state != state::fin_wait_1 && c.state != state::fin_wait_2) return false;
  // As Linux counts it: its FIN-WAIT-2 without an owner is a compact entry that counts nothing.
  if (c.state == state::fin_wait_1) ++host.count.abort_on_data;
  send_reset_for(host, seg);
  end_connection(host, c, end_reason::aborted, error::connection_aborted);
  return true;
}

}  // namespace

void on_connection_segment(core& host, connection& c, segment& seg) {
  c.traffic.segs_in += seg.count();
  if (seg.len > 0) c.traffic.data_segs_in += seg.count();
  if (c.state == state::syn_sent) return on_syn_sent_segment(host, c, seg);
  if (c.state == state::syn_received && seg.has(flag::syn) && !seg.has(flag::rst) &&
      seg.seq == c.rcv_.irs) {
    return on_repeated_syn(host, c, seg);
  }
  if (!check_sequence_number(host, c, seg)) return;
  if (!check_reset(host, c, seg)) return;
  if (!check_syn(host, c, seg)) return;
  if (!seg.has(flag::ack)) return;
  if (!check_ack(host, c, seg)) return;
  if (c.state == state::closed || c.state == state::time_wait) return;
  if (seg.len > 0 && before(seg.seq, c.rcv_.nxt)) {
    note_duplicate_text(host, c, seg.seq, c.rcv_.nxt, host.count.dsack_old_sent);
  }
  trim(c, seg);
  if (nobody_reads(host, c, seg)) return;
  take_text(host, c, seg);
  if (c.state == state::closed) return;
  take_fin(host, c, seg);
}

}  // namespace runnel::tcp::detail
