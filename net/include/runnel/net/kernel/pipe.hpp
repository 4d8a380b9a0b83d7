#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/kernel/detail/awaiters.hpp>
#include <runnel/result.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace runnel::net::kernel {

/// The end of a pipe, a terminal or the like that is read. One task may read at a time; a second
/// one is a checked error. It must not die while something is awaited, and not be moved then.
/// Nothing here blocks the loop. Operations and their cancellation are those of `stream`.
class input_end {
 public:
  /// None: it may be assigned to and destroyed.
  input_end() noexcept = default;
  /// Takes over `fd`, which is made non-blocking: for everyone who has it open through the same
  /// description. `owner` must outlive it. Use `standard_input` for descriptors that others share.
  static result<input_end> adopt(loop& owner, int fd);

  /// Waits for at least one byte and gives how many were stored; 0 is the end: all writing ends are
  /// closed.
  detail::read_awaiter read(std::span<std::byte> into) noexcept { return {checked(), into}; }
  /// Waits until `read` would not wait; holds no buffer.
  detail::readable_awaiter readable() noexcept { return detail::readable_awaiter{checked()}; }
  /// Stands until it is set anew; `max()` is none. See `stream`.
  void set_read_deadline(time_point when) noexcept;
  /// Closes the descriptor; a pending read fails with `std::errc::bad_file_descriptor`.
  void close() noexcept;
  /// The descriptor, still owned by this; -1 when it is closed.
  int descriptor() const noexcept;
  /// Whether there is one.
  explicit operator bool() const noexcept { return channel_ != nullptr; }

 private:
  explicit input_end(detail::channel_ptr channel) noexcept : channel_(std::move(channel)) {}
  detail::channel& checked() const noexcept;

  detail::channel_ptr channel_;
};

/// The end of a pipe, a terminal or the like that is written. As `input_end`; one task may write.
/// When nobody reads any more a write fails with `std::errc::broken_pipe`, and no SIGPIPE is
/// raised, whatever the process does with that signal.
class output_end {
 public:
  /// None: it may be assigned to and destroyed.
  output_end() noexcept = default;
  /// As `input_end::adopt`.
  static result<output_end> adopt(loop& owner, int fd);

  /// Completes when all bytes are in the pipe. Cancelled, late or failed after some bytes it gives
  /// their number, and the next call says why.
  detail::write_awaiter write(std::span<const std::byte> from) noexcept {
    return {checked(), from};
  }
  /// Writes pieces in order as one.
  detail::write_awaiter write(std::span<const std::span<const std::byte>> pieces) noexcept {
    return {checked(), pieces};
  }
  /// Stands until it is set anew; `max()` is none. See `stream`.
  void set_write_deadline(time_point when) noexcept;
  /// Closes the descriptor, which is the end of the stream for the reader; a pending write fails
  /// with `std::errc::bad_file_descriptor`.
  void close() noexcept;
  /// The descriptor, still owned by this; -1 when it is closed.
  int descriptor() const noexcept;
  /// Whether there is one.
  explicit operator bool() const noexcept { return channel_ != nullptr; }

 private:
  explicit output_end(detail::channel_ptr channel) noexcept : channel_(std::move(channel)) {}
  detail::channel& checked() const noexcept;

  detail::channel_ptr channel_;
};

/// A new pipe (pipe2(2)): what is written to the second comes out of the first. `owner` must
/// outlive both. Errors are those of pipe2(2), and `errc::not_supported` on a simulated loop.
result<std::pair<input_end, output_end>> make_pipe(loop& owner);

/// The process's standard input, opened anew through /proc/self/fd, so that it can be non-blocking
/// here and stays as it is for the programs that share it; a socket is used as it is. Closing the
/// result does not close descriptor 0. Errors are those of open(2), and `errc::not_supported` on a
/// simulated loop.
result<input_end> standard_input(loop& owner);
/// The process's standard output; as `standard_input`.
result<output_end> standard_output(loop& owner);
/// The process's standard error; as `standard_input`.
result<output_end> standard_error(loop& owner);

}  // namespace runnel::net::kernel
