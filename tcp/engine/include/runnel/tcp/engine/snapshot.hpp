#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "runnel/tcp/engine/handle.hpp"
#include "runnel/tcp/engine/state.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::tcp {

/// One connection as it stands, with the meanings and units of Linux's TCP_INFO and of `ss`.
struct snapshot {
  tcp::state state = tcp::state::closed;
  end_reason ended = end_reason::none;
  net::endpoint local;
  net::endpoint remote;
  /// Bytes received in order and not yet taken (`ss` Recv-Q).
  std::uint32_t unread_bytes = 0;
  /// Bytes taken from the application and not yet acknowledged (`ss` Send-Q).
  std::uint32_t unacked_bytes = 0;
  /// Of these, bytes never sent (tcpi_notsent_bytes).
  std::uint32_t unsent_bytes = 0;
  /// Bytes that arrived ahead of a hole.
  std::uint32_t out_of_order_bytes = 0;
  /// Memory that the queues hold, bookkeeping included (`ss -m`).
  std::uint32_t held_bytes = 0;
  std::uint16_t snd_mss = 0;
  std::uint16_t rcv_mss = 0;
  std::uint8_t snd_wscale = 0;
  std::uint8_t rcv_wscale = 0;
  bool timestamps = false;
  /// Bytes (Linux counts segments).
  std::uint32_t snd_cwnd_bytes = 0;
  std::uint32_t snd_ssthresh_bytes = 0;
  std::uint32_t snd_wnd_bytes = 0;
  std::uint32_t rcv_wnd_bytes = 0;
  std::chrono::microseconds srtt{};
  std::chrono::microseconds rttvar{};
  std::chrono::milliseconds rto{};
  /// Consecutive timeouts without an answer (tcpi_retransmits).
  std::uint32_t retransmits = 0;
  /// Segments sent again over the connection's life (tcpi_total_retrans).
  std::uint32_t total_retrans = 0;
  /// The owner has released it; the engine finishes it alone.
  bool orphan = false;
};

/// What a listener has dropped since it was opened, by reason. Each is also in the host's
/// TcpExtListenDrops.
struct listener_drops {
  /// SYNs that came while the accept queue was full.
  std::uint64_t accept_queue_full_syns = 0;
  /// Finished handshakes that found the accept queue full.
  std::uint64_t accept_queue_full_acks = 0;
  /// SYNs beyond the backlog's half-open entries.
  std::uint64_t syn_queue_full = 0;
  /// SYNs that would have used the last quarter of `stack_policy::max_syn_backlog`.
  std::uint64_t syn_backlog_reserve = 0;
  /// No memory for an entry or a connection.
  std::uint64_t no_memory = 0;

  constexpr std::uint64_t total() const noexcept {
    return accept_queue_full_syns + accept_queue_full_acks + syn_queue_full + syn_backlog_reserve +
           no_memory;
  }
  friend bool operator==(const listener_drops&, const listener_drops&) = default;
};

/// One listener as it stands.
struct listener_snapshot {
  net::endpoint local;
  /// Connections waiting for `accept` (`ss` Recv-Q) and their limit (`ss` Send-Q).
  std::uint32_t accept_queue = 0;
  std::uint32_t backlog = 0;
  /// Most connections that ever waited.
  std::uint32_t accept_queue_peak = 0;
  /// Half-open entries.
  std::uint32_t syn_queue = 0;
  /// Most half-open entries that there ever were.
  std::uint32_t syn_queue_peak = 0;
  /// Connections that it has made.
  std::uint64_t accepted = 0;
  listener_drops drops;
};

/// What the host holds, and what one object of each kind costs.
struct memory_table {
  std::size_t connections = 0;
  std::size_t half_open = 0;
  std::size_t time_wait = 0;
  std::size_t connection_bytes = 0;
  std::size_t half_open_bytes = 0;
  std::size_t time_wait_bytes = 0;
  /// Taken from the system for all of them and for their index.
  std::size_t held_bytes = 0;
  /// Bytes of packets and queues.
  std::size_t buffer_bytes = 0;
};

}  // namespace runnel::tcp
