#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

#include "runnel/detail/list.hpp"
#include "runnel/tcp/close.hpp"
#include "runnel/tcp/engine/error.hpp"
#include "runnel/tcp/engine/handle.hpp"
#include "runnel/timer.hpp"
#include "runnel/waiter.hpp"
#include "runnel/wire/time.hpp"

namespace runnel::tcp::detail {

class stack_core;
class socket;

/// The nearest time that the engine takes.
constexpr std::chrono::milliseconds close_time_in_range(std::chrono::milliseconds time) noexcept {
  return std::clamp(time, std::chrono::milliseconds(0), std::chrono::milliseconds(86'400'000));
}

/// What a `stack` does with its core at its end.
struct stack_retirement {
  void operator()(stack_core* core) const noexcept;
};

/// The base of the awaiters on one stream: it stands in one of the stream's slots from when it
/// begins to wait until its task goes on or is destroyed, so that nobody else can slip in between.
class socket_waiter : public waiter {
 public:
  socket_waiter(socket_waiter&&) noexcept = default;
  ~socket_waiter() override { leave(); }

  /// Something happened that this slot waits for. Wakes when it is enough. Only while it waits.
  virtual void on_events(events what) noexcept = 0;
  /// The stream is closed, the link is gone, or a deadline has passed. What was woken already keeps
  /// its outcome.
  void fail(std::error_code why) noexcept {
    if (!waiting()) return;
    error_ = why;
    wake();
  }
  /// The stack goes before its waiter: drops packets, whose pool goes with it.
  virtual void forsake() noexcept {}
  /// The socket goes before its waiter, as may happen while suspended tasks are destroyed.
  void abandon() noexcept {
    slot_ = nullptr;
    socket_ = nullptr;
  }

 protected:
  explicit socket_waiter(socket* of) noexcept : socket_(of) {}
  void on_cancel() noexcept override;
  /// The peer, for `describe`.
  std::string remote() const;
  void enter(socket_waiter*& slot) noexcept;
  void leave() noexcept {
    if (slot_ != nullptr) *slot_ = nullptr;
    slot_ = nullptr;
  }

  socket* socket_;
  socket_waiter** slot_ = nullptr;
  std::error_code error_;
};

/// Whoever holds packets of a stack for one of its streams, outside the engine: it stands in the
/// stack's list, since packets must be gone before their pool is.
class lent : public runnel::detail::list_hook {
 public:
  /// The stack goes first, as may happen while suspended tasks are destroyed: drops the packets.
  virtual void forsake() noexcept = 0;
  /// The stream goes first.
  void abandon() noexcept { socket_ = nullptr; }

 protected:
  lent() noexcept = default;
  ~lent() = default;
  void stand(socket& of) noexcept;

  socket* socket_ = nullptr;
};

/// A deadline of one direction. It is moved far more often than it fires, so moving it later leaves
/// the timer where it is.
class socket_deadline final : public timer {
 public:
  socket_deadline(loop& owner, socket_waiter*& slot) noexcept : timer(owner), slot_(&slot) {}

  void set(time_point when) noexcept;
  /// Whether it has passed.
  bool passed() const noexcept;

 private:
  void on_expire() noexcept override;

  socket_waiter** slot_;
  time_point when_ = time_point::max();
};

/// What the surface keeps for one stream, in the stack's pool: who waits for what. Everything else
/// is the engine's.
class socket : public runnel::detail::list_hook {
 public:
  explicit socket(stack_core& owner) noexcept;
  socket(const socket&) = delete;
  socket& operator=(const socket&) = delete;
  ~socket();

  /// Gives the connection to the engine to finish alone; operations fail from now on.
  void release() noexcept;
  void on_events(events what) noexcept;
  void fail_all(std::error_code why) noexcept;
  /// Whether `failure` says why: an error code of success costs calls, too.
  bool failed() const noexcept;
  /// Why operations fail whatever the engine says: closed or aborted here, or the link is gone.
  std::error_code failure() const noexcept;
  /// `close` has begun: whoever waits for something else is told, and nothing else may begin.
  void begin_close() noexcept;
  /// The same of `abort`.
  void begin_abort() noexcept;
  /// Why a writer fails before the engine is asked.
  std::error_code writer_failure() noexcept;
  /// An error that the engine told, which it does once: one that ends the connection is kept, for
  /// the operations that follow.
  std::error_code remember(error told) noexcept;

  stack_core* stack;
  socket_id id;
  bool open = false;
  bool closing = false;
  bool aborted = false;
  /// `close` has given `closed_as`.
  bool closed = false;
  /// `ended` was told to a writer: the next one finds a broken pipe.
  bool writer_told = false;
  close_result closed_as;
  /// How the connection ended, once an operation was told.
  std::error_code ended;
  socket_waiter* reader = nullptr;
  socket_waiter* writer = nullptr;
  socket_waiter* drainer = nullptr;
  /// Waits for the handshake, or for the end.
  socket_waiter* closer = nullptr;
  /// A `loan` of its bytes is out.
  lent* borrower = nullptr;
  /// `write_file` is at work, also while no writer waits.
  lent* filler = nullptr;
  socket_deadline read_deadline;
  socket_deadline write_deadline;
};

}  // namespace runnel::tcp::detail
