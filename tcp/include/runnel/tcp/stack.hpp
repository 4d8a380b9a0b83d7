#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/loop.hpp"
#include "runnel/net/link.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/tcp/close.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/tcp/listener.hpp"
#include "runnel/tcp/shard_group.hpp"
#include "runnel/tcp/stream.hpp"

namespace runnel::tcp {

namespace detail {
class shards_page;
}

/// What a stack is made of.
struct stack_options {
  /// The addresses it answers for on its link; at least one.
  std::vector<net::address> addresses{};
  /// What holds for the whole stack.
  stack_policy policy{};
  /// What every listener starts from.
  listener_policy listener{};
  /// What every connection starts from.
  connection_policy connection{};
  /// The secrets. By default they come from getrandom(2), and on a simulated loop from its seed.
  std::optional<host_keys> keys{};
  /// Those of them that several machines share, where they are given.
  policy_keys shared_keys{};
  /// What the loop's time lacks of the time that these machines agree on, for SYN cookies; see
  /// `host_options::clock_offset`. Left out, that time is `wall_clock`'s as it is when the stack is
  /// made, so that machines with one key whose clocks agree to some seconds accept each other's
  /// cookies. On a simulated loop, which knows no wall clock, it is the loop's own time.
  std::optional<duration> clock_offset{};
  /// Where that time comes from.
  std::chrono::system_clock::time_point (*wall_clock)() = std::chrono::system_clock::now;
  /// Set: one of several stacks that are one host together. All have the same addresses, and their
  /// policies the same local ports; `keys` is not looked at, the group has them; `shared_keys` and
  /// the clock's offset are those of the first stack.
  tcp::shard shard{};

  /// Takes all policies and keys from a set, such as `load_policy` gives.
  void use(const policy_set& all);
};

/// Our TCP on one link, driven by one loop: the engine's `host` with awaitable operations. It is a
/// `net::connector`.
///
/// A stack is used on its loop's thread. It must outlive its listeners and streams, and the loop
/// and the link must outlive it. When it is destroyed, connections that the engine was finishing
/// alone are forgotten; `co_await idle()` first lets them finish.
class stack {
 public:
  /// What `connect` gives.
  using stream_type = stream;

  /// Throws `std::invalid_argument` with one sentence when an address, a policy value or the shard
  /// is bad.
  stack(loop& owner, net::link& link, stack_options options);
  stack(const stack&) = delete;
  stack& operator=(const stack&) = delete;
  ~stack();

  /// Opens a listener. `local.address` left out takes every address of the stack, port 0 a free
  /// port. `std::errc::address_in_use`, `address_not_available`, `invalid_argument` (then
  /// `check(policy)` says which field).
  result<listener> listen(const net::endpoint& local, const listener_policy& policy = {});

  /// Opens a connection: `result<stream>`. Errors are those of connect(2). When it is cancelled
  /// nothing remains, and a late SYN-ACK is answered with RST.
  detail::connect_awaiter connect(const net::endpoint& to) noexcept;
  /// The same from a local end and with a policy of its own; both are copied before it returns.
  detail::connect_awaiter connect(const net::endpoint& to, const connect_options& options) noexcept;

  /// Waits until no stream is open, everything that was written to closed ones, FIN included, has
  /// been acknowledged, and the last packet has been given to the link. The link's error when it is
  /// gone. Costs a frame.
  task<result<void>> idle();

  /// Replaces what the whole stack has, and what its listeners and connections use where they set
  /// nothing; it holds at once, also for those that exist. `memory_limit` and the keys stay.
  /// Of a shard, like `set`, its own alone: `shard_group::set_policy` reaches all.
  /// `std::errc::invalid_argument`: `check(all)` says which field.
  result<void> set_policy(const policy_set& all);
  /// What is in force; keys are never shown.
  policy_set policy() const;
  /// Sets one value of it while the stack runs, by its name or by Linux's, as sysctl(8) does:
  /// `set("net.ipv4.tcp_syn_retries", "3")`; see `tcp::set`. Empty when it is done; else one
  /// sentence that says why not. One key by its name is a rotation, two are `set_cookie_keys` or
  /// `set_fastopen_keys`.
  [[nodiscard]] std::string set(std::string_view name, std::string_view value);
  /// What is in force, as text; nothing when there is no such name.
  std::optional<std::string> get(std::string_view name) const;

  /// A new random key for SYN cookies; those of the key before it are good for as long as they
  /// would have been. Of a shard, these four change the keys of the whole group.
  void rotate_cookie_key();
  /// Both keys, as an operator hands them to several machines: `host::set_cookie_keys`.
  void set_cookie_keys(const secret_key& current, const secret_key& previous);
  /// A new random key for Fast Open cookies; those of the key before it stay good until the next
  /// one (RFC 7413 §4.1.2).
  void rotate_fastopen_key();
  /// Both keys (net.ipv4.tcp_fastopen_key): `host::set_fastopen_keys`.
  void set_fastopen_keys(const secret_key& current, const secret_key& previous);

  /// Why the link is gone; no error while it is not.
  std::error_code link_error() const noexcept;

  /// What all shards of the host are together; what this stack is where it has none. It asks each
  /// on its own thread, in its next turn, and waits for all of them: one whose loop does not turn,
  /// also because its `run` is over, keeps it waiting until it does or until that stack is
  /// destroyed, so bound it by `with_timeout`. `errc::cancelled`;
  /// `std::errc::not_enough_memory` where a shard had none to answer with. Costs a frame and some
  /// allocations, and throws `std::bad_alloc` where this one has no memory for them.
  task<result<shards_view>> look_at_all();

  /// The engine, to look at: counters, memory, every connection. Of a shard, its own.
  const host& engine() const noexcept;

 private:
  friend class detail::shards_page;

  std::unique_ptr<detail::stack_core, detail::stack_retirement> core_;
};

static_assert(net::connector<stack>);

}  // namespace runnel::tcp
