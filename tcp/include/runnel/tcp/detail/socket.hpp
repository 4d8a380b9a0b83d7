#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "runnel/detail/list.hpp"
#include "runnel/tcp/engine/handle.hpp"
#include "runnel/timer.hpp"
#include "runnel/waiter.hpp"
#include "runnel/wire/time.hpp"

namespace runnel::tcp::detail {

class stack_core;
class socket;

/// The base of the awaiters on one stream: it stands in one of the stream's slots while it waits,
/// and leaves it when it is cancelled or destroyed.
class socket_waiter : public waiter {
 public:
  socket_waiter(socket_waiter&&) noexcept = default;
  ~socket_waiter() override { leave(); }

  /// Something happened that this slot waits for. Wakes when it is enough.
  virtual void on_events(events what) noexcept = 0;
  /// The link or the stack is gone, or a deadline has passed.
  void fail(std::error_code why) noexcept {
    leave();
    error_ = why;
    wake();
  }

 protected:
  explicit socket_waiter(socket* of) noexcept : socket_(of) {}
  void on_cancel() noexcept override;
  void enter(socket_waiter*& slot) noexcept;
  void leave() noexcept {
    if (slot_ != nullptr && *slot_ == this) *slot_ = nullptr;
    slot_ = nullptr;
  }

  socket* socket_;
  socket_waiter** slot_ = nullptr;
  std::error_code error_;
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
  /// Why operations fail although the engine knows nothing of it: closed here, or the link is gone.
  std::error_code failure() const noexcept;

  stack_core* stack;
  socket_id id;
  bool open = false;
  socket_waiter* reader = nullptr;
  socket_waiter* writer = nullptr;
  /// Waits for `connected`, or for everything to be acknowledged.
  socket_waiter* closer = nullptr;
  socket_deadline read_deadline;
  socket_deadline write_deadline;
};

}  // namespace runnel::tcp::detail
