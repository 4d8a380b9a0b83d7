#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runnel/tcp/engine/error.hpp"
#include "runnel/tcp/engine/handle.hpp"
#include "runnel/tcp/engine/state.hpp"
#include "runnel/wire/address.hpp"
#include "runnel/wire/time.hpp"

namespace runnel::tcp {

/// The two ends of a connection.
struct connection_ends {
  /// The host's.
  net::endpoint local;
  /// The peer's.
  net::endpoint remote;
};

/// The timer that a connection waits for, as `ss -o` names it.
enum class armed_timer : std::uint8_t {
  none,
  /// "on": what was sent is sent again then; for a half-open entry, its SYN-ACK.
  retransmit,
  /// "timewait": TIME-WAIT, FIN-WAIT-2 of a closed connection, or the time of its close mode is
  /// over then.
  time_wait,
  /// "persist": a zero-window probe is sent then.
  persist,
  /// "keepalive": the peer is looked after then.
  keepalive,
};

/// As `ss -o` prints it; empty for `none`.
constexpr std::string_view ss_name(armed_timer of) noexcept {
  switch (of) {
    case armed_timer::retransmit:
      return "on";
    case armed_timer::time_wait:
      return "timewait";
    case armed_timer::persist:
      return "persist";
    case armed_timer::keepalive:
      return "keepalive";
    case armed_timer::none:
      break;
  }
  return "";
}

/// Why text did not go with the SYN of a connection that asked for it
/// (tcpi_fastopen_client_fail).
enum class fastopen_client_fail : std::uint8_t {
  /// It did, or was not to.
  none,
  /// No cookie of the server's was known; the SYN has asked for one.
  cookie_unavailable,
  /// The server has acknowledged the SYN without its text, which was sent again.
  data_not_acked,
  /// So it has when the SYN was sent again, without the text.
  syn_retransmitted,
};

/// What a connection has moved so far. Bytes are payload: SYN and FIN do not count, as they do in
/// Linux. A packet that the link cuts counts as the segments it becomes.
struct traffic {
  /// Acknowledged by the peer (tcpi_bytes_acked).
  std::uint64_t bytes_acked = 0;
  /// Received in order (tcpi_bytes_received).
  std::uint64_t bytes_received = 0;
  /// Sent again (tcpi_bytes_retrans).
  std::uint64_t bytes_retrans = 0;
  /// With and without payload (tcpi_segs_out, tcpi_segs_in, tcpi_data_segs_out,
  /// tcpi_data_segs_in). A listener's child does not count its SYN-ACK, as in Linux.
  std::uint32_t segs_out = 0;
  /// The same of received ones.
  std::uint32_t segs_in = 0;
  /// Of those sent, the ones with payload.
  std::uint32_t data_segs_out = 0;
  /// Of those received, the ones with payload.
  std::uint32_t data_segs_in = 0;
};

/// One connection as it stands, with the meanings and units of Linux's TCP_INFO and of `ss`.
struct snapshot {
  /// Its state (tcpi_state).
  tcp::state state = tcp::state::closed;
  /// How it ended, once it has.
  end_reason ended = end_reason::none;
  /// Our end.
  net::endpoint local;
  /// The peer's end.
  net::endpoint remote;
  /// Bytes received in order and not yet taken.
  std::uint32_t unread_bytes = 0;
  /// Bytes taken from the application and not yet acknowledged.
  std::uint32_t unacked_bytes = 0;
  /// The same as sequence numbers, which is what `ss` shows as Recv-Q and Send-Q: the peer's FIN
  /// counts until a read has come to it, our SYN and FIN until they are acknowledged.
  std::uint32_t recv_queue = 0;
  /// The same of what was sent: Send-Q.
  std::uint32_t send_queue = 0;
  /// Of these, bytes never sent (tcpi_notsent_bytes).
  std::uint32_t unsent_bytes = 0;
  /// Bytes that arrived ahead of a hole.
  std::uint32_t out_of_order_bytes = 0;
  /// Memory that the queues hold, bookkeeping included, and that of it what waits to be
  /// acknowledged (`ss -m`).
  std::uint32_t held_bytes = 0;
  /// The part of it that waits to be acknowledged.
  std::uint32_t send_held_bytes = 0;
  /// Room for received and for sent bytes, which bounds them (SO_RCVBUF and SO_SNDBUF).
  std::uint32_t receive_buffer = 0;
  /// The same for sent bytes.
  std::uint32_t send_buffer = 0;
  /// The most payload of a segment that is sent (tcpi_snd_mss).
  std::uint16_t snd_mss = 0;
  /// The most payload of a segment that came, an estimate (tcpi_rcv_mss).
  std::uint16_t rcv_mss = 0;
  /// The MSS that our SYN offers (tcpi_advmss).
  std::uint16_t advertised_mss = 0;
  /// How long an acknowledgement may wait (tcpi_ato).
  std::chrono::milliseconds ato{};
  /// The shift count of windows that the peer says (tcpi_snd_wscale).
  std::uint8_t snd_wscale = 0;
  /// The shift count of windows that we say (tcpi_rcv_wscale).
  std::uint8_t rcv_wscale = 0;
  /// Timestamps were agreed on (TCPI_OPT_TIMESTAMPS).
  bool timestamps = false;
  /// Agreed on by both sides (TCPI_OPT_SACK, TCPI_OPT_ECN).
  bool sack = false;
  /// ECN was agreed on (TCPI_OPT_ECN).
  bool ecn = false;
  /// Text travelled with the SYN and was acknowledged with it: Fast Open, of whichever side
  /// (TCPI_OPT_SYN_DATA).
  bool syn_data_acked = false;
  /// Why it did not, of a connection that we opened.
  tcp::fastopen_client_fail fastopen_fail = tcp::fastopen_client_fail::none;
  /// Bytes (Linux counts segments).
  std::uint32_t snd_cwnd_bytes = 0;
  /// Bytes, too: where slow start ends (tcpi_snd_ssthresh).
  std::uint32_t snd_ssthresh_bytes = 0;
  /// The window that the peer offers (tcpi_snd_wnd).
  std::uint32_t snd_wnd_bytes = 0;
  /// The window that we offer (tcpi_rcv_wnd).
  std::uint32_t rcv_wnd_bytes = 0;
  /// The most that the window may be now (tcpi_rcv_ssthresh).
  std::uint32_t rcv_ssthresh_bytes = 0;
  /// What was read in the round trip that had most (tcpi_rcv_space).
  std::uint32_t rcv_space_bytes = 0;
  /// The round trip as the receiver of a stream measures it (tcpi_rcv_rtt); 0 while there is none.
  std::chrono::microseconds rcv_rtt{};
  /// The smoothed round trip (tcpi_rtt; RFC 6298); 0 before the first sample.
  std::chrono::microseconds srtt{};
  /// How much it varies (tcpi_rttvar).
  std::chrono::microseconds rttvar{};
  /// The retransmission time-out as it is now, backed off (tcpi_rto).
  std::chrono::milliseconds rto{};
  /// Consecutive timeouts without an answer (tcpi_retransmits).
  std::uint32_t retransmits = 0;
  /// Segments sent again over the connection's life (tcpi_total_retrans).
  std::uint32_t total_retrans = 0;
  /// The owner has released it; the engine finishes it alone.
  bool orphan = false;
  /// What an ICMP error has said and no acknowledgement has contradicted since. It ends nothing; it
  /// is what `receive` and `send` tell should the connection time out (Linux's sk_err_soft, which
  /// SO_ERROR shows).
  tcp::error soft_error = tcp::error::none;
  /// The longest packet that the path is known to carry, headers included (tcpi_pmtu): what an
  /// ICMP error says, or the link's MTU.
  std::uint32_t path_mtu = 0;
  /// What probes have found so far (`stack_policy::mtu_probing`): packets that get through, and the
  /// longest that may, both 0 while none is sent; and the probe that is on its way, 0 for none.
  std::uint32_t mtu_search_low = 0;
  /// The longest packet that may get through.
  std::uint32_t mtu_search_high = 0;
  /// The length of the probe on its way.
  std::uint32_t mtu_probe = 0;
  /// The policy says that an idle peer is to be probed (SO_KEEPALIVE).
  bool keepalive = false;
  /// What it waits for and when that is due; not the delayed acknowledgement.
  armed_timer timer = armed_timer::none;
  /// When that is due; counts with a timer only.
  time_point timer_due{};
  /// Timeouts of that timer in a row (the last number of `ss -o`).
  std::uint32_t timer_retries = 0;
  /// What it has moved.
  tcp::traffic traffic;
  /// Payload bytes sent, again sent ones too (tcpi_bytes_sent).
  std::uint64_t bytes_sent = 0;
  /// When payload last left (tcpi_last_data_sent) and last came (tcpi_last_data_recv);
  /// `time_point::min()` when it never did.
  time_point last_sent = time_point::min();
  /// When payload last came (tcpi_last_data_recv).
  time_point last_received = time_point::min();
  /// When an acknowledgement last came (tcpi_last_ack_recv); `time_point::min()` before the
  /// connection is established.
  time_point last_ack = time_point::min();
};

/// How far a walk over the connections has come. A new one stands at the beginning.
struct walk_position {
  /// Which of the host's tables.
  std::uint32_t part = 0;
  /// The place in it that comes next.
  std::uint32_t index = 0;
};

/// What a listener has dropped since it was opened, by reason. Each is also in the host's
/// TcpExtListenDrops.
struct listener_drops {
  /// SYNs that came while the accept queue was full.
  std::uint64_t accept_queue_full_syns = 0;
  /// Finished handshakes that found the accept queue full.
  std::uint64_t accept_queue_full_acks = 0;
  /// SYNs beyond the SYN queue, where no cookie answered.
  std::uint64_t syn_queue_full = 0;
  /// SYNs that would have used the last quarter of `stack_policy::max_syn_backlog`.
  std::uint64_t syn_backlog_reserve = 0;
  /// No memory for an entry or a connection.
  std::uint64_t no_memory = 0;
  /// Finished handshakes that were parked (`accept_overflow::park`) for as long as a whole schedule
  /// of SYN-ACKs takes, and then reset.
  std::uint64_t park_timeouts = 0;

  /// Calls `visit(std::string_view name, std::uint64_t count)` for each reason, in this order.
  template <class Visitor>
  constexpr void for_each(Visitor&& visit) const {
    visit(std::string_view("accept_queue_full_syns"), accept_queue_full_syns);
    visit(std::string_view("accept_queue_full_acks"), accept_queue_full_acks);
    visit(std::string_view("syn_queue_full"), syn_queue_full);
    visit(std::string_view("syn_backlog_reserve"), syn_backlog_reserve);
    visit(std::string_view("no_memory"), no_memory);
    visit(std::string_view("park_timeouts"), park_timeouts);
  }
  /// All of them.
  constexpr std::uint64_t total() const {
    std::uint64_t sum = 0;
    for_each([&](std::string_view, std::uint64_t count) { sum += count; });
    return sum;
  }
  friend bool operator==(const listener_drops&, const listener_drops&) = default;
};

/// One listener as it stands.
struct listener_snapshot {
  /// Where it listens; no address is every address of the host.
  net::endpoint local;
  /// Connections waiting for `accept` (`ss` Recv-Q) and their limit (`ss` Send-Q).
  std::uint32_t accept_queue = 0;
  /// How many may wait.
  std::uint32_t backlog = 0;
  /// Most connections that ever waited.
  std::uint32_t accept_queue_peak = 0;
  /// Half-open entries, parked ones too, and how many there may be before SYNs are answered with
  /// cookies or dropped.
  std::uint32_t syn_queue = 0;
  /// How many half-open entries there may be.
  std::uint64_t syn_queue_limit = 0;
  /// Most half-open entries that there ever were.
  std::uint32_t syn_queue_peak = 0;
  /// Of them, finished handshakes that wait for room in the accept queue (`accept_overflow::park`).
  std::uint32_t parked = 0;
  /// Connections that began with their SYN and are not done with their handshake, accepted or not,
  /// and how many there may be; 0 is no Fast Open.
  std::uint32_t fastopen_queue = 0;
  /// How many of those there may be.
  std::uint32_t fastopen_limit = 0;
  /// Connections that it has made.
  std::uint64_t accepted = 0;
  /// What it has dropped, by reason.
  listener_drops drops;
};

/// What the host holds, and what one object of each kind costs.
struct memory_table {
  /// Connections, without those that are half-open or in TIME-WAIT.
  std::size_t connections = 0;
  /// Half-open entries.
  std::size_t half_open = 0;
  /// Of them, those with IPv6 addresses.
  std::size_t half_open_v6 = 0;
  /// Entries in TIME-WAIT.
  std::size_t time_wait = 0;
  /// Of them, those with IPv6 addresses.
  std::size_t time_wait_v6 = 0;
  /// What one connection takes, without its queues and its record of what is in flight.
  std::size_t connection_bytes = 0;
  /// With their share of the index; an IPv6 address takes more.
  std::size_t half_open_bytes = 0;
  /// A half-open entry with IPv6 addresses.
  std::size_t half_open_bytes_v6 = 0;
  /// An entry in TIME-WAIT.
  std::size_t time_wait_bytes = 0;
  /// One with IPv6 addresses.
  std::size_t time_wait_bytes_v6 = 0;
  /// Taken from the system for all of them and for their index.
  std::size_t held_bytes = 0;
  /// What the queues hold, bookkeeping included: blocks of the host's own, and the packets of links
  /// that unread bytes were left in. Never more than `stack_policy::memory_limit`.
  std::size_t buffer_bytes = 0;
  /// What the record of what is in flight takes, which counts against that limit, too: of
  /// `held_bytes`, the part that is in use.
  std::size_t flight_bytes = 0;
  /// Of the connections, those without an owner (`ss -s` "orphaned"), and what they have yet to
  /// deliver, as memory held.
  std::size_t orphans = 0;
  /// The memory that they hold.
  std::size_t orphan_bytes = 0;
};

}  // namespace runnel::tcp
