#pragma once

#include <cstdint>

#include "connection.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/packet.hpp"
#include "runnel/wire/tcp.hpp"

// What goes in and out of the engine's parts: a segment that has arrived, and one that is to leave
// outside of any connection's order.

namespace runnel::tcp::detail {

namespace flag = wire::tcp_flag;

/// A segment as the engine sees it: the RFC's SEG variables. The payload is the live part of
/// `payload`, already cut to `len` bytes.
struct segment {
  flow_key key;
  tcp::sequence seq;
  tcp::sequence ack;
  /// As written, not scaled.
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  /// The ECN bits of its IP header.
  std::uint8_t ecn = 0;
  std::uint32_t len = 0;
  /// The payload of each segment that the link has joined into this one; 0 when it is one.
  std::uint16_t gso_size = 0;
  /// What of the packet lies before the payload.
  std::uint16_t header_bytes = 0;
  const wire::tcp_options* options = nullptr;
  net::packet payload;

  bool has(std::uint8_t wanted) const noexcept { return (flags & wanted) != 0; }
  /// What it takes of the sequence space: SYN and FIN count (RFC 9293 §3.4).
  std::uint32_t seq_len() const noexcept {
    return len + (has(flag::syn) ? 1U : 0U) + (has(flag::fin) ? 1U : 0U);
  }
  tcp::sequence end() const noexcept { return seq + seq_len(); }
  /// How many segments it was on the wire, as Linux counts them.
  std::uint32_t count() const noexcept {
    return gso_size == 0 || len <= gso_size ? 1 : (len + gso_size - 1) / gso_size;
  }
};

/// A segment without payload to be sent outside any connection's own order: SYN-ACK, RST, challenge
/// ACK.
struct reply {
  flow_key key;
  tcp::sequence seq;
  tcp::sequence ack;
  std::uint16_t window = 0;
  std::uint8_t flags = 0;
  std::uint8_t ttl = 64;
  /// 0 for none.
  std::uint16_t mss = 0;
  /// Only with `has_window_scale`.
  std::uint8_t window_scale = 0;
  bool has_window_scale = false;
  bool sack_permitted = false;
  /// The peer's Fast Open cookie.
  bool fastopen_cookie = false;
  bool has_timestamp = false;
  std::uint32_t tsval = 0;
  std::uint32_t tsecr = 0;
};

}  // namespace runnel::tcp::detail
