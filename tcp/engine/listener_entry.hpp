#pragma once

#include <cstdint>

#include "compact.hpp"
#include "connection.hpp"
#include "fastopen_queue.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/snapshot.hpp"

namespace runnel::tcp::detail {

/// One listener: its queues, and what it has counted. A closed one keeps its place until its last
/// half-open entry, the last connection that waited for `accept`, and the last child that began
/// with its SYN and is not done with its handshake, are gone, so that these need no more than the
/// place to find it.
struct listener_entry {
  bool open = false;
  bool dirty = false;
  /// It was closed, and is in `core::closing_listeners`.
  bool closing = false;
  /// With an unspecified address or 0.0.0.0 / :: it takes every address of the host.
  net::endpoint local;
  listener_policy policy;
  /// `policy.connection` in `core::policies`, for its children.
  std::uint32_t child_policy = 0;
  std::uint32_t generation = 0;
  std::uint64_t token = 0;

  /// The accept queue.
  index_list<connection_slab, &connection::accept_links> waiting;
  std::uint32_t waiting_count = 0;
  std::uint32_t waiting_peak = 0;

  /// The SYN queue; parked entries count.
  std::uint32_t half_open_count = 0;
  std::uint32_t half_open_peak = 0;
  /// Those whose SYN-ACK has not timed out yet.
  std::uint32_t young_count = 0;

  /// Finished handshakes that wait for room in the accept queue. While there are any, it is full.
  index_list<half_open_slab, &half_open_entry::park_links> parked;
  std::uint32_t parked_count = 0;

  /// Children that took text with their SYN.
  fastopen_queue fastopen;

  /// Cookies that it has sent may come back until then, by `core::now_ms`.
  std::uint64_t cookies_until_ms = 0;

  /// Connections that it has made.
  std::uint64_t accepted = 0;
  listener_drops drops;

  bool unused() const noexcept {
    return !open && !closing && half_open_count == 0 && fastopen.pending() == 0;
  }
};

}  // namespace runnel::tcp::detail
