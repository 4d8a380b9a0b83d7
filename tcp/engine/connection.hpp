#pragma once

#include <cstdint>

#include "congestion.hpp"
#include "index_list.hpp"
#include "reassembly_queue.hpp"
#include "receive_queue.hpp"
#include "runnel/tcp/engine/error.hpp"
#include "runnel/tcp/engine/handle.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/tcp/engine/snapshot.hpp"
#include "runnel/tcp/engine/state.hpp"
#include "runnel/wire/address.hpp"
#include "sack_report.hpp"
#include "scoreboard.hpp"
#include "send_queue.hpp"
#include "timer_wheel.hpp"

namespace runnel::tcp::detail {

/// What names a connection on this host. The local address is its place in the host's table, so
/// that the compact entries need two bytes for it.
struct flow_key {
  net::address remote;
  std::uint16_t remote_port = 0;
  std::uint16_t local_port = 0;
  std::uint16_t local_index = 0;

  friend bool operator==(const flow_key&, const flow_key&) noexcept = default;
};

/// Send sequence variables (RFC 9293 §3.3.1).
struct send_variables {
  sequence una;
  sequence nxt;
  sequence wl1;
  sequence wl2;
  sequence iss;
  /// The end of the last segment shorter than the MSS (Minshall's variant of Nagle's rule).
  sequence sml;
  /// In bytes, scaled already.
  std::uint32_t wnd = 0;
  /// The largest window the peer ever offered (RFC 9293 §3.8.6.2.1).
  std::uint32_t max_wnd = 0;
};

/// Receive sequence variables (RFC 9293 §3.3.1).
struct receive_variables {
  sequence nxt;
  sequence irs;
  /// What was last advertised, counted from `wup`: the right edge `wup + wnd` never moves left.
  std::uint32_t wnd = 0;
  /// RCV.NXT as the last segment we sent told it (RFC 7323's Last.ACK.sent).
  sequence wup;
};

/// What the retransmission timer waits for; they exclude each other.
enum class rtx_timer : std::uint8_t {
  none,
  retransmit,
  /// Zero-window probes (RFC 9293 §3.8.6.1).
  persist,
  /// The tail loss probe (RFC 8985 §7).
  probe,
  /// The reordering window of a hole (RFC 8985 §6.2).
  reordering,
};

/// What of retransmission and congestion control outlives the flight (RFC 6298, RFC 5681). Sizes
/// are bytes, times are what the name says.
struct transmission {
  std::uint32_t srtt_us = 0;
  std::uint32_t rttvar_us = 0;
  std::uint32_t rto_ms = 1000;
  /// The shortest round trip of the last minutes, and when it was measured.
  std::uint32_t min_rtt_us = 0;
  std::uint32_t min_rtt_ms = 0;
  std::uint32_t cwnd = 0;
  std::uint32_t ssthresh = UINT32_MAX;
  /// SND.NXT when `cwnd` last kept something from being sent: only what was outstanding then lets
  /// `cwnd` grow.
  sequence limited_at;
  /// When SYN or SYN-ACK left, in us modulo 2^32, while it is `timing` (Karn: never one that was
  /// sent again).
  std::uint32_t timed_at_us = 0;
  /// When the segment now unanswered was first sent, in ms; for the give-up time.
  std::uint32_t silent_since_ms = 0;
  std::uint32_t total_retrans = 0;
  std::uint8_t retransmits = 0;
  recovery_phase phase = recovery_phase::open;
  bool timing = false;
  /// By what D-SACKs have widened the time that RACK gives a hole (RFC 8985 §6.2 step 4).
  std::uint8_t reo_wnd_mult = 1;
};

/// When to acknowledge (RFC 9293 §3.8.6.3, RFC 5681 §4.2, and Linux's quick acknowledgements).
struct acknowledging {
  /// Duplicates owed, one for each out-of-order segment.
  std::uint8_t duplicates = 0;
  /// Immediate acknowledgements left before they are delayed.
  std::uint8_t quick = 16;
  /// Answers follow requests here, so an acknowledgement may wait for the answer.
  bool interactive : 1 = false;
  bool due : 1 = false;
  bool delayed : 1 = false;
  /// The last segment was a full one.
  bool full : 1 = false;
  /// What ends with a short segment was written to its end: once it is read there is nothing to
  /// wait for. The latter says it of two (Linux's ICSK_ACK_PUSHED and PUSHED2).
  bool pushed : 1 = false;
  bool pushed_again : 1 = false;
  /// Delay in force, in ms (Linux: 40 up to 200).
  std::uint16_t ato_ms = 40;
  /// The longest segment received, as an estimate of the peer's MSS.
  std::uint16_t rcv_mss = 536;
  std::uint32_t last_received_ms = 0;
};

/// Times of the connection's timers in ms modulo 2^32; 0 is "not armed".
struct deadlines {
  std::uint32_t rtx = 0;
  std::uint32_t delayed_ack = 0;
  /// TCP_CORK holds a short segment back no longer.
  std::uint32_t cork = 0;
  /// The pace lets the next packet go; while nothing is in flight, its block is of no use any more.
  std::uint32_t pace = 0;
  /// The next step of closing: see `life_timer`.
  std::uint32_t life = 0;
  std::uint32_t keepalive = 0;
};

/// What a connection that its owner has closed waits for at most until `deadlines::life`.
enum class life_timer : std::uint8_t {
  none,
  /// The peer's FIN, in FIN-WAIT-2; then it is over.
  fin_wait_2,
  /// The acknowledgement of FIN; then the owner is told that it is late (close_mode::linger).
  linger,
  /// The peer's FIN while text is thrown away; then text is answered with RST
  /// (close_mode::lingering).
  discard,
  /// The peer's FIN before our own; then ours is said (close_mode::peer_first).
  await_peer,
};

/// One connection that is more than a half-open request and less than TIME-WAIT. Plain data in a
/// slab; the queues give their blocks back when the core drops it.
struct connection {
  /// The look-up chain, or the slab's free list.
  std::uint32_t next = 0;
  std::uint32_t generation = 0;
  /// Its place in the slab.
  std::uint32_t index = 0;
  /// Its block in `core::receive_tunings`, while it needs one.
  std::uint32_t tuning = no_index;
  flow_key key;
  tcp::state state = tcp::state::closed;
  end_reason ended = end_reason::none;
  /// Told once by the next `receive` or `send`.
  tcp::error pending_error = error::none;
  /// What an ICMP error said since the last acknowledgement (Linux's sk_err_soft).
  tcp::error soft_error = error::none;
  events reported = events::none;

  std::uint8_t snd_wscale = 0;
  std::uint8_t rcv_wscale = 0;
  std::uint16_t snd_mss = 536;
  /// The MSS that our SYN, or SYN-ACK, offers.
  std::uint16_t rcv_mss_offered = 1460;
  /// What an ICMP error says that the path carries; 0 while none has.
  std::uint16_t path_mtu = 0;

  /// These three, and `rcv_wscale`, are what our SYN offers until the peer's has come: what was
  /// said once holds, whatever the policy says by then.
  bool timestamps : 1 = false;
  bool window_scaled : 1 = false;
  /// Both sides have said SACK-permitted (RFC 2018 §2).
  bool sack_permitted : 1 = false;
  /// SYN, or SYN-ACK, is to be sent (again).
  bool syn_due : 1 = false;
  /// The application has said FIN.
  bool fin_queued : 1 = false;
  bool fin_sent : 1 = false;
  /// The peer has said FIN and everything before it is here.
  bool fin_received : 1 = false;
  /// A read has come to it.
  bool fin_read : 1 = false;
  /// The owner called `close`: data that arrives now has no reader (RFC 1122 §4.2.2.13).
  bool closed_by_owner : 1 = false;
  /// Nobody holds the handle.
  bool orphan : 1 = false;
  /// Accepted or connected: someone is there for events.
  bool owned : 1 = false;
  bool in_table : 1 = false;
  bool counted_ended : 1 = false;
  bool counted_quiet : 1 = false;
  bool in_tx : 1 = false;
  bool in_dirty : 1 = false;
  bool probe_due : 1 = false;
  /// TCP_CORK has held the short segment back for long enough.
  bool uncork_due : 1 = false;
  /// The peer has answered since the last zero-window probe, or since text was last sent again into
  /// a window that it has taken back.
  bool heard : 1 = false;
  /// `send` took less than it was given, or left little room: room is to be reported.
  bool wants_room : 1 = false;
  /// Someone waits for everything to be acknowledged.
  bool wants_drained : 1 = false;
  /// FIN has arrived and belongs at `fin_at`, maybe behind a hole.
  bool fin_seen : 1 = false;
  /// Our SYN has asked for ECN, and both sides have agreed on it (RFC 3168 §6.1.1).
  bool ecn_asked : 1 = false;
  bool ecn : 1 = false;
  /// A packet came with CE: every acknowledgement says ECE until the peer says CWR.
  bool ece_due : 1 = false;
  /// Our window was reduced: the next new text says CWR.
  bool cwr_due : 1 = false;
  /// The owner is gone: what arrives is acknowledged and thrown away.
  bool discards : 1 = false;
  bool counted_orphan : 1 = false;
  /// Keepalive was switched on just now.
  bool keepalive_begins : 1 = false;
  /// `connection_policy::fastopen_connect` as it was when the connection was made.
  bool fastopen_wanted : 1 = false;
  /// Fast Open, connecting: SYN waits for the first text.
  bool syn_held : 1 = false;
  /// `connect` was reported as done ahead of the handshake: the owner may write.
  bool writes_early : 1 = false;
  /// The first SYN has the Fast Open option, or text.
  bool fastopen_asks : 1 = false;
  /// Text has left with the SYN; and it was acknowledged with it. The latter is also for a
  /// listener's child that has taken such text (TCPI_OPT_SYN_DATA).
  bool syn_data : 1 = false;
  bool syn_data_acked : 1 = false;
  /// Fast Open, listening: it began with its SYN, and our SYN-ACK is not acknowledged yet.
  bool fastopen_child : 1 = false;
  /// Its SYN-ACK has left, and carries a cookie.
  bool synack_sent : 1 = false;
  bool gives_cookie : 1 = false;
  fastopen_client_fail fastopen_fail : 2 = fastopen_client_fail::none;
  /// The tail loss probe is to leave, as new text or as the last segment again.
  bool probe_new_due : 1 = false;
  bool probe_resend_due : 1 = false;
  rtx_timer timer : 3 = rtx_timer::none;
  life_timer life : 3 = life_timer::none;
  /// Keepalive probes since something last arrived.
  std::uint8_t keepalive_sent = 0;

  /// The path has reordered; and the recoveries for which `flow.reo_wnd_mult` still holds.
  bool reordering_seen : 1 = false;
  std::uint8_t reo_wnd_persist : 5 = 0;
  /// `receive_buffer` follows what is read (SO_RCVBUF was not set).
  bool tuned : 1 = false;
  /// Segments by which it reorders, as Linux measures it.
  std::uint16_t reordering = 3;

  send_variables snd_;
  receive_variables rcv_;
  sequence fin_at;
  std::uint32_t ts_recent = 0;
  /// When `ts_recent` came, in ms.
  std::uint32_t ts_recent_ms = 0;
  std::uint32_t ts_offset = 0;

  send_queue tx;
  receive_queue rx;
  reassembly_queue out_of_order;
  sack_report sacks;

  acknowledging ack;
  transmission flow;
  sent_list sent;
  /// Its block in `core::flights`, while it needs one.
  std::uint32_t flight = no_index;
  deadlines when;
  /// Its block in `core::paths`, while it needs one.
  std::uint32_t path = no_index;
  tcp::traffic traffic;
  /// Since when nothing was acknowledged of what is on its way, or the window has been closed; for
  /// TCP_USER_TIMEOUT. Answers that acknowledge nothing do not move it.
  std::uint32_t stalled_since_ms = 0;
  std::uint32_t last_sent_ms = 0;
  std::uint32_t last_ack_ms = 0;
  timer_node node;

  list_links tx_links;
  list_links dirty_links;
  /// The accept queue, while a listener's child waits in it.
  list_links accept_links;
  std::uint32_t listener = no_index;
  /// The listener in whose Fast Open queue it is counted, accepted or not.
  std::uint32_t fastopen_listener = no_index;
  std::uint32_t last_challenge_ms = 0;
  /// Bytes that were not acknowledged when the connection ended.
  std::uint32_t lost_bytes = 0;
  std::uint64_t token = 0;
  /// Its policy in `core::policies`.
  std::uint32_t policy = 0;
  /// Room for received bytes now.
  std::uint32_t receive_buffer = 0;
  /// SO_SNDBUF as it has grown, or as it was last set.
  std::uint32_t send_buffer = 0;

  bool synchronized() const noexcept {
    return state >= state::established && state <= state::last_ack;
  }
  /// The owner may write: the handshake is done, or Fast Open goes ahead of it.
  bool may_write() const noexcept {
    return synchronized() || fastopen_child ||
           (writes_early && (state == state::syn_sent || state == state::syn_received));
  }
  /// Text may be sent, and `snd_.una` is where it begins.
  bool may_send() const noexcept { return synchronized() || fastopen_child; }
  bool fin_acked() const noexcept { return fin_sent && snd_.una == snd_.nxt && tx.empty(); }
  std::uint32_t held_bytes() const noexcept { return rx.held_bytes() + out_of_order.held_bytes(); }
  /// Bytes that left and are not acknowledged; FIN counts.
  std::uint32_t in_flight() const noexcept { return distance(snd_.una, snd_.nxt); }
  /// Everything has left and is acknowledged; of a closed connection FIN too.
  bool drained() const noexcept {
    return unsent() == 0 && snd_.una == snd_.nxt && fin_queued == fin_sent &&
           (fin_queued || !closed_by_owner);
  }
  /// Bytes that never left.
  std::uint32_t unsent() const noexcept {
    const std::uint32_t left = in_flight() - (fin_sent ? 1 : 0);
    return tx.size() > left ? tx.size() - left : 0;
  }
};

static_assert(sizeof(connection) <= 512, "a connection's core is to stay small");

using connection_slab = slab<connection, 128>;

}  // namespace runnel::tcp::detail
