#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "runnel/clock.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http::detail {

class client_connection;
class client_core;

struct idle_tag;
struct idle_here_tag;
using idle_hook = runnel::detail::tagged_hook<idle_tag>;
using idle_here_hook = runnel::detail::tagged_hook<idle_here_tag>;

/// What a client knows of one endpoint while it has a connection there or is about to.
struct client_target {
  net::endpoint to;
  /// What the Host field says by default.
  std::string host;
  /// The kept connections, the one used last in front.
  runnel::detail::list<client_connection, idle_here_hook> idle;
  std::size_t idle_count = 0;
  /// Connections and requests that refer to this.
  std::size_t users = 0;
};

/// A connection of a client, without the type of its stream.
class client_connection : private idle_hook, private idle_here_hook {
 public:
  client_connection() noexcept = default;
  client_connection(const client_connection&) = delete;
  client_connection& operator=(const client_connection&) = delete;
  /// Closes it, without waiting.
  virtual ~client_connection() = default;

  virtual task<result<std::size_t>> read_some(std::span<std::byte> into) = 0;
  virtual void set_read_deadline(time_point when) noexcept = 0;
  virtual void set_write_deadline(time_point when) noexcept = 0;
  virtual void abort() noexcept = 0;

  /// Whether it has carried a request before this one.
  bool used() const noexcept { return used_; }

 private:
  friend class client_core;
  friend class runnel::detail::list<client_connection, idle_hook>;
  friend class runnel::detail::list<client_connection, idle_here_hook>;

  client_target* target_ = nullptr;
  time_point expires_{};
  bool used_ = false;
};

/// A connection with its stream.
template <net::stream Stream>
class client_stream final : public client_connection {
 public:
  explicit client_stream(Stream&& over) noexcept : stream(std::move(over)) {}

  task<result<std::size_t>> read_some(std::span<std::byte> into) override {
    auto got = co_await stream.read(into);
    co_return got;
  }
  void set_read_deadline(time_point when) noexcept override { stream.set_read_deadline(when); }
  void set_write_deadline(time_point when) noexcept override { stream.set_write_deadline(when); }
  void abort() noexcept override { stream.abort(); }

  Stream stream;
};

}  // namespace runnel::http::detail
