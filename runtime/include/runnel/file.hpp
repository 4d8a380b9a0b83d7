#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "runnel/detail/operation.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"

namespace runnel {

class file;

namespace detail {

class [[nodiscard]] read_awaiter final : public op_awaiter {
 public:
  read_awaiter(int fd, std::span<std::byte> into, std::uint64_t offset) noexcept;
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return operate_unless(h, finished_now(h.promise().scope()));
  }
  result<std::size_t> await_resume() const noexcept;

 private:
  bool finished_now(cancel_scope& scope) noexcept;
  void fill(operation& op) override;
  void on_complete(operation& op, int result) noexcept override;

  std::span<std::byte> into_;
};

class [[nodiscard]] write_awaiter final : public op_awaiter {
 public:
  write_awaiter(int fd, std::span<const std::byte> from, std::uint64_t offset) noexcept;
  result<std::size_t> await_resume() const noexcept;

 private:
  void fill(operation& op) override;

  std::span<const std::byte> from_;
};

class [[nodiscard]] open_awaiter final : public op_awaiter {
 public:
  open_awaiter(std::string path, int flags, unsigned mode) noexcept;
  open_awaiter(open_awaiter&&) noexcept = default;
  ~open_awaiter() override;
  result<file> await_resume() noexcept;

 private:
  void fill(operation& op) override;
  void on_complete(operation& op, int result) noexcept override;

  std::string path_;
  int opened_ = -1;
};

class [[nodiscard]] size_awaiter final : public op_awaiter {
 public:
  explicit size_awaiter(int fd) noexcept : op_awaiter({.kind = op_kind::size, .fd = fd}) {}
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return operate_unless(h, finished_now(h.promise().scope()));
  }
  result<std::uint64_t> await_resume() const noexcept;

 private:
  bool finished_now(cancel_scope& scope) noexcept;
  void fill(operation& op) override;
  void on_complete(operation& op, int result) noexcept override;

  std::uint64_t size_ = 0;
};

class [[nodiscard]] close_awaiter final : public op_awaiter {
 public:
  explicit close_awaiter(int fd) noexcept : op_awaiter({.kind = op_kind::close, .fd = fd}) {}
  close_awaiter(close_awaiter&& other) noexcept
      : op_awaiter(std::move(other)), unclosed_(std::exchange(other.unclosed_, false)) {}
  ~close_awaiter() override;
  template <std::derived_from<promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend(h);
    begin_close();
  }
  result<void> await_resume() const noexcept;

 private:
  void begin_close() noexcept;
  void on_cancel() noexcept override {}

  bool unclosed_ = true;
};

}  // namespace detail

/// The offset that means the descriptor's own position, for pipes and character devices.
inline constexpr std::uint64_t current_position = ~std::uint64_t{0};

/// Reads up to 64 KiB at `offset`; 0 is end of file. What the page cache holds is read at once, in
/// one system call, without suspending; the rest goes through the ring into the operation's own
/// buffer and is copied, so the kernel never writes to `into` after the coroutine is gone. `fd` and
/// `into` must live until it completes. Cancelled: `errc::cancelled`, nothing read is lost but what
/// a pipe had already given. Errors: errno values.
inline detail::read_awaiter read_at(int fd, std::span<std::byte> into,
                                    std::uint64_t offset) noexcept {
  return {fd, into, offset};
}

/// Writes up to 64 KiB at `offset` from a copy of `from` and gives how much was written. A write
/// that is cancelled may have happened. Errors: errno values.
inline detail::write_awaiter write_at(int fd, std::span<const std::byte> from,
                                      std::uint64_t offset) noexcept {
  return {fd, from, offset};
}

/// An open file: owns its descriptor. Move-only; may be used by several tasks of its loop.
class file {
 public:
  /// No file.
  file() noexcept = default;
  /// Takes over `fd`.
  explicit file(int fd) noexcept : fd_(fd) {}
  file(file&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  file& operator=(file&& other) noexcept;
  /// Closes with close(2), which for a file that was written may block; `close()` does not.
  ~file();

  /// openat(2) relative to the current folder, off the loop's thread where it would block;
  /// O_CLOEXEC is added to `flags`. Gives a `result<file>`. Cancelled or destroyed: a descriptor
  /// that the kernel opened anyway is closed.
  static detail::open_awaiter open(std::string path, int flags, unsigned mode = 0644) noexcept {
    return {std::move(path), flags, mode};
  }

  /// `read_at` of this file.
  detail::read_awaiter read(std::span<std::byte> into, std::uint64_t offset) const noexcept {
    return {fd_, into, offset};
  }
  /// `write_at` of this file.
  detail::write_awaiter write(std::span<const std::byte> from,
                              std::uint64_t offset) const noexcept {
    return {fd_, from, offset};
  }
  /// The size in bytes, by statx(2): `result<std::uint64_t>`.
  detail::size_awaiter size() const noexcept { return detail::size_awaiter{fd_}; }
  /// Gives the descriptor to the kernel to close: `result<void>`. Is not cancelled: the descriptor
  /// is closed even when the awaiting task is gone.
  detail::close_awaiter close() noexcept { return detail::close_awaiter{std::exchange(fd_, -1)}; }

  /// The descriptor, still owned by this; -1 for no file.
  int descriptor() const noexcept { return fd_; }
  /// The descriptor, now the caller's.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Whether there is a file.
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

}  // namespace runnel
