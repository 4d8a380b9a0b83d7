#pragma once

#include <runnel/net/kernel/detail/awaiters.hpp>
#include <runnel/net/stream.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace runnel::net::kernel {

/// What `tcp_stream` and `unix_stream` share: the whole `stream` concept on a connected socket of
/// the kernel.
///
/// Bytes that arrive for a task that waits are received by the ring into buffers that all
/// connections of the loop share (`loop_options::receive_buffers`); without those, or without
/// io_uring, the socket is polled and read. Writing is one system call per `write` while the
/// kernel's send buffer has room. No allocation but one when the stream is made.
///
/// It may be moved while nothing awaits it, and must not die while something does: that is a
/// checked error, except while suspended tasks are destroyed. A stream whose task outlives the
/// loop may be destroyed after it.
class socket_stream {
 public:
  /// No stream: it may be assigned to and destroyed.
  socket_stream() noexcept = default;
  socket_stream(socket_stream&&) noexcept = default;
  socket_stream& operator=(socket_stream&&) noexcept = default;
  /// Closes it: what was written is still delivered by the kernel, unless there are bytes unread,
  /// which resets the connection.
  ~socket_stream() = default;

  /// See `stream`.
  detail::read_awaiter read(std::span<std::byte> into) noexcept { return {checked(), into}; }
  /// See `stream`.
  detail::readable_awaiter readable() noexcept { return detail::readable_awaiter{checked()}; }
  /// See `stream`. The stream's buffer is the kernel's (SO_SNDBUF). At most 512 KiB go in one turn
  /// of the loop, however fast the peer reads.
  detail::write_awaiter write(std::span<const std::byte> from) noexcept {
    return {checked(), from};
  }
  /// See `stream`. Up to 64 pieces go in one system call.
  detail::write_awaiter write(std::span<const std::span<const std::byte>> pieces) noexcept {
    return {checked(), pieces};
  }
  /// See `stream`.
  result<void> shutdown() noexcept;
  /// See `stream`. For TCP the kernel tells nobody when the last acknowledgement came, so it is
  /// asked (SIOCOUTQ): at once, after a round-trip time, and then ever less often, at least each
  /// 200 ms. A Unix socket's bytes lie in the peer's buffer as soon as they are written.
  detail::drained_awaiter drained() noexcept { return detail::drained_awaiter{checked()}; }
  /// See `stream`. Waits as `drained()` does for the acknowledgement of everything and of the end,
  /// then gives the descriptor back; the kernel keeps TIME-WAIT.
  detail::close_awaiter close() noexcept { return detail::close_awaiter{checked()}; }
  /// See `leavable_stream`: the loop keeps the connection until it has ended, and closes it when it
  /// dies. What was written is still delivered by the kernel; `graceful` is what destroying does.
  /// The stream is empty afterwards, nothing on it may be awaited, and its deadlines count no more.
  /// After `peer_first` and its time the peer has five seconds more. 4,096 connections of a loop
  /// may be ending in this way, and for the next one the oldest is closed. One allocation; without
  /// memory the stream is closed at once.
  void leave(departure how, duration time) noexcept;
  /// See `stream`. A Unix socket knows no reset: there the peer reads the end of the stream, or
  /// `connection_reset` when this end had bytes unread.
  void abort() noexcept;
  /// See `stream`. Moving a deadline later costs nothing; it has one timer however often it is
  /// moved.
  void set_read_deadline(time_point when) noexcept;
  /// See `stream`.
  void set_write_deadline(time_point when) noexcept;

  /// The socket's descriptor, still owned by this, for options that have no name here; -1 when it
  /// is closed. Do not read from it.
  int descriptor() const noexcept;
  /// Whether there is a stream.
  explicit operator bool() const noexcept { return channel_ != nullptr; }

 protected:
  /// For the streams of each family.
  explicit socket_stream(detail::channel_ptr channel) noexcept : channel_(std::move(channel)) {}
  /// The connection; a stream without one is a checked error.
  detail::channel& checked() const noexcept;

 private:
  detail::channel_ptr channel_;
};

}  // namespace runnel::net::kernel
