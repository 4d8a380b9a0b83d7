#pragma once

#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runnel/tcp/diagnose.hpp"

namespace runnel::tcp::detail {

/// Connections of one kind: how many, for how long, and whose.
class suspects {
 public:
  /// More addresses than this are counted, not remembered.
  static constexpr std::size_t address_limit = 4096;

  void add(const net::endpoint& remote, duration age = duration::zero());

  std::uint64_t count() const noexcept { return count_; }
  duration longest() const noexcept { return longest_; }
  /// Distinct addresses, at least.
  std::size_t addresses() const noexcept { return hosts_.size(); }
  /// The address that most of them have, and how many.
  std::pair<net::address, std::uint64_t> most() const;

 private:
  std::uint64_t count_ = 0;
  duration longest_{};
  std::unordered_map<net::address, std::uint64_t> hosts_;
};

/// Local ports in use towards one place.
struct port_use {
  std::uint32_t all = 0;
  std::uint32_t time_wait = 0;
  /// How many there may be.
  std::size_t range = 0;
};

/// How much there is of something that is bounded.
struct fill {
  std::uint64_t used = 0;
  std::uint64_t limit = 0;

  /// Keeps the fuller of the two.
  void raise(std::uint64_t other_used, std::uint64_t other_limit) noexcept;
};

/// What a walk over a host finds: over each of its shards in turn, `begin` before one and `end`
/// behind it. Each shard has its part of a bound, and what is told is of the fullest.
class evidence {
 public:
  void begin(const host& engine);
  void add(const snapshot& row, const diagnosis_thresholds& limits, time_point now);
  void end(const host& engine);

  stack_policy policy;
  tcp::counters counters;
  fill time_waits;
  fill orphans;
  fill memory;
  std::vector<listener_snapshot> listeners;
  suspects close_wait;
  suspects half_open;
  suspects syn_sent;
  suspects zero_window_orphans;
  suspects zero_window;
  suspects unanswered;
  suspects idle;
  suspects unread;
  suspects half_closed;
  /// By local address and remote endpoint; bounded like the addresses.
  std::map<std::pair<net::address, net::endpoint>, port_use> ports;

 private:
  void add_port(const snapshot& row);

  /// Of the shard at hand.
  std::uint64_t orphans_here_ = 0;
  std::map<std::pair<net::address, net::endpoint>, port_use> ports_here_;
};

/// What follows from it.
std::vector<finding> conclude(const evidence& seen, const diagnosis_thresholds& limits);

}  // namespace runnel::tcp::detail
