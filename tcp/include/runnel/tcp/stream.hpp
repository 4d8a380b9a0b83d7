#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "runnel/file.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/tcp/close.hpp"
#include "runnel/tcp/detail/awaiters.hpp"
#include "runnel/tcp/engine/policy.hpp"
#include "runnel/tcp/engine/snapshot.hpp"
#include "runnel/tcp/loan.hpp"
#include "runnel/wire/address.hpp"
#include "runnel/wire/owned_buffer.hpp"

namespace runnel::tcp {

/// A TCP connection of a `stack`: the `net::stream` concept, whose comment is the contract of the
/// operations, and what only TCP has. Move-only; its stack must outlive it.
///
/// Destroying it closes it as `connection_policy::close` says, without waiting, and is counted
/// (`counters::released_open`): by default what was written is still delivered, by the engine
/// alone, and with bytes unread the peer gets RST, as on Linux (RFC 2525 §2.17).
class stream {
 public:
  /// No connection: it may be assigned to and destroyed.
  stream() noexcept = default;
  stream(stream&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
  stream& operator=(stream&& other) noexcept {
    if (this != &other) {
      drop();
      socket_ = std::exchange(other.socket_, nullptr);
    }
    return *this;
  }
  ~stream() { drop(); }

  /// Waits for at least one byte: `result<std::size_t>`, 0 at the end of the stream.
  detail::read_awaiter read(std::span<std::byte> into) noexcept { return {checked(), into}; }
  /// Waits until `read` would not wait; holds no buffer.
  detail::readable_awaiter readable() noexcept { return detail::readable_awaiter(checked()); }
  /// Takes all of `from` into the send buffer: `result<std::size_t>`. A short count means that it
  /// was interrupted; the next call says why. It waits while the send buffer is full, which follows
  /// the congestion window unless `connection_policy::send_buffer` fixes it, and while
  /// `connection_policy::notsent_lowat` bytes wait to be sent.
  detail::write_awaiter write(std::span<const std::byte> from) noexcept {
    return {checked(), from};
  }
  /// The same for pieces in order. The array of spans must live until it completes.
  detail::write_awaiter write(std::span<const std::span<const std::byte>> pieces) noexcept {
    return {checked(), pieces};
  }
  /// The same as `read` into several places, filled in order (readv(2)). The array of spans must
  /// live until it completes.
  detail::read_awaiter read(std::span<const std::span<std::byte>> into) noexcept {
    return {checked(), into};
  }

  /// What received bytes are lent as.
  using loan_type = loan;
  /// Waits as `read` does and shows what is there, up to `most` bytes, without a copy:
  /// `result<loan>`, an empty one at the end of the stream. Consumes nothing; see `loan`. Cancelled
  /// or timed out it has lent nothing.
  detail::borrow_awaiter borrow(std::size_t most = SIZE_MAX) noexcept;
  /// Sends `from` without a copy: `result<std::size_t>`, as the copying `write` says. It is taken
  /// bit by bit as there is room, and its owner hears of it when the last byte is acknowledged or
  /// the connection is over; what was not taken is dropped. What is queued counts against the send
  /// buffer. Up to 1 KiB are copied.
  detail::write_owned_awaiter write(net::owned_buffer from) noexcept {
    return {checked(), std::move(from)};
  }
  /// The same for buffers in order. What is taken is taken out of them: after a short count they
  /// hold what was not. The array must live until it completes.
  detail::write_owned_awaiter write(std::span<net::owned_buffer> pieces) noexcept {
    return {checked(), pieces};
  }
  /// Waits until there is room to write and gives an empty packet of the stack, to be filled from
  /// its `room()` and written as an owned buffer: `result<net::packet>`. It has room for up to
  /// `bytes`, as much as goes well with the send buffer, at least 512. Waiting holds no memory.
  /// Errors as `write`; `std::errc::no_buffer_space` when the stack's memory is exhausted. The
  /// packet must be gone before the stack is.
  detail::allocate_awaiter allocate(std::size_t bytes) noexcept { return {checked(), bytes}; }
  /// Sends `length` bytes of a file from `offset` on: each block is read into a packet of the stack
  /// and sent from there, one at a time, and none is held while there is no room. Completes when
  /// all are taken, or with an error, and tells how many were in either case; the following ones
  /// have not been touched. Errors: as `write`, as `read_at`, `errc::file_too_short` when the file
  /// ends before. `from` must live until it completes. It is the stream's writer meanwhile. Costs
  /// two coroutine frames, and nothing per block.
  task<net::file_written> write_file(const file& from, std::uint64_t offset, std::uint64_t length);

  /// FIN behind what was written; together with it when that has not left yet.
  result<void> shutdown() noexcept;
  /// Waits until everything written, and FIN where it was said, is acknowledged.
  detail::drained_awaiter drained() noexcept { return detail::drained_awaiter(checked()); }
  /// Ends the connection as `connection_policy::close` says and waits until everything, FIN
  /// included, is acknowledged: `close_result`. What a mode does after that the engine does alone,
  /// as it does after a cancelled close. Whoever else waits in this stream is told
  /// `std::errc::bad_file_descriptor` when it begins. The wait is bounded by `close_time` in
  /// `close_mode::linger`, and else by retransmission time-outs only; use `with_timeout` for less.
  /// A later close gives the same result again.
  detail::close_awaiter close() noexcept { return detail::close_awaiter(checked()); }
  /// The same in another mode, and with another time than `connection_policy::close_time`, of which
  /// at most a day counts.
  detail::close_awaiter close(close_mode mode) noexcept { return {checked(), mode}; }
  /// The same with this time.
  detail::close_awaiter close(close_mode mode, std::chrono::milliseconds time) noexcept {
    return {checked(), mode, time};
  }
  /// Lets go of the connection, which ends in this way without anybody waiting, whatever its policy
  /// says; the stream is empty afterwards. See `net::leavable_stream`.
  void leave(net::departure how, duration time) noexcept;
  /// RST now; what was written and not delivered is lost (SO_LINGER with time 0).
  void abort() noexcept;
  /// Standing deadlines: see `net::stream`. Moving one costs a few instructions.
  void set_read_deadline(time_point when) noexcept { checked().read_deadline.set(when); }
  /// The same for writes.
  void set_write_deadline(time_point when) noexcept { checked().write_deadline.set(when); }

  /// Sends small segments at once instead of after the acknowledgement of earlier ones
  /// (TCP_NODELAY).
  void set_nodelay(bool on) noexcept;
  /// Holds small segments back until there is a full one, until it is taken back, or for 200 ms
  /// (TCP_CORK).
  void set_cork(bool on) noexcept;
  /// Acknowledges the next segments at once, what is owed now included; or lets acknowledgements
  /// wait for an answer to ride on. What arrives later may change that again (TCP_QUICKACK).
  void set_quickack(bool on) noexcept;

  /// Replaces what the connection itself has set; it holds at once, but no window that was
  /// offered is taken back. `std::errc::invalid_argument`: `check(own)` says which field;
  /// `std::errc::bad_file_descriptor` once it is closed.
  result<void> set_policy(const connection_policy& own);
  /// What is in force: its own where set, else the stack's; every field is set until it is closed.
  connection_policy policy() const;
  /// Sets one value by its name or by Linux's name of a socket option, as setsockopt(2) does:
  /// `set("TCP_KEEPIDLE", "30")`; see `tcp::set`. Empty when it is done; else one sentence that
  /// says why not.
  [[nodiscard]] std::string set(std::string_view name, std::string_view value);
  /// What is in force, as text; nothing when there is no such name or it is closed.
  std::optional<std::string> get(std::string_view name) const;

  /// Valid until `close`, `abort` or the end of the connection's life in the engine.
  net::endpoint local_endpoint() const noexcept;
  /// The peer's end; valid as long as `local_endpoint` is.
  net::endpoint remote_endpoint() const noexcept;
  /// The connection as it stands (TCP_INFO).
  tcp::snapshot info() const noexcept;
  /// Whether there is a connection.
  explicit operator bool() const noexcept { return socket_ != nullptr; }

 private:
  friend class detail::connect_awaiter;
  friend class detail::accept_awaiter;

  explicit stream(detail::socket& of) noexcept : socket_(&of) {}
  detail::socket& checked() const noexcept;
  void drop() noexcept;

  detail::socket* socket_ = nullptr;
};

static_assert(net::stream<stream>);
static_assert(net::leavable_stream<stream>);
static_assert(net::zero_copy_stream<stream>);

}  // namespace runnel::tcp
