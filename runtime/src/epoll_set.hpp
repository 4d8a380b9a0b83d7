#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "runnel/clock.hpp"
#include "runnel/detail/operation.hpp"

namespace runnel {
struct loop_metrics;
}

namespace runnel::detail {

/// Which operations wait for which descriptor, and what epoll knows of it.
///
/// A registration in epoll is bound to an open file and a number. The number may be closed and
/// given to another file without anybody here hearing of it, so what was registered once proves
/// nothing when the number comes again: an operation is told to the kernel anew, as a one-shot, in
/// one epoll_ctl(2). Only a watch (`op_request::watch`) vouches for its descriptor. Its
/// registration stays, and arming it again costs nothing.
class epoll_set {
 public:
  /// Who hears of the operations. Both take the operation over; it waits here no more.
  class client {
   public:
    virtual void on_ready(operation& op, std::uint32_t events) noexcept = 0;
    /// `error` is what epoll_ctl(2) says; EPERM for a file that cannot be polled.
    virtual void on_refused(operation& op, int error) noexcept = 0;

   protected:
    ~client() = default;
  };

  /// Throws startup_error where the kernel refuses.
  epoll_set(client& who, loop_metrics& metrics);
  epoll_set(const epoll_set&) = delete;
  epoll_set& operator=(const epoll_set&) = delete;
  ~epoll_set();

  /// `op` waits from the next `update` on.
  void add(operation& op) noexcept;
  /// `op`, which waits, does so no more. Its descriptor may be closed when this returns.
  void remove(operation& op) noexcept;
  /// `fd` is about to be closed: who waits for it hears EBADF.
  void forget(int fd) noexcept;
  /// Tells the kernel what has changed.
  void update() noexcept;
  /// Waits that long, `duration::max()` for ever, and hands over what is ready, at most a bounded
  /// number. Only an event or a signal ends it earlier.
  void wait(duration timeout) noexcept;
  /// `fd` is an eventfd: a write to it ends a wait, and nobody needs to read it. Two of them at
  /// most. Zero, or the errno of a kernel that refuses.
  int watch_wake_up(int fd) noexcept;

  /// How many operations wait.
  std::size_t waiting() const noexcept { return waiting_; }
  /// Whether the kernel takes timeouts in nanoseconds, epoll_pwait2(2).
  bool waits_in_nanoseconds() const noexcept { return nanoseconds_; }

 private:
  // How many events one wait takes; the rest stay in the kernel, which serves them in turn.
  static constexpr std::size_t events_per_wait = 256;

  struct registration {
    operation_queue waiting;
    std::uint32_t events = 0;  // What the kernel will report; 0 when it is silent.
    std::uint32_t generation = 0;
    bool known = false;    // A registration was made, and not taken back.
    bool kept = false;     // It is level-triggered and not a one-shot.
    bool excess = false;   // The kernel reports what nobody asks for.
    bool changed = false;  // It stands in changed_.
    // Who vouches for it: one who reads and one who writes.
    std::array<std::uint64_t, 2> vouchers{};
    std::uint8_t next_voucher = 0;
  };
  struct wish {
    std::uint32_t events = 0;
    bool kept = false;
    bool vouched = false;
  };

  registration& at(int fd) noexcept { return table_[static_cast<std::size_t>(fd)]; }
  int make_room(int fd) noexcept;
  void note_change(int fd, registration& r) noexcept;
  static wish wish_of(registration& r) noexcept;
  void tell_kernel(int fd) noexcept;
  int enrol(int fd, registration& r, const wish& what) noexcept;
  void withdraw(int fd, registration& r) noexcept;
  void refuse(registration& r, int error) noexcept;
  int wait_for_events(duration timeout) noexcept;
  void dispatch(const epoll_event& event, bool slept) noexcept;
  void rebuild() noexcept;
  bool enrol_wake_ups(int set) const noexcept;

  client* client_;
  loop_metrics* metrics_;
  int set_ = -1;
  std::array<int, 2> wakes_{-1, -1};
  bool nanoseconds_ = false;
  bool orphaned_ = false;
  std::size_t waiting_ = 0;
  std::deque<registration> table_;  // By descriptor. A deque, because lists do not move.
  std::vector<int> changed_;        // Has room for every descriptor of the table.
  std::array<epoll_event, events_per_wait> events_;
};

}  // namespace runnel::detail
