#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "runnel/detail/list.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/http/date.hpp"
#include "runnel/net/http/server_options.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::http::detail {

class server_connection;
class server_core;
struct exchange;

struct listening_tag;

/// One running `serve`: how many connections came through it, and how to make it stop.
class listening : private runnel::detail::tagged_hook<listening_tag> {
 public:
  listening() noexcept = default;
  listening(const listening&) = delete;
  listening& operator=(const listening&) = delete;

  /// Whether its connections are to end.
  bool draining() const noexcept { return draining_; }

 protected:
  ~listening() = default;

 private:
  friend class server_core;
  friend class ticket;
  friend class runnel::detail::list<listening, runnel::detail::tagged_hook<listening_tag>>;

  /// Has the pending accept fail.
  virtual void stop() noexcept = 0;

  std::size_t connections_ = 0;
  bool draining_ = false;
};

/// What becomes of a connection that was accepted.
enum class admission : std::uint8_t { admit, refuse, drop };

/// The place that a connection takes under the limits, from its accept to its end.
class [[nodiscard]] ticket {
 public:
  ticket(ticket&& other) noexcept
      : core_(std::exchange(other.core_, nullptr)),
        through_(other.through_),
        remote_(other.remote_),
        kind_(other.kind_) {}
  ticket& operator=(ticket&&) = delete;
  ~ticket();

  admission kind() const noexcept { return kind_; }
  server_core& core() const noexcept { return *core_; }
  const listening& through() const noexcept { return *through_; }
  const net::endpoint& remote() const noexcept { return remote_; }

 private:
  friend class server_core;
  ticket(server_core& core, listening& through, const net::endpoint& remote,
         admission kind) noexcept
      : core_(&core), through_(&through), remote_(remote), kind_(kind) {}

  server_core* core_;
  listening* through_;
  net::endpoint remote_;
  admission kind_;
};

/// Everything of a server that does not depend on the stream: policy, counters, pools, limits, and
/// the list of its connections.
class server_core {
 public:
  /// Throws `std::invalid_argument` with one sentence when an option is out of range.
  server_core(loop& owner, const server_options& options);
  server_core(const server_core&) = delete;
  server_core& operator=(const server_core&) = delete;
  /// No connection may be left; this is checked.
  ~server_core();

  loop& owner() noexcept { return *owner_; }
  time_point now() const noexcept { return owner_->now(); }
  const server_options& options() const noexcept { return options_; }
  server_counters& counters() noexcept { return counters_; }
  std::string_view date() noexcept { return date_.at(now()); }

  /// Applies the limits to a connection that was just accepted.
  ticket admit(listening& through, const net::endpoint& remote);
  void add(server_connection& who) noexcept;

  /// Buffers for a connection that becomes busy, and back.
  std::unique_ptr<exchange> take_exchange();
  void give_back(std::unique_ptr<exchange> spare) noexcept;
  std::unique_ptr<std::byte[]> take_stream_buffer();
  void give_back(std::unique_ptr<std::byte[]> spare) noexcept;
  /// Where bytes are read to that nobody wants; shared by all.
  std::span<std::byte> waste() noexcept;

  void add(listening& where) noexcept;
  /// Has the connections that came through `from` end, idle ones at once, busy ones after their
  /// response.
  void drain(listening& from) noexcept;
  /// Stops all accepting, and the above for all.
  void drain() noexcept;
  bool draining() const noexcept { return draining_; }

 private:
  friend class ticket;
  struct pools;

  void release(const ticket& of) noexcept;

  loop* owner_;
  server_options options_;
  server_counters counters_;
  date_cache date_;
  bool draining_ = false;
  std::size_t refusing_ = 0;
  runnel::detail::list<listening, runnel::detail::tagged_hook<listening_tag>> listenings_;
  runnel::detail::list<server_connection> connections_;
  std::unique_ptr<pools> pools_;
};

/// Whether the next accept may succeed although this one failed: the connection was lost before it
/// was accepted, or something has run out for the moment.
bool is_passing(std::error_code accept_error) noexcept;

/// How a connection over a limit is turned away.
struct refusal {
  /// The most that is read, and thrown away, of what the client still sends.
  static constexpr std::size_t linger_bytes = std::size_t{16} << 10;

  explicit refusal(server_core& core) noexcept;

  time_point deadline;
  std::span<const std::byte> message;
  std::span<std::byte> waste;
};

}  // namespace runnel::http::detail
