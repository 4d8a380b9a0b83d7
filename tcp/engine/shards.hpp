#pragma once

#include <cstddef>
#include <cstdint>

#include "connection.hpp"
#include "port_map.hpp"
#include "ring.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/ip.hpp"

// Hosts that share their addresses, each with a part of the connections: shards.cpp.

namespace runnel::tcp::detail {

struct core;

/// Packets of other shards that may wait for the next `poll_stray`; more are dropped and their
/// senders retry. A burst of them, and what was whole after it.
inline constexpr std::size_t stray_limit = 256;

/// What a host knows of the shards that it is one of.
struct shard_state {
  shard_state(const shard_options& which, const stack_policy& policy)
      : index(which.index),
        count(which.count),
        first(policy.local_port_first),
        last(policy.local_port_last) {}

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
/// A whole packet is for another shard. Here it is as if it had never come.
void hand_over(core& host, net::packet packet, std::uint32_t shard) noexcept;

}  // namespace runnel::tcp::detail
