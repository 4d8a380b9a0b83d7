#pragma once

#include <cstdint>

#include "runnel/detail/operation.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"

namespace runnel {

namespace detail {

class [[nodiscard]] poll_awaiter final : public op_awaiter {
 public:
  poll_awaiter(int fd, std::uint32_t events) noexcept
      : op_awaiter({.kind = op_kind::poll, .fd = fd, .flags = events}) {}
  result<std::uint32_t> await_resume() const noexcept;
};

}  // namespace detail

/// Waits until `fd` is ready for one of `events` (POLLIN, POLLOUT, ... of poll(2)) and gives those
/// that are, POLLERR and POLLHUP included. Holds no memory; `fd` is the caller's and must stay
/// open. Cancelled: `errc::cancelled`, once the kernel has let go. Errors: errno values.
inline detail::poll_awaiter poll_once(int fd, std::uint32_t events) noexcept {
  return {fd, events};
}

/// Tells an object that is no coroutine, such as a link, that a descriptor is ready. One shot:
/// after each call it must be armed again. One submission entry per arming, no system call of its
/// own; on epoll none either while it is armed again before the loop sleeps.
class fd_watch : private detail::operation_user {
 public:
  /// Who is told.
  class client {
   public:
    /// Phase 1 of a turn: the descriptor is ready or has an error. Only sets flags, and may arm the
    /// watch again; runs no user code.
    virtual void on_ready() noexcept = 0;

   protected:
    ~client() = default;
  };

  /// Watches nothing yet. `owner` and `who` must outlive it; `fd` stays the caller's and must stay
  /// open, and the same file, as long as the watch lives. Throws `std::bad_alloc`: the memory that
  /// arming needs is taken here.
  fd_watch(loop& owner, int fd, client& who) : owner_(&owner), fd_(fd), client_(&who) {
    keep(owner);
  }
  /// Disarms it; the kernel's last word on it is discarded.
  ~fd_watch() = default;

  /// Asks for one call when `fd` is ready for `events` of poll(2); 1 is POLLIN. Does nothing while
  /// armed. On a simulated loop the call never comes. May throw `std::bad_alloc` after `disarm()`.
  void arm(std::uint32_t events = 1);
  /// Takes the request back: no call comes any more.
  void disarm() noexcept { abandon(); }
  /// Whether a call is still to come.
  bool armed() const noexcept { return busy(); }

 private:
  void on_complete(detail::operation& op, int result) noexcept override;

  loop* owner_;
  int fd_;
  client* client_;
  std::uint64_t watch_ = 0;
};

}  // namespace runnel
