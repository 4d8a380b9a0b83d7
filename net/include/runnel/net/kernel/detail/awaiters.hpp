#pragma once

#include <runnel/result.hpp>
#include <runnel/waiter.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace runnel::net::kernel {

/// How the `close()` of a kernel stream ended.
class close_ending {
 public:
  close_ending() noexcept = default;
  close_ending(std::error_code why, std::size_t lost) noexcept : why_(why), lost_bytes_(lost) {}

  /// Whether the peer's kernel has acknowledged all bytes and the end of the stream, and nobody
  /// reset the connection.
  bool clean() const noexcept { return !why_; }
  /// Why it was not: `std::errc::connection_reset` by the peer, `std::errc::connection_aborted` by
  /// us, either by `abort()` or by closing with bytes unread, `std::errc::timed_out` when the peer
  /// is gone, `errc::cancelled` when nobody waited for the end.
  std::error_code error() const noexcept { return why_; }
  /// Bytes written that the peer had not acknowledged when the connection ended; 0 when cancelled,
  /// since the kernel goes on with them.
  std::size_t lost_bytes() const noexcept { return lost_bytes_; }

 private:
  std::error_code why_;
  std::size_t lost_bytes_ = 0;
};

namespace detail {

class channel;
struct attempt;

struct channel_deleter {
  void operator()(channel* gone) const noexcept;
};
using channel_ptr = std::unique_ptr<channel, channel_deleter>;

/// The base of what waits on one stream: it stands in one of the channel's places from when it
/// begins until its task goes on or is destroyed, so that nobody else can slip in between.
class channel_waiter : public waiter {
 public:
  channel_waiter(channel_waiter&&) noexcept = default;
  ~channel_waiter() override { leave(); }

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }

  /// The descriptor may have what this waits for. Wakes when it is enough, else gives false.
  virtual bool try_again(bool ready) noexcept = 0;
  /// Ends the wait with this error; one that is over keeps its outcome.
  void fail(std::error_code why) noexcept {
    if (!waiting()) return;
    error_ = why;
    wake();
  }
  /// The channel goes first, as may happen while suspended tasks are destroyed.
  void abandon() noexcept { place_ = nullptr; }

 protected:
  explicit channel_waiter(channel& of) noexcept : channel_(&of) {}

  /// Takes its place and tries; true when it is finished.
  virtual bool begin() noexcept = 0;
  void on_cancel() noexcept override { fail(errc::cancelled); }
  /// A second one in the same place is a checked error.
  void stand(channel_waiter*& place) noexcept;
  void leave() noexcept {
    if (place_ != nullptr) *std::exchange(place_, nullptr) = nullptr;
  }

  channel* channel_;
  channel_waiter** place_ = nullptr;
  std::error_code error_;
};

class [[nodiscard]] read_awaiter final : public channel_waiter {
 public:
  read_awaiter(channel& of, std::span<std::byte> into) noexcept : channel_waiter(of), into_(into) {}
  result<std::size_t> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"socket read"}; }
  bool try_again(bool ready) noexcept override;

  std::span<std::byte> into_;
  std::size_t taken_ = 0;
  bool done_ = false;
};

class [[nodiscard]] readable_awaiter final : public channel_waiter {
 public:
  explicit readable_awaiter(channel& of) noexcept : channel_waiter(of) {}
  result<void> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"socket readable"}; }
  bool try_again(bool ready) noexcept override;
};

class [[nodiscard]] write_awaiter final : public channel_waiter {
 public:
  write_awaiter(channel& of, std::span<const std::byte> from) noexcept
      : channel_waiter(of), current_(from) {}
  write_awaiter(channel& of, std::span<const std::span<const std::byte>> pieces) noexcept
      : channel_waiter(of), pieces_(pieces) {}
  write_awaiter(write_awaiter&&) noexcept = default;
  ~write_awaiter() override { take_back(); }
  result<std::size_t> await_resume() noexcept;
  /// What came of the bytes that were left to the end of the turn.
  void on_sent(const attempt& sent) noexcept;
  /// Does not leave them to that end: something is about to happen that comes behind them.
  void send_now() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"socket write"}; }
  bool try_again(bool ready) noexcept override;
  bool advance() noexcept;
  bool send_with_others() noexcept;
  void take_back() noexcept;
  void sent_nothing(std::error_code why) noexcept;
  bool all_taken() const noexcept;
  void took(std::size_t count) noexcept;

  std::span<const std::byte> current_;
  std::span<const std::span<const std::byte>> pieces_;
  std::size_t taken_ = 0;
  bool sending_ = false;
};

class [[nodiscard]] drained_awaiter final : public channel_waiter {
 public:
  explicit drained_awaiter(channel& of) noexcept : channel_waiter(of) {}
  result<void> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"socket drained"}; }
  bool try_again(bool ready) noexcept override;
};

class [[nodiscard]] close_awaiter final : public channel_waiter {
 public:
  explicit close_awaiter(channel& of) noexcept : channel_waiter(of) {}
  close_ending await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"socket close"}; }
  bool try_again(bool ready) noexcept override;
};

}  // namespace detail
}  // namespace runnel::net::kernel
