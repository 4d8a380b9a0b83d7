#pragma once

#include <cstdint>
#include <cstring>

#include "connection.hpp"
#include "index_list.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::tcp::detail {

/// A flow key in as few bytes as its family needs. `room16` fills the gap behind it and belongs to
/// the entry that the key is part of.
struct key_v4 {
  std::uint32_t remote = 0;
  std::uint16_t remote_port = 0;
  std::uint16_t local_port = 0;
  std::uint16_t local_index = 0;
  std::uint16_t room16 = 0;

  static key_v4 from(const flow_key& key) noexcept {
    return {key.remote.to_v4_number(), key.remote_port, key.local_port, key.local_index, 0};
  }
  flow_key expand() const noexcept {
    return {net::address::v4(remote), remote_port, local_port, local_index};
  }
  bool matches(const flow_key& key) const noexcept {
    return remote_port == key.remote_port && local_port == key.local_port &&
           local_index == key.local_index && key.remote.is_v4() &&
           remote == key.remote.to_v4_number();
  }
};

/// A connection request that was answered with SYN-ACK and waits for the third segment.
/// `key.room16` is the peer's MSS.
template <class Key>
struct half_open_entry {
  std::uint32_t next = 0;
  Key key;
  sequence irs;
  sequence iss;
  std::uint32_t ts_recent = 0;
  std::uint32_t deadline_ms = 0;
  list_links links;
  /// Its place among the parked ones of its listener.
  list_links park_links;
  std::uint32_t listener = no_index;
  /// Of the SYN, unscaled; once parked, of the latest acknowledgement, to be scaled.
  std::uint16_t snd_wnd = 0;
  /// When it last answered a repeated or unacceptable segment, in 8 ms units.
  std::uint16_t answered = 0;
  /// Time-outs of its SYN-ACK.
  std::uint8_t retries = 0;
  std::uint8_t snd_wscale : 4 = 0;
  std::uint8_t rcv_wscale : 4 = 0;
  /// The window of its SYN-ACK, rounded up to a whole number of 256 bytes, as that number less 1.
  std::uint8_t offered_window = 0;
  bool window_scaled : 1 = false;
  bool timestamps : 1 = false;
  bool sack_permitted : 1 = false;
  bool ecn : 1 = false;
  /// The third segment came, but the accept queue was full, or text is waited for.
  bool acknowledged : 1 = false;
  /// It is finished and waits for room in the accept queue.
  bool parked : 1 = false;
  /// SYN-ACK has left more than once, or not from here: no round trip can be measured (Karn).
  bool untimed : 1 = false;

  std::uint16_t peer_mss() const noexcept { return key.room16; }
};

/// A connection that was closed first from here and is remembered for 2 MSL. `key.room16` is the
/// receive window, unscaled by `rcv_wscale`.
template <class Key>
struct time_wait_entry {
  std::uint32_t next = 0;
  Key key;
  sequence snd_nxt;
  sequence rcv_nxt;
  std::uint32_t ts_recent = 0;
  std::uint32_t deadline_ms = 0;
  list_links links;
  /// When it last answered an unexpected segment, in 8 ms units.
  std::uint16_t answered = 0;
  /// Which of the queues by duration holds it.
  std::uint8_t queue = 0;
  std::uint8_t rcv_wscale : 4 = 0;
  std::uint8_t timestamps : 1 = 0;
};

using half_open_entry_v4 = half_open_entry<key_v4>;
using time_wait_entry_v4 = time_wait_entry<key_v4>;
using half_open_slab = slab<half_open_entry_v4, 512>;
using time_wait_slab = slab<time_wait_entry_v4, 2048>;

/// The look-up table keeps one bucket head of four bytes for each entry.
inline constexpr std::size_t index_share_bytes = 4;
static_assert(sizeof(half_open_entry_v4) + index_share_bytes <= 64);
static_assert(sizeof(time_wait_entry_v4) + index_share_bytes <= 48);

}  // namespace runnel::tcp::detail
