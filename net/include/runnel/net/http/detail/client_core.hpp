#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "runnel/detail/list.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/http/client_options.hpp"
#include "runnel/net/http/detail/client_connection.hpp"
#include "runnel/timer.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::http::detail {

struct client_exchange;

/// Everything of a client that does not depend on the stream: policy, counters, the connections
/// that are kept, and spare buffers. As a timer it closes connections that were idle for too long.
class client_core final : private timer {
 public:
  /// Throws `std::invalid_argument` with one sentence when an option is out of range.
  client_core(loop& owner, const client_options& options);
  client_core(const client_core&) = delete;
  client_core& operator=(const client_core&) = delete;
  /// No exchange may be out; this is checked.
  ~client_core() override;

  time_point now() const noexcept { return owner().now(); }
  const client_options& options() const noexcept { return options_; }
  client_counters& counters() noexcept { return counters_; }
  const client_counters& counters() const noexcept { return counters_; }

  /// Buffers for a request, and back; a connection that is still in them is reset.
  std::unique_ptr<client_exchange> take_exchange();
  void give_back(std::unique_ptr<client_exchange> spare) noexcept;

  /// Where bytes are read to that nobody wants; shared by all.
  std::span<std::byte> waste();

  /// What is known of an endpoint; to be released as often as it was taken.
  client_target& take_target(const net::endpoint& to);
  void release(client_target& target) noexcept;

  /// The kept connection to the target that was used last, or null.
  std::unique_ptr<client_connection> take_idle(client_target& target) noexcept;
  /// Says to which target a new connection leads.
  void adopt(client_connection& fresh, client_target& target) noexcept;
  /// Keeps a connection that waits for its next request, or closes it where the limits say so.
  void keep(std::unique_ptr<client_connection> idle) noexcept;
  /// Closes a connection that was adopted.
  void drop(std::unique_ptr<client_connection> gone) noexcept;
  /// Closes all kept connections.
  void close_idle() noexcept;

 private:
  struct endpoint_hash {
    std::size_t operator()(const net::endpoint& of) const noexcept {
      return std::hash<net::address>{}(of.address) ^ (of.port * std::size_t{0x9e3779b97f4a7c15});
    }
  };

  void on_expire() noexcept override;
  std::unique_ptr<client_connection> unlink(client_connection& idle) noexcept;

  client_options options_;
  client_counters counters_;
  std::unordered_map<net::endpoint, client_target, endpoint_hash> targets_;
  /// All kept connections, the one idle for longest in front.
  runnel::detail::list<client_connection, idle_hook> idle_;
  std::vector<std::unique_ptr<client_exchange>> spares_;
  std::unique_ptr<std::byte[]> waste_;
};

}  // namespace runnel::http::detail
