#pragma once

#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "runnel/detail/mailbox.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"

namespace runnel {

class loop_remote;

namespace detail {

mailbox* mailbox_of(const loop_remote& remote) noexcept;

/// Calls `fn(here)`, or `fn()` where it takes no loop.
template <class Fn>
decltype(auto) invoke_on(Fn& fn, loop& here) {
  if constexpr (std::is_invocable_v<Fn&, loop&>) {
    return std::invoke(fn, here);
  } else {
    return std::invoke(fn);
  }
}

template <class Fn>
using remote_call_result = decltype(detail::invoke_on(std::declval<Fn&>(), std::declval<loop&>()));

template <class Fn>
using kept = std::add_lvalue_reference_t<std::decay_t<Fn>>;

template <class Fn>
concept postable = std::is_invocable_v<kept<Fn>> || std::is_invocable_v<kept<Fn>, loop&>;

template <class Fn>
class posted final : public mail {
 public:
  template <class F>
  explicit posted(F&& fn) : mail(&arrive), fn_(std::forward<F>(fn)) {}

 private:
  static void arrive(mail& self, loop* here) noexcept {
    std::unique_ptr<posted> mine{&static_cast<posted&>(self)};
    if (here != nullptr) detail::invoke_on(mine->fn_, *here);
  }

  Fn fn_;
};

}  // namespace detail

/// What other threads know a loop by: `loop::remote()` gives one. It may be copied and used by any
/// thread, each copy by one at a time, and may outlive the loop. It is how anything reaches a loop
/// from outside; all else of a loop belongs to the loop's own thread.
///
/// While any is alive its loop may be waiting for what it sends: `loop::run` then sleeps where it
/// would otherwise throw `deadlock_error`. A loop in virtual time takes posts from its own thread
/// only, as others come at moments that no run repeats, and keeps its check for deadlock.
class loop_remote {
 public:
  /// Refers to no loop; may only be assigned to, copied and compared.
  loop_remote() noexcept = default;

  /// Runs `fn()`, or `fn(loop&)`, in phase 4 of a turn of the loop, on its thread, behind what the
  /// same thread has posted before. From any thread, also one without a loop; not from a signal
  /// handler. `fn` is moved along, must not throw, and is destroyed on the loop's thread.
  ///
  /// `errc::loop_ended` when the loop has ended: `fn` was not run. When the loop ends before it
  /// comes to it, `fn` is destroyed without having run. `errc::not_supported` from another thread
  /// than that of a simulated loop.
  ///
  /// Costs an allocation, a compare-and-swap, and for the first post to a sleeping loop a wake-up:
  /// an entry in the ring of the loop that posts (IORING_OP_MSG_RING), which leaves with the one
  /// system call of its turn, where both are on io_uring; else a write to an eventfd(2). So a task
  /// that posts and then blocks its thread until the post has run, by joining a thread for example,
  /// waits for ever: it holds up the turn that the wake-up leaves with. It awaits a `call` instead.
  template <detail::postable Fn>
  result<void> post(Fn&& fn) const {
    check();
    auto letter = std::make_unique<detail::posted<std::decay_t<Fn>>>(std::forward<Fn>(fn));
    if (std::error_code refused = box_->send(*letter)) return refused;
    static_cast<void>(letter.release());
    return {};
  }

  /// Whether the loop has ended; while it has not, it may do so at any moment.
  bool ended() const noexcept;

  /// Whether it refers to a loop, ended or not.
  explicit operator bool() const noexcept { return static_cast<bool>(box_); }

  /// Whether both refer to the same loop.
  friend bool operator==(const loop_remote& a, const loop_remote& b) noexcept {
    return a.box_.get() == b.box_.get();
  }

 private:
  friend class loop;
  friend struct detail::mailbox_access;
  friend detail::mailbox* detail::mailbox_of(const loop_remote& remote) noexcept;

  explicit loop_remote(detail::mailbox* box) noexcept : box_(box) {}
  void check() const noexcept;

  detail::mailbox_handle box_;
};

namespace detail {

inline mailbox* mailbox_of(const loop_remote& remote) noexcept {
  remote.check();
  return remote.box_.get();
}

}  // namespace detail
}  // namespace runnel
