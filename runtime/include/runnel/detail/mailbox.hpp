#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <thread>

#include "runnel/detail/list.hpp"

namespace runnel {
class loop;
class loop_remote;
}  // namespace runnel

namespace runnel::detail {

class guest;
class mailbox;

/// How the pieces of a mailbox reach into a loop.
struct mailbox_access {
  /// The loop's mailbox, made now if it has none; null with the kernel's reason.
  static mailbox* get(loop& of, std::error_code& refused) noexcept;
  /// Asks `here`, the loop of the calling thread, to wake `target`'s; false when it cannot.
  static bool wake_from(loop& here, mailbox& target) noexcept;
  static loop_remote remote_to(mailbox& box) noexcept;
  /// Lets `g` be destroyed with `there`, which has a mailbox.
  static void host(loop& there, guest& g) noexcept;
};

/// Something sent to a loop. The node is the sender's own memory; from `mailbox::send` until its
/// handler is called it belongs to the mailbox, and then to the handler, which may free it.
class mail {
 public:
  /// Called once for each send: in phase 4 of a turn of `here`, on its thread; or with null, on the
  /// thread that ends the loop, for what it never came to.
  using handler = void (*)(mail& self, loop* here) noexcept;

  constexpr explicit mail(handler on_arrival) noexcept : handler_(on_arrival) {}
  mail(const mail&) = delete;
  mail& operator=(const mail&) = delete;

 private:
  friend class mailbox;

  handler handler_;
  mail* next_ = nullptr;
};

/// A child that another loop runs here. It is destroyed with the loop.
class guest : public list_hook {
 public:
  /// Destroys the suspended child and tells its caller; unlinks this.
  virtual void evict() noexcept = 0;

 protected:
  guest() noexcept = default;
  ~guest() = default;
};

/// A loop's letter box: many senders, one reader, no lock. It is counted and outlives its loop for
/// as long as somebody may send.
///
/// One word, `head_`, is both the queue and all that has to be agreed on:
///   null          the loop is awake and looks before it sleeps: nobody has to ring;
///   &asleep       the box is empty and the loop sleeps, or has slept since it last found a letter;
///   &closed       the loop has ended;
///   a letter      the youngest of a chain, linked towards the oldest.
/// Whoever replaces &asleep by a letter rings, and only he: one wake-up for each burst. The loop
/// says &asleep by a compare-and-swap that fails when a letter is there, so a letter comes either
/// before that, and the loop does not sleep, or after it, and its sender rings. Nothing in between
/// exists, which is why no wake-up is missed. &asleep stays when something else wakes the loop: a
/// loop that gets no letters never writes the word again, and the next sender rings once too often.
///
/// A loop rings another with the system call that ends its own turn. A thread without a loop must
/// not have to wait for that turn, which may be long: the lowest bit of the letter's word says that
/// the ring is due and may still be on its way, and a thread that pushes onto such a letter rings
/// as well and takes the bit away. It is part of the word because it must be seen by whoever pushes
/// onto that letter and by nobody else. One ring too many does no harm.
///
/// Senders only push and the reader only takes everything, so a node that came back to the same
/// address between a sender's load and its swap does no harm.
class mailbox {
 public:
  /// How many letters one turn delivers; the rest wait for the next, behind tasks and hooks.
  static constexpr unsigned mails_per_turn = 256;

  /// `event_fd` and `ring_fd`, when not negative, become the mailbox's. With `own_thread_only`
  /// nobody else's letters are taken, as they would come at moments that no run repeats.
  mailbox(loop& owner, bool own_thread_only, int event_fd, int ring_fd) noexcept;
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  // From any thread.

  /// Queues `m` and wakes the loop when it sleeps: no allocation, a system call only for the first
  /// letter of a burst. With an error (loop_ended, not_supported) `m` stays the caller's.
  std::error_code send(mail& m) noexcept;
  /// Whether the loop has ended.
  bool closed() const noexcept { return head_.load(std::memory_order_acquire) == &closed_mark_; }
  /// Ends the loop's sleep through the eventfd.
  void ring() noexcept;
  /// What another ring may send a message to; negative for none. The number stays ours for as long
  /// as the mailbox lives, and leads nowhere once the loop has ended.
  int ring_fd() const noexcept { return ring_fd_; }
  int event_fd() const noexcept { return event_fd_; }
  /// How often a sender had to wake the loop.
  std::uint64_t wakes() const noexcept { return wakes_.load(std::memory_order_relaxed); }

  void add_ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  void drop_ref() noexcept;
  /// A handle is a reference that may send on its own account, so that its loop may wait for it.
  void add_handle() noexcept;
  void drop_handle() noexcept;

  // From the loop's thread.

  /// Phase 4: hands over at most `mails_per_turn` letters in the order of sending, and says how
  /// many. One relaxed load when there are none.
  unsigned deliver(loop& here) noexcept;
  /// Whether letters are left after `deliver`.
  bool left_over() const noexcept { return pending_ != nullptr; }
  /// Says that the loop is going to sleep; false when there is something to do instead.
  bool announce_sleep() noexcept;
  /// Whether there is a letter, or anybody who could send one, for a loop that has announced its
  /// sleep.
  bool awaited() const noexcept;
  /// The loop ends: everything left is refused, guests are destroyed.
  void close() noexcept;
  void add_guest(guest& g) noexcept { guests_.push_back(g); }

 private:
  ~mailbox();
  void collect() noexcept;

  static mail asleep_mark_;
  static mail closed_mark_;

  std::atomic<mail*> head_{nullptr};
  std::atomic<std::uint32_t> refs_{1};
  std::atomic<std::uint32_t> handles_{0};
  std::atomic<std::uint64_t> wakes_{0};
  loop* const owner_;
  const std::thread::id thread_;
  const bool own_thread_only_;
  const int event_fd_;
  const int ring_fd_;

  // The loop's own.
  bool announced_ = false;
  mail* pending_ = nullptr;
  list<guest> guests_;
};

/// A counted pointer to a mailbox, as `Add` and `Drop` count.
template <void (mailbox::*Add)() noexcept, void (mailbox::*Drop)() noexcept>
class mailbox_pointer {
 public:
  mailbox_pointer() noexcept = default;
  explicit mailbox_pointer(mailbox* box) noexcept : box_(box) {
    if (box_ != nullptr) (box_->*Add)();
  }
  mailbox_pointer(const mailbox_pointer& other) noexcept : mailbox_pointer(other.box_) {}
  mailbox_pointer(mailbox_pointer&& other) noexcept : box_(other.box_) { other.box_ = nullptr; }
  mailbox_pointer& operator=(mailbox_pointer other) noexcept {
    mailbox* mine = box_;
    box_ = other.box_;
    other.box_ = mine;
    return *this;
  }
  ~mailbox_pointer() {
    if (box_ != nullptr) (box_->*Drop)();
  }

  mailbox* get() const noexcept { return box_; }
  mailbox* operator->() const noexcept { return box_; }
  explicit operator bool() const noexcept { return box_ != nullptr; }

 private:
  mailbox* box_ = nullptr;
};

using mailbox_ref = mailbox_pointer<&mailbox::add_ref, &mailbox::drop_ref>;
using mailbox_handle = mailbox_pointer<&mailbox::add_handle, &mailbox::drop_handle>;

}  // namespace runnel::detail
