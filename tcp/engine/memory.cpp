#include <algorithm>

#include "core.hpp"

// What the host does when its queues hold much of what they may: Linux's tcp_mem with its pressure.
// In this order: out-of-order text goes and sparse blocks are packed, each connection is bounded by
// its share, windows stop growing. When all but a sixteenth is in use, no SYN is answered and
// orphans are reset; the sixteenth is for connections that hold next to nothing. When that is gone
// too, those that hold most are reset.

namespace runnel::tcp::detail {

namespace {

/// Pressure ends at half of the limit, as with Linux's tcp_mem.
constexpr std::size_t pressure_end(std::size_t limit) noexcept {
  return limit / 2;
}
/// Connections looked at for each segment that arrives under pressure: enough to come round soon,
/// few enough that a segment stays cheap.
constexpr std::uint32_t relief_steps = 4;

/// All of these together leave an eighth.
std::size_t even_share(const core& host) noexcept {
  return host.pool.limit_bytes() / 8 * 7 / std::max<std::size_t>(1, host.connections.size());
}

/// Not even the reserve is left.
bool is_exhausted(const core& host) noexcept {
  const std::size_t limit = host.pool.limit_bytes();
  return host.pool.used_bytes() > limit - limit / 64;
}

/// What the record of what it has in flight takes.
std::uint32_t flight_bytes(const connection& c) noexcept {
  const std::size_t block = c.flight == no_index ? 0 : sizeof(flight);
  return static_cast<std::uint32_t>(c.sent.count * sizeof(sent_range) + block);
}

/// Takes back what the connection's promises do not cover, and from an orphan everything.
void relieve(core& host, connection& c) {
  if (!c.out_of_order.empty()) {
    forget_out_of_order(host, c);
    ++host.count.ofo_pruned;
  }
  host.count.rcv_collapsed += c.rx.collapse(host.pool);
  const std::uint32_t held = c.held_bytes() + c.tx.held_bytes() + flight_bytes(c);
  if (held == 0 || c.state == state::closed || !out_of_memory(host)) return;
  // Then somebody holds more than an even share, so there is always one to go.
  if (!c.orphan && (!is_exhausted(host) || held <= even_share(host))) return;
  ++host.count.abort_on_memory;
  send_reset(host, c);
  // With bytes that nobody will read the stream does not end where the peer has ended it.
  if (!c.rx.empty()) c.fin_received = false;
  c.rx.clear(host.pool);
  end_connection(host, c, end_reason::aborted, error::no_buffer_space);
}

/// Linux's tcp_prune_queue: packs, and gives up what is ahead of a hole when that does not suffice,
/// until less is held than `wanted` and than the buffer allows.
void prune(core& host, connection& c, std::uint32_t wanted) {
  ++host.count.prune_called;
  if (c.held_bytes() >= c.receive_buffer) clamp_window(host, c);
  wanted = std::min(wanted, c.receive_buffer);
  if (c.held_bytes() < wanted) return;
  host.count.rcv_collapsed += c.rx.collapse(host.pool);
  if (c.held_bytes() < wanted || c.out_of_order.empty()) return;
  forget_out_of_order(host, c);
  ++host.count.ofo_pruned;
}

}  // namespace

void forget_out_of_order(core& host, connection& c) noexcept {
  c.out_of_order.clear(host.pool);
  c.sacks.clear();
}

bool update_pressure(core& host) noexcept {
  const std::size_t used = host.pool.used_bytes();
  if (host.memory_pressure) {
    host.memory_pressure = used > pressure_end(host.pool.limit_bytes());
  } else if (used > host.pool.pressure_bytes()) {
    host.memory_pressure = true;
    ++host.count.memory_pressures;
  }
  return host.memory_pressure;
}

bool out_of_memory(const core& host) noexcept {
  const std::size_t limit = host.pool.limit_bytes();
  return host.pool.used_bytes() > limit - limit / 16;
}

std::uint32_t share_under_pressure(const core& host) noexcept {
  // What every connection may hold, whatever the others do.
  const std::uint32_t least = host.policy.rmem_min;
  if (out_of_memory(host)) return least;
  return static_cast<std::uint32_t>(std::clamp<std::size_t>(even_share(host), least, UINT32_MAX));
}

void relieve_pressure(core& host, const connection& current) {
  const std::uint32_t extent = host.connections.extent();
  for (std::uint32_t i = 0; i < std::min(relief_steps, extent); ++i) {
    if (host.relief_hand >= extent) host.relief_hand = 0;
    connection& c = host.connections[host.relief_hand++];
    if (&c != &current) relieve(host, c);
  }
}

bool make_room(core& host, connection& c) {
  if (c.held_bytes() < c.receive_buffer) return true;
  prune(host, c, UINT32_MAX);
  return c.held_bytes() < c.receive_buffer;
}

bool may_hold_under_pressure(core& host, connection& c, std::uint32_t bytes) {
  relieve_pressure(host, c);
  const std::uint32_t share = memory_share(host);
  const auto more = static_cast<std::uint32_t>(net::packet_pool::truesize_for(bytes));
  const auto fits = [&] { return c.held_bytes() == 0 || c.held_bytes() + more <= share; };
  if (fits()) return true;
  prune(host, c, share);
  return fits();
}

}  // namespace runnel::tcp::detail
