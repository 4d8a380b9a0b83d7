#include "runnel/detail/mailbox.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "backend.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/loop.hpp"
#include "runnel/remote.hpp"

namespace runnel {
namespace detail {

namespace {

// In the lowest bit of a letter's address, which alignment leaves.
constexpr std::uintptr_t due = 1;
static_assert(alignof(mail) > due);

mail* with_due(mail& m) noexcept {
  return reinterpret_cast<mail*>(reinterpret_cast<std::uintptr_t>(&m) | due);
}
bool is_due(mail* word) noexcept {
  return (reinterpret_cast<std::uintptr_t>(word) & due) != 0;
}
mail* letter_of(mail* word) noexcept {
  return reinterpret_cast<mail*>(reinterpret_cast<std::uintptr_t>(word) & ~due);
}

}  // namespace

constinit mail mailbox::asleep_mark_{nullptr};
constinit mail mailbox::closed_mark_{nullptr};

mailbox::mailbox(loop& owner, bool own_thread_only, int event_fd, int ring_fd) noexcept
    : owner_(&owner),
      thread_(std::this_thread::get_id()),
      own_thread_only_(own_thread_only),
      event_fd_(event_fd),
      ring_fd_(ring_fd) {}

mailbox::~mailbox() {
  if (event_fd_ >= 0) ::close(event_fd_);
  if (ring_fd_ >= 0) ::close(ring_fd_);
}

void mailbox::drop_ref() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void mailbox::add_handle() noexcept {
  add_ref();
  handles_.fetch_add(1, std::memory_order_relaxed);
}

// A loop that sleeps because somebody could have sent something has to look again when nobody can
// any more. Both sides are sequentially consistent: either the loop, having announced its sleep,
// sees no handle, or this sees the announcement.
void mailbox::drop_handle() noexcept {
  if (handles_.fetch_sub(1) == 1 && head_.load() == &asleep_mark_ &&
      this_thread.running != owner_) {
    ring();
  }
  drop_ref();
}

std::error_code mailbox::send(mail& m) noexcept {
  if (own_thread_only_ && std::this_thread::get_id() != thread_) return errc::not_supported;
  loop* here = this_thread.running;
  const bool by_loop = here != nullptr && here != owner_;
  mail* seen = head_.load(std::memory_order_acquire);
  mail* word = nullptr;
  bool first = false;
  do {
    if (seen == &closed_mark_) return errc::loop_ended;
    first = seen == &asleep_mark_;
    m.next_ = first ? nullptr : letter_of(seen);
    word = by_loop && (first || is_due(seen)) ? with_due(m) : &m;
  } while (!head_.compare_exchange_weak(seen, word, std::memory_order_acq_rel,
                                        std::memory_order_acquire));
  // From here on `m` may be gone; the mailbox is not, as the caller holds it.
  if (here == owner_) {
    here->request_turn();
    return {};
  }
  if (first) wakes_.fetch_add(1, std::memory_order_relaxed);
  const bool ring_now =
      by_loop ? first && !mailbox_access::wake_from(*here, *this) : first || is_due(seen);
  if (ring_now) ring();
  return {};
}

void mailbox::ring() noexcept {
  std::uint64_t one = 1;
  // It fails only when the counter is full, and then the loop is awake for certain.
  if (event_fd_ >= 0) static_cast<void>(!::write(event_fd_, &one, sizeof one));
}

// Takes everything and turns it round, so that the oldest comes first.
void mailbox::collect() noexcept {
  announced_ = false;
  mail* newest = letter_of(head_.exchange(nullptr, std::memory_order_acquire));
  while (newest != nullptr) {
    mail* older = newest->next_;
    newest->next_ = pending_;
    pending_ = newest;
    newest = older;
  }
}

unsigned mailbox::deliver(loop& here) noexcept {
  if (pending_ == nullptr) {
    mail* seen = head_.load(std::memory_order_relaxed);
    if (seen == nullptr || seen == &asleep_mark_) return 0;
    collect();
  }
  unsigned count = 0;
  while (pending_ != nullptr && count < mails_per_turn) {
    mail& m = *pending_;
    pending_ = m.next_;
    ++count;
    m.handler_(m, &here);
  }
  return count;
}

bool mailbox::announce_sleep() noexcept {
  if (pending_ != nullptr) return false;
  if (announced_) return true;
  mail* nothing = nullptr;
  announced_ = head_.compare_exchange_strong(nothing, &asleep_mark_);
  return announced_;
}

// In this order: who has sent his last letter and let go of his handle is seen by the letter.
bool mailbox::awaited() const noexcept {
  if (own_thread_only_) return false;
  return handles_.load() > 0 || head_.load() != &asleep_mark_;
}

void mailbox::close() noexcept {
  // What is refused may try to send again and has to find the door closed.
  mail* last = head_.exchange(&closed_mark_, std::memory_order_acq_rel);
  mail* rest = nullptr;
  last = last == &asleep_mark_ ? nullptr : letter_of(last);
  while (last != nullptr) {
    mail* older = last->next_;
    last->next_ = rest;
    rest = last;
    last = older;
  }
  for (mail* first : {pending_, rest}) {
    pending_ = nullptr;
    while (first != nullptr) {
      mail& m = *first;
      first = m.next_;
      m.handler_(m, nullptr);
    }
  }
  while (!guests_.empty()) {
    guests_.front().evict();
  }
  // The loop's ring goes away now although its number stays reserved here: a ring that sends to it
  // gets an error instead of reaching whoever would be given that number next.
  if (ring_fd_ >= 0) ::dup3(event_fd_, ring_fd_, O_CLOEXEC);
}

}  // namespace detail

bool loop_remote::ended() const noexcept {
  check();
  return box_->closed();
}

void loop_remote::check() const noexcept {
  detail::check(static_cast<bool>(box_),
                "runnel: a loop_remote that was moved from, or never came from loop::remote(), was "
                "used.");
}

}  // namespace runnel
