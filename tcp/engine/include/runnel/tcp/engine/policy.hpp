#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace runnel::tcp {

/// What holds for one connection. A listener's children take the listener's, an active connection
/// takes what `connect` is given; both start from the stack's.
struct connection_policy {
  /// Room for received bytes, as memory held (SO_RCVBUF). The largest window is half of it.
  std::uint32_t receive_buffer = 1U << 20;
  /// Room for bytes not yet acknowledged, as memory held (SO_SNDBUF).
  std::uint32_t send_buffer = 1U << 20;
  /// Send small segments without waiting for the acknowledgement of earlier ones (TCP_NODELAY).
  bool nodelay = false;
  /// The longest segment to send or to ask for, without headers; 0 takes it from the link's MTU
  /// (TCP_MAXSEG).
  std::uint16_t max_segment = 0;
  /// Hop limit of what is sent (net.ipv4.ip_default_ttl).
  std::uint8_t ttl = 64;
  /// Unanswered retransmissions and probes before the connection is given up, as the time that many
  /// doublings of 200 ms take (net.ipv4.tcp_retries2; RFC 1122 §4.2.3.5).
  std::uint8_t retries2 = 15;
  /// The same for a connection whose owner has closed it (net.ipv4.tcp_orphan_retries, where 0
  /// means 8).
  std::uint8_t orphan_retries = 8;
  /// How long a closed connection waits in FIN-WAIT-2 for the peer's FIN
  /// (net.ipv4.tcp_fin_timeout).
  std::chrono::milliseconds fin_timeout{60'000};
  /// Twice the maximum segment lifetime: how long the 4-tuple of a connection that was closed first
  /// from here stays known (TCP_TIMEWAIT_LEN).
  std::chrono::milliseconds time_wait{60'000};

  friend bool operator==(const connection_policy&, const connection_policy&) = default;
};

/// What holds for one listener.
struct listener_policy {
  /// Finished handshakes that may wait for `accept`; one more is let in, as Linux does (listen(2)).
  /// Bounded by `stack_policy::somaxconn`.
  std::uint32_t backlog = 4096;
  /// SYN-ACK retransmissions before a half-open entry is dropped (net.ipv4.tcp_synack_retries).
  /// While the SYN queue is over half full with entries that were retried already, old entries get
  /// fewer, down to 2, as in Linux.
  std::uint8_t synack_retries = 5;
  connection_policy connection{};

  friend bool operator==(const listener_policy&, const listener_policy&) = default;
};

/// What holds for the whole host.
struct stack_policy {
  /// The bound of every listener's backlog (net.core.somaxconn).
  std::uint32_t somaxconn = 4096;
  /// The bound of half-open entries of one listener (net.ipv4.tcp_max_syn_backlog); the last
  /// quarter is not used, as in Linux with cookies off.
  std::uint32_t max_syn_backlog = 4096;
  /// SYN retransmissions with doubling waits (net.ipv4.tcp_syn_retries).
  std::uint8_t syn_retries = 6;
  /// SYN retransmissions one second apart before the doubling starts
  /// (net.ipv4.tcp_syn_linear_timeouts).
  std::uint8_t syn_linear_timeouts = 4;
  /// Offer and accept RFC 7323 timestamps (net.ipv4.tcp_timestamps).
  bool timestamps = true;
  /// Offer and accept RFC 7323 window scaling (net.ipv4.tcp_window_scaling).
  bool window_scaling = true;
  /// Ignore RST in TIME-WAIT (net.ipv4.tcp_rfc1337).
  bool rfc1337 = false;
  /// TIME-WAIT entries; beyond it a connection goes to CLOSED at once and is counted
  /// (net.ipv4.tcp_max_tw_buckets, which is 131072 on a large machine).
  std::uint32_t max_tw_buckets = 4U << 20;
  /// Challenge ACKs a second for the whole host (net.ipv4.tcp_challenge_ack_limit; RFC 5961 §7).
  std::uint32_t challenge_ack_limit = 1000;
  /// Shortest time between two answers to invalid segments of one connection
  /// (net.ipv4.tcp_invalid_ratelimit).
  std::chrono::milliseconds invalid_ratelimit{500};
  /// ICMP errors and RSTs to unknown connections a second for the whole host; 0 is unbounded.
  std::uint32_t reject_limit = 10'000;
  /// Local ports for `connect` without one: first and last (net.ipv4.ip_local_port_range).
  std::uint16_t local_port_first = 32768;
  std::uint16_t local_port_last = 60999;
  /// Memory that all queued bytes of the host may hold.
  std::size_t memory_limit = std::size_t{1} << 30;

  friend bool operator==(const stack_policy&, const stack_policy&) = default;
};

/// The first value out of range, named with the range that is allowed; empty when all are good.
std::string check(const connection_policy& policy);
std::string check(const listener_policy& policy);
std::string check(const stack_policy& policy);

}  // namespace runnel::tcp
