#pragma once

#include <array>
#include <string>
#include <vector>

#include "inspect_format.hpp"
#include "runnel/tcp/diagnose.hpp"
#include "runnel/tcp/inspect.hpp"
#include "runnel/tcp/shard_group.hpp"

namespace runnel::tcp::detail {

/// What `ss -s` counts.
struct summary {
  std::array<std::uint64_t, static_cast<std::size_t>(state::closed) + 1> by_state{};
  std::uint64_t rows = 0;
  std::uint64_t orphans = 0;
  /// Those with IPv6 addresses, without TIME-WAIT.
  std::uint64_t v6 = 0;

  std::uint64_t of(state which) const noexcept { return by_state[static_cast<std::size_t>(which)]; }
  void add(state in, const net::address& local) noexcept {
    ++by_state[static_cast<std::size_t>(in)];
    ++rows;
    if (local.is_v6()) ++v6;
  }
  /// Compact entries, which are counted without a look at each.
  void add(const memory_table& of) noexcept {
    by_state[static_cast<std::size_t>(state::syn_received)] += of.half_open;
    by_state[static_cast<std::size_t>(state::time_wait)] += of.time_wait;
    rows += of.half_open + of.time_wait;
    v6 += of.half_open_v6;
  }
  void add(const snapshot& row) noexcept {
    add(row.state, row.local.address);
    if (row.orphan) ++orphans;
  }
};

/// Each page as text and as a JSON document.
void append_counters(std::string& out, const counters& count, const inspect_request& request);
void append_counters_json(json_writer json, const counters& count, const inspect_request& request);
void append_summary(std::string& out, const summary& sums, const shards_view& all);
void append_summary_json(json_writer json, const summary& sums, const shards_view& all);
void append_findings(std::string& out, const std::vector<finding>& all);
void append_findings_json(json_writer json, const std::vector<finding>& all);

}  // namespace runnel::tcp::detail
