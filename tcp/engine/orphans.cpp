#include "core.hpp"

// Connections without an owner: how many there may be, and how much they may hold.

namespace runnel::tcp::detail {

namespace {

/// Linux's SOCK_MIN_SNDBUF: what holds no more than this is not worth a reset for its memory.
constexpr std::uint32_t negligible_bytes = 4608;

}  // namespace

bool too_many_orphans(const core& host, const connection& c) noexcept {
  if (host.orphan_count > host.shard.share(host.policy.max_orphans)) return true;
  if (c.tx.held_bytes() <= negligible_bytes) return false;
  const std::size_t limit = host.shard.share(host.policy.orphan_memory);
  return (limit != 0 && host.orphan_bytes > limit) || out_of_memory(host);
}

void reset_orphan(core& host, connection& c) {
  ++host.count.abort_on_memory;
  send_reset(host, c);
  end_connection(host, c, end_reason::aborted, error::connection_aborted);
}

void adopt_orphan(core& host, connection& c) {
  c.orphan = true;
  c.counted_orphan = true;
  ++host.orphan_count;
  host.orphan_bytes += c.tx.held_bytes();
  if (c.state == state::fin_wait_2) {
    note_quiet(host, c);
  } else if (too_many_orphans(host, c)) {
    reset_orphan(host, c);
  }
}

bool note_quiet(core& host, connection& c) {
  if (!c.orphan || c.state != state::fin_wait_2 || c.counted_quiet) return true;
  if (host.quiet_count >= host.shard.share(host.policy.max_orphans)) {
    // As Linux does when it finds no place for the compact entry that this is there.
    ++host.count.time_wait_overflow;
    end_connection(host, c, end_reason::clean, error::none);
    return false;
  }
  c.counted_orphan = false;
  --host.orphan_count;
  c.counted_quiet = true;
  ++host.quiet_count;
  return true;
}

void forget_orphan(core& host, connection& c) noexcept {
  if (c.orphan) host.orphan_bytes -= c.tx.held_bytes();
  c.orphan = false;
  if (c.counted_orphan) --host.orphan_count;
  if (c.counted_quiet) --host.quiet_count;
  c.counted_orphan = false;
  c.counted_quiet = false;
}

}  // namespace runnel::tcp::detail
