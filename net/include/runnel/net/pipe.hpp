#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/detail/pipe_awaiters.hpp>
#include <runnel/net/stream.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace runnel::net {

/// How a pipe is made.
struct pipe_options {
  /// Bytes that fit in each direction before `write` waits.
  std::size_t capacity = std::size_t{64} << 10;
  /// What the first stream calls itself, and the second one its peer.
  endpoint first{address::v4(127, 0, 0, 1), 1};
  /// What the second stream calls itself, and the first one its peer.
  endpoint second{address::v4(127, 0, 0, 1), 2};
};

/// One end of an in-process connection: the whole `stream` concept on a bounded buffer, for tests,
/// the simulator, and two parts of one program that speak a network protocol with each other.
///
/// It behaves like a TCP connection without a network in between. What was written is acknowledged
/// as soon as it lies in the buffer that the peer reads from; closing with bytes unread resets the
/// peer, as Linux does.
class pipe_stream {
 public:
  /// No stream: it may be assigned to and destroyed.
  pipe_stream() noexcept = default;
  pipe_stream(pipe_stream&&) noexcept = default;
  pipe_stream& operator=(pipe_stream&& other) noexcept {
    if (this != &other) {
      drop();
      end_ = std::move(other.end_);
    }
    return *this;
  }
  /// Closes it as `close()` does, unless that has happened.
  ~pipe_stream() { drop(); }

  /// Two connected streams. Their buffers are allocated when first written to. `owner` must outlive
  /// them.
  static std::pair<pipe_stream, pipe_stream> make(loop& owner, const pipe_options& options = {});

  /// See `stream`.
  detail::pipe_read read(std::span<std::byte> into) noexcept { return {checked(), into}; }
  /// See `stream`.
  detail::pipe_readable readable() noexcept { return detail::pipe_readable{checked()}; }
  /// See `stream`.
  detail::pipe_write write(std::span<const std::byte> from) noexcept { return {checked(), from}; }
  /// See `stream`.
  detail::pipe_write write(std::span<const std::span<const std::byte>> pieces) noexcept {
    return {checked(), pieces};
  }
  /// See `stream`.
  result<void> shutdown() noexcept;
  /// See `stream`. A pipe's bytes are acknowledged at once, so it never waits.
  detail::pipe_drained drained() noexcept { return detail::pipe_drained{checked()}; }
  /// See `stream`. Never waits.
  detail::pipe_close close() noexcept { return detail::pipe_close{checked()}; }
  /// See `stream`.
  void abort() noexcept;
  /// See `stream`.
  void set_read_deadline(time_point when) noexcept;
  /// See `stream`.
  void set_write_deadline(time_point when) noexcept;

  /// The name of this end.
  endpoint local_endpoint() const noexcept;
  /// The name of the other end.
  endpoint remote_endpoint() const noexcept;
  /// Bytes that `read` would give without waiting.
  std::size_t unread_bytes() const noexcept;
  /// Whether there is a stream.
  explicit operator bool() const noexcept { return static_cast<bool>(end_); }

 private:
  friend class detail::pipe_queue;

  explicit pipe_stream(detail::pipe_ref end) noexcept : end_(std::move(end)) {}
  const detail::pipe_ref& checked() const noexcept;
  void drop() noexcept;

  detail::pipe_ref end_;
};

/// How a listener is made.
struct pipe_listener_options {
  /// What `local_endpoint` and the accepted streams say.
  endpoint local{address::v4(127, 0, 0, 1), 80};
  /// How many connections may wait to be accepted; further ones wait in `connect`. At least 1.
  std::size_t backlog = 128;
  /// Bytes that fit in each direction of a connection.
  std::size_t capacity = std::size_t{64} << 10;
};

/// Accepts in-process connections: the `listener` concept. Several tasks may accept at once and are
/// served in the order they came.
class pipe_listener {
 public:
  /// What `accept` gives.
  using stream_type = pipe_stream;

  /// Listens at once. `owner` must outlive it.
  explicit pipe_listener(loop& owner, const pipe_listener_options& options = {});
  pipe_listener(pipe_listener&&) noexcept = default;
  pipe_listener& operator=(pipe_listener&& other) noexcept;
  /// As `close()`.
  ~pipe_listener();

  /// See `listener`: `result<pipe_stream>`.
  detail::pipe_accept accept() noexcept { return detail::pipe_accept{queue_}; }
  /// See `listener`. Pending connects are refused.
  void close() noexcept;
  /// The endpoint it was made with.
  endpoint local_endpoint() const noexcept;
  /// Connections that wait to be accepted.
  std::size_t pending() const noexcept;

  /// Opens a connection to this listener: `result<pipe_stream>`. Waits while the backlog is full;
  /// `std::errc::connection_refused` once the listener is closed. The new stream's own endpoint is
  /// `from`, with a port of its own when that port is 0.
  detail::pipe_connect connect(const endpoint& from = {address::v4(127, 0, 0, 1), 0}) noexcept {
    return {queue_, from};
  }

 private:
  friend class pipe_connector;

  detail::pipe_queue_ref queue_;
};

/// Opens connections to one listener: the `connector` concept, for code that asks for one. May
/// outlive the listener.
class pipe_connector {
 public:
  /// What `connect` gives.
  using stream_type = pipe_stream;

  /// Opens connections to `to`, also after that was moved.
  explicit pipe_connector(const pipe_listener& to) noexcept : queue_(to.queue_) {}

  /// `result<pipe_stream>`; as `pipe_listener::connect`. `std::errc::connection_refused` unless
  /// `to` is the listener's endpoint.
  detail::pipe_connect connect(const endpoint& to) noexcept;

 private:
  detail::pipe_queue_ref queue_;
};

static_assert(stream<pipe_stream>);
static_assert(listener<pipe_listener>);
static_assert(connector<pipe_connector>);

}  // namespace runnel::net
