#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "runnel/result.hpp"
#include "runnel/tcp/engine/host.hpp"

namespace runnel::tcp {

namespace detail {
class shard_hub;
}

/// One place of a `shard_group`, for `stack_options::shard`; by default none.
class shard {
 public:
  shard() noexcept = default;
  /// Whether it is one.
  explicit operator bool() const noexcept { return hub_ != nullptr; }

 private:
  friend class shard_group;
  friend class stack;

  shard(std::shared_ptr<detail::shard_hub> hub, std::uint32_t index) noexcept
      : hub_(std::move(hub)), index_(index) {}

  std::shared_ptr<detail::shard_hub> hub_;
  std::uint32_t index_ = 0;
};

/// How the shards of a group work together.
struct shard_group_options {
  /// The secrets of all of them. By default they come from getrandom(2); on simulated loops they
  /// must be given for one seed to give one run.
  std::optional<host_keys> keys{};
  /// How many bytes of packets may be on their way from one shard to another, at least 256 KiB; 1
  /// MiB is some 13,000 SYNs. The memory is taken for each ordered pair of shards that ever hands a
  /// packet over. A packet that finds no room is lost, and counted: RunnelShardDropped.
  std::size_t ring_bytes = std::size_t{1} << 20;
};

/// What all shards of a host are together, as `stack::look_at_all` finds it.
struct shards_view {
  /// The sums.
  tcp::counters counters{};
  /// The sums of what all hold.
  memory_table memory{};
  /// The listeners of one local endpoint as one, with the sums of their numbers; high-water marks
  /// are sums too, and so may never have been reached at one time.
  std::vector<listener_snapshot> listeners{};
  /// How many shards have answered: those that have a stack.
  std::uint32_t shards = 0;
};

/// Several stacks that are one host together, so that its TCP has more than one core: each on a
/// loop and thread of its own, each with a link of its own to the same addresses, such as one of
/// the queues of a TUN device (`net::tun::open_queues`).
///
///     tcp::shard_group shards{4};
///     // On each of four threads, with its own loop and queue:
///     tcp::stack stack{loop, queue, {.addresses = {"10.77.0.2"}, .shard = shards.seat(i)}};
///
/// A connection lives on one shard, from its SYN to the end of its TIME-WAIT. Which one follows
/// from its ends alone, as `host_options::shard` says, so that each can tell whose a packet is: one
/// that comes by the wrong link is copied to its owner, whom that wakes once for each burst, and
/// nobody else answers it. The kernel gives a TUN queue what answers that queue's packets, while it
/// remembers them, for about 3 s and up to 4096 flows: what is handed over is the first packet of a
/// connection from outside, and the first one after a pause, of all but one in so many as there are
/// shards. A packet that is handed over may be overtaken by the next one of its connection. One
/// that then comes behind its connection's end, less than 200 ms, is lost and not answered with
/// RST, and counted: RunnelShardOvertaken. A duplicate by its own link is refused, as by Linux.
///
/// Every stack is used on its own thread, as if it were alone. Listeners are opened on each; what
/// comes for a shard that has none there is refused. The bounds of `stack_policy` that are for the
/// whole host are divided, backlogs are each listener's own (as with SO_REUSEPORT). An echo request
/// is answered where it arrives, pieces of a packet are put together at a shard that their
/// addresses and identification say. An `inspect_server` of one shows all.
///
/// The group may be made, used and destroyed on any thread; it may go before the stacks.
class shard_group {
 public:
  /// 1 to 256 shards. Throws `std::invalid_argument` when `count` is another.
  explicit shard_group(std::uint32_t count, const shard_group_options& options = {});
  ~shard_group();
  shard_group(const shard_group&) = delete;
  shard_group& operator=(const shard_group&) = delete;

  /// How many shards it has.
  std::uint32_t size() const noexcept;
  /// The place of one stack, counted from 0. Each is for one stack, once.
  shard seat(std::uint32_t index) const;

  // The changes below reach all shards or, when they throw `std::bad_alloc`, none, and all shards
  // see them in one order. A shard without memory for one tries again until it has some.

  /// A new random key for SYN cookies on all shards: see `stack`. Each takes it in its next turn,
  /// and cookies of one are good at the others all the while.
  void rotate_cookie_key();
  /// Both keys, likewise.
  void set_cookie_keys(const secret_key& current, const secret_key& previous);
  /// The same of Fast Open.
  void rotate_fastopen_key();
  /// The same of Fast Open.
  void set_fastopen_keys(const secret_key& current, const secret_key& previous);
  /// Replaces the policies of all shards, in the next turn of each: `stack::set_policy`. Local
  /// ports that were not in the range when the first stack was made are not used.
  /// `std::errc::invalid_argument`: `check(all)` says which field.
  result<void> set_policy(const policy_set& all);

 private:
  std::shared_ptr<detail::shard_hub> hub_;
};

}  // namespace runnel::tcp
