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

/// One listener as it stands.
struct listener_snapshot {
  net::endpoint local;
  /// Connections waiting for `accept` (`ss` Recv-Q) and their limit (`ss` Send-Q).
  std::uint32_t accept_queue = 0;
  std::uint32_t backlog = 0;
  /// Half-open entries.
  std::uint32_t syn_queue = 0;
  /// Most connections that ever waited.
  std::uint32_t accept_queue_peak = 0;
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
