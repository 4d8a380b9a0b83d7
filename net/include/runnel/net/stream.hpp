#pragma once

#include <runnel/detail/awaitable.hpp>
#include <runnel/file.hpp>
#include <runnel/result.hpp>
#include <runnel/wire/address.hpp>
#include <runnel/wire/owned_buffer.hpp>
#include <runnel/wire/packet.hpp>
#include <runnel/wire/time.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

namespace runnel::net {

/// `co_await` of an `Awaitable` gives a `Value`.
template <class Awaitable, class Value>
concept awaits = std::same_as<runnel::detail::await_result<Awaitable>, Value>;

/// How a `close()` ended, as every stream can say it: `clean()` is whether the peer has
/// acknowledged all bytes and the end of the stream, and nobody reset the connection.
template <class Ending>
concept stream_ending = requires(const Ending& ending) {
  { ending.clean() } -> std::same_as<bool>;
};

/// A connection as a pair of byte streams: userspace TCP, the kernel's TCP and the in-process pipe
/// model it, and protocols such as HTTP are written against it.
///
/// One task may read and one may write at a time; a second one is a checked error. An operation is
/// awaited once, and the memory it was given must live until it has completed or its task is gone.
/// A stream may be moved while nothing awaits it. All operations honour the cancel scope of the
/// task that awaits them (`errc::cancelled`) and cost no allocation.
///
/// - `read(into)` waits until there is at least one byte and gives how many were stored; 0 is the
///   end of the stream. Bytes that arrived before a reset are given before the error. A cancelled
///   or timed-out read has consumed nothing. An empty `into` gives 0 at once.
/// - `readable()` waits until `read` would not wait, and holds no buffer meanwhile: it is how an
/// idle
///   connection waits.
/// - `write(from)` completes when all bytes are taken into the stream's buffer. When it is
/// cancelled,
///   runs into its deadline or fails after some bytes it gives their number, and the next call says
///   why; when none were taken it gives the error.
/// - `write(pieces)` writes pieces in order as one; the array of spans must live as long as they
/// do.
/// - `shutdown()` ends the outgoing stream behind what was written. Does not wait. Reading goes on.
/// - `drained()` waits until the peer has acknowledged all that was written, and the end if it was.
/// - `close()` ends both directions, gracefully, and says how it ended. A cancelled close goes on
///   without the task. Destroying a stream closes it without anybody waiting.
/// - `abort()` resets the connection at once. The peer reads `std::errc::connection_reset`.
/// - `set_read_deadline`, `set_write_deadline` stand until they are set anew; `max()` is none. When
///   one has passed, pending and later operations of its direction fail with
///   `errc::deadline_exceeded`; nothing is lost, and moving the deadline makes them work again.
///   `close` and `drained` know no deadline: use `with_timeout`.
/// - After a reset by the peer operations fail with `std::errc::connection_reset`, and writes that
///   follow such a failed one may as on Linux fail with `std::errc::broken_pipe`; a write after
///   `shutdown()`, or to a peer that closed, fails with `std::errc::broken_pipe`; any operation
///   after `abort()` with `std::errc::connection_aborted` and after `close()` with
///   `std::errc::bad_file_descriptor`.
template <class Stream>
concept stream = std::movable<Stream> && !std::copyable<Stream> &&
                 requires(Stream & s, const Stream& constant, std::span<std::byte> into,
                          std::span<const std::byte> from,
                          std::span<const std::span<const std::byte>> pieces, time_point when) {
  { s.read(into) } -> awaits<result<std::size_t>>;
  { s.readable() } -> awaits<result<void>>;
  { s.write(from) } -> awaits<result<std::size_t>>;
  { s.write(pieces) } -> awaits<result<std::size_t>>;
  { s.shutdown() } -> std::same_as<result<void>>;
  { s.drained() } -> awaits<result<void>>;
  requires stream_ending<runnel::detail::await_result<decltype(s.close())>>;
  { s.abort() }
  noexcept;
  { s.set_read_deadline(when) }
  noexcept;
  { s.set_write_deadline(when) }
  noexcept;
  { constant.local_endpoint() } -> std::convertible_to<endpoint>;
  { constant.remote_endpoint() } -> std::convertible_to<endpoint>;
};

/// How a stream ends that is left to itself.
enum class departure : std::uint8_t {
  /// With the end of the stream behind what was written.
  graceful,
  /// The same, and what the peer still sends is thrown away for a time, so that no reset overtakes
  /// what was written (RFC 9112 section 9.6).
  lingering,
  /// The peer is given a time to end first, so that the TIME-WAIT is the peer's; what it sends is
  /// thrown away. Then as `lingering`, for a time that is the stream's own.
  peer_first,
};

/// A stream that ends by itself in any of these ways. `leave(how, time)` lets go of it, as
/// destroying does, and does not wait: nobody has to stay for the peer's end of the stream. Others
/// need a task that waits.
template <class Stream>
concept leavable_stream = stream<Stream> && requires(Stream& s, departure how, duration time) {
  { s.leave(how, time) }
  noexcept;
};

/// What `write_file` has done.
struct file_written {
  /// How many bytes were taken into the stream, in any case.
  std::uint64_t bytes = 0;
  /// Why it was not all; none when it was.
  std::error_code error{};

  /// Whether all was taken.
  bool ok() const noexcept { return !error; }
};

/// A stream that can do without copies besides. The copying calls stay the ones to begin with:
/// these pay where much is moved that nobody looks at.
///
/// - `borrow(most)` waits as `read` does and shows received bytes where they lie: a `loan_type`
///   with their `pieces()`, of which `consume(n)` takes as many as were used. Until then they are
///   unread and count as such, so a slow borrower is a slow reader. Dropping the loan takes
///   nothing. An empty loan is the end of the stream. One loan at a time; the stream is not read
///   while it is out.
/// - `write(owned)`, `write(pieces)` send memory that the stream keeps a share in until it is
///   acknowledged or the connection is over. The bytes must not change. What was taken is taken out
///   of the pieces, so that after a short count they hold the rest.
/// - `allocate(bytes)` waits for room to write and gives a packet to be filled and written.
/// - `write_file(from, offset, length)` sends part of a file.
/// - `read(places)` fills several places in order.
///
/// Cancellation, deadlines and errors are those of `read` and `write`.
template <class Stream>
concept zero_copy_stream = stream<Stream> &&
    requires(Stream& s, std::size_t bytes, owned_buffer owned, std::span<owned_buffer> pieces,
             std::span<const std::span<std::byte>> places, const file& from, std::uint64_t offset,
             typename Stream::loan_type& lent) {
  { s.borrow(bytes) } -> awaits<result<typename Stream::loan_type>>;
  { lent.pieces() } -> std::convertible_to<std::span<owned_buffer>>;
  { lent.consume(bytes) }
  noexcept;
  { s.write(std::move(owned)) } -> awaits<result<std::size_t>>;
  { s.write(pieces) } -> awaits<result<std::size_t>>;
  { s.allocate(bytes) } -> awaits<result<packet>>;
  { s.write_file(from, offset, offset) } -> awaits<file_written>;
  { s.read(places) } -> awaits<result<std::size_t>>;
};

/// What gives streams that others opened. `accept()` waits for one; a cancelled accept never loses
/// one. `close()` resets the connections nobody accepted and makes pending and later accepts fail
/// with `std::errc::bad_file_descriptor`.
template <class Listener>
concept listener = stream<typename Listener::stream_type> &&
    requires(Listener& l, const Listener& constant) {
  { l.accept() } -> awaits<result<typename Listener::stream_type>>;
  l.close();
  { constant.local_endpoint() } -> std::convertible_to<endpoint>;
};

/// What opens streams. `connect(to)` waits until the peer has answered; a cancelled connect leaves
/// nothing behind. Errors are those of connect(2).
template <class Connector>
concept connector = stream<typename Connector::stream_type> &&
    requires(Connector& c, const endpoint& to) {
  { c.connect(to) } -> awaits<result<typename Connector::stream_type>>;
};

}  // namespace runnel::net
