#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "connection.hpp"
#include "family_slab.hpp"
#include "index_list.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::tcp::detail {

/// A flow key in as few bytes as IPv4 needs; what an IPv6 address has more is in an `address_tail`
/// behind the entry. `room16` fills the gap behind it and belongs to the entry that the key is part
/// of.
struct compact_key {
  /// The address's first four bytes, in network order.
  std::uint32_t remote = 0;
  std::uint16_t remote_port = 0;
  std::uint16_t local_port = 0;
  std::uint16_t local_index = 0;
  std::uint16_t room16 = 0;
};

/// The other twelve bytes of an IPv6 address.
using address_tail = std::array<std::uint8_t, 12>;

/// What the two kinds of compact entries share: the place in the look-up chain, and the key. Which
/// of both shapes an entry has is in itself, so that whoever holds a reference need not know.
template <class Entry>
struct keyed {
  std::uint32_t next = 0;
  compact_key key;

  flow_key flow() const noexcept;
  bool is_for(const flow_key& of) const noexcept;
};

/// A connection request that was answered with SYN-ACK and waits for the third segment.
/// `key.room16` is the peer's MSS.
struct half_open_entry : keyed<half_open_entry> {
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
  /// An `address_tail` follows.
  bool v6 : 1 = false;
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
struct time_wait_entry : keyed<time_wait_entry> {
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
  bool timestamps : 1 = false;
  /// An `address_tail` follows.
  bool v6 : 1 = false;
};

/// An entry that has room for either family: what one is before it has a place, and how IPv6's are
/// kept.
template <class Entry>
struct tailed : Entry {
  address_tail tail{};

  void set_flow(const flow_key& of) noexcept {
    const auto bytes = of.remote.bytes();
    std::memcpy(&this->key.remote, bytes.data(), sizeof(this->key.remote));
    this->key.remote_port = of.remote_port;
    this->key.local_port = of.local_port;
    this->key.local_index = of.local_index;
    this->v6 = of.remote.is_v6();
    if (this->v6) std::memcpy(tail.data(), bytes.data() + 4, tail.size());
  }
};

template <class Entry>
flow_key keyed<Entry>::flow() const noexcept {
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &key.remote, sizeof(key.remote));
  if (!static_cast<const Entry*>(this)->v6) {
    return {net::address::v4(bytes[0], bytes[1], bytes[2], bytes[3]), key.remote_port,
            key.local_port, key.local_index};
  }
  const auto& tail = static_cast<const tailed<Entry>*>(this)->tail;
  std::memcpy(bytes.data() + 4, tail.data(), tail.size());
  return {net::address::v6(bytes), key.remote_port, key.local_port, key.local_index};
}

template <class Entry>
bool keyed<Entry>::is_for(const flow_key& of) const noexcept {
  // A local address is of one family, and so are those who talk to it.
  if (key.remote_port != of.remote_port || key.local_port != of.local_port ||
      key.local_index != of.local_index) {
    return false;
  }
  const auto bytes = of.remote.bytes();
  if (std::memcmp(&key.remote, bytes.data(), sizeof(key.remote)) != 0) return false;
  if (!static_cast<const Entry*>(this)->v6) return true;
  const auto& tail = static_cast<const tailed<Entry>*>(this)->tail;
  return std::memcmp(tail.data(), bytes.data() + 4, tail.size()) == 0;
}

using half_open_request = tailed<half_open_entry>;
using half_open_slab = family_slab<half_open_entry, half_open_request, 512>;
using time_wait_slab = family_slab<time_wait_entry, tailed<time_wait_entry>, 2048>;

/// The look-up table keeps one bucket head of four bytes for each entry.
inline constexpr std::size_t index_share_bytes = 4;
static_assert(sizeof(half_open_entry) + index_share_bytes <= 64);
static_assert(sizeof(time_wait_entry) + index_share_bytes <= 48);
static_assert(sizeof(half_open_request) + index_share_bytes <= 96);
static_assert(sizeof(tailed<time_wait_entry>) + index_share_bytes <= 72);

}  // namespace runnel::tcp::detail
