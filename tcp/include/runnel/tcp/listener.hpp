#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/tcp/detail/awaiters.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/snapshot.hpp"
#include "runnel/tcp/stream.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::tcp {

/// A listening port of a `stack`: the `net::listener` concept. Move-only; its stack must outlive
/// it. Destroying it is `close()`.
class listener {
 public:
  /// What `accept` gives.
  using stream_type = stream;

  listener(listener&&) noexcept;
  listener& operator=(listener&&) noexcept;
  ~listener();

  /// Waits for a connection whose handshake is done: `result<stream>`. Several tasks may accept at
  /// once and are served in the order they came. A cancelled accept loses no connection.
  detail::accept_awaiter accept() noexcept;
  /// Stops listening: connections that nobody accepted are reset, half-open ones are forgotten,
  /// pending and later accepts fail with `std::errc::bad_file_descriptor`.
  void close() noexcept;
  /// Changes the backlog at once (listen(2) again).
  void set_backlog(std::uint32_t backlog) noexcept;

  /// Replaces what the listener has set; it holds at once for what comes, and connections that it
  /// has made keep what they have. `std::errc::invalid_argument`: `check(own)` says which field.
  result<void> set_policy(const listener_policy& own);
  /// What is in force: its own where set, else the stack's; every field is set.
  listener_policy policy() const;
  /// Sets one value by its name or by Linux's name of a socket option, as setsockopt(2) does; what
  /// is a connection's is for those that it makes. See `tcp::set`. Empty when it is done; else one
  /// sentence that says why not.
  [[nodiscard]] std::string set(std::string_view name, std::string_view value);
  /// What is in force, as text; nothing when there is no such name or the listener is closed.
  std::optional<std::string> get(std::string_view name) const;

  /// The address as given to `listen`, and the port it got.
  net::endpoint local_endpoint() const noexcept;
  /// Queue depths and limits (`ss -lnt`).
  listener_snapshot info() const noexcept;

 private:
  friend class stack;
  explicit listener(std::unique_ptr<detail::listener_state> state) noexcept;

  std::unique_ptr<detail::listener_state> state_;
};

static_assert(net::listener<listener>);

}  // namespace runnel::tcp
