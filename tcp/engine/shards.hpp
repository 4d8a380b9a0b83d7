#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "connection.hpp"
#include "port_map.hpp"
#include "ring.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/ip.hpp"
#include "segment.hpp"

// Hosts that share their addresses, each with a part of the connections: shards.cpp.

namespace runnel::tcp::detail {

struct core;

/// Packets of other shards that may wait for the next `poll_stray`; more are dropped and their
/// senders retry. A burst of them, and what was whole after it.
inline constexpr std::size_t stray_limit = 256;

/// Connections that have ended and left no TIME-WAIT, each for as long as segments of it may be on
/// their way from other shards. Of fixed size: newer ones take the place of older ones.
class ended_flows {
 public:
  explicit ended_flows(bool wanted) : entries_(wanted ? places : 0) {}

  void add(std::uint64_t hash, std::uint32_t now_ms) noexcept {
    if (!entries_.empty()) entries_[hash % places] = {mark_of(hash), now_ms};
  }
  bool holds(std::uint64_t hash, std::uint32_t now_ms) const noexcept {
    if (entries_.empty()) return false;
    const entry& found = entries_[hash % places];
    return found.mark == mark_of(hash) && now_ms - found.ended_ms < kept_ms;
  }

 private:
  struct entry {
    std::uint32_t mark = 0;
    std::uint32_t ended_ms = 0;
  };
  static constexpr std::size_t places = 2048;
  /// No longer than the shortest retransmission time-out: who needs an answer asks again by then.
  static constexpr std::uint32_t kept_ms = 200;

  /// Never that of an empty entry.
  static std::uint32_t mark_of(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 32) | 1;
  }

  std::vector<entry> entries_;
};

/// What a host knows of the shards that it is one of.
struct shard_state {
  shard_state(const shard_options& which, const stack_policy& policy)
      : index(which.index),
        count(which.count),
        first(policy.local_port_first),
        last(policy.local_port_last),
        ended(which.count > 1) {}

  /// The share of a bound that holds for all shards together; 0 stays what it means.
  template <class T>
  T share(T limit) const noexcept {
    if (count <= 1 || limit == 0) return limit;
    return limit < count ? T{1} : static_cast<T>(limit / count);
  }

  std::uint32_t index;
  std::uint32_t count;
  /// The local ports whose number says which shard has them; they never change, or two shards would
  /// take one connection for theirs.
  std::uint16_t first;
  std::uint16_t last;
  /// The packet that is looked at comes from another shard, which has found that it is for this
  /// one.
  bool handed = false;
  ended_flows ended;
  ring<stray> strays{stray_limit};
};

/// Those that this host may choose from now.
port_range local_ports(const core& host) noexcept;

/// The shard that the connection between these ends belongs to, whether or not there is one.
std::uint32_t owner_of(const core& host, const flow_key& key) noexcept;
/// Whether that is another one than this host.
bool is_foreign(const core& host, const flow_key& key) noexcept;
/// The shard that puts the pieces of this packet together.
std::uint32_t assembler_of(const core& host, const wire::ip_header& ip) noexcept;
/// A connection has ended and left no TIME-WAIT.
void note_ended(core& host, const flow_key& key) noexcept;
/// Whether this segment, for which there is no connection, was on its way from another shard when
/// its connection ended: a later one of the same sender has overtaken it.
bool was_overtaken(const core& host, const segment& seg) noexcept;
/// A whole packet is for another shard. Here it is as if it had never come.
void hand_over(core& host, net::packet packet, std::uint32_t shard) noexcept;

}  // namespace runnel::tcp::detail
