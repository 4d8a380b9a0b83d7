#include "epoll_set.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <new>
#include <utility>

#include "backend.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

constexpr std::uint32_t always_reported = EPOLLERR | EPOLLHUP;
// The bits above are no events but ways to register.
constexpr std::uint32_t poll_events = 0x0fff'ffff;

// What comes back with an event: the descriptor, whether its registration was one to keep, and the
// generation, which tells it from registrations that the same number had before.
constexpr std::uint64_t kept_bit = std::uint64_t{1} << 31;
constexpr std::uint64_t wake_key = ~std::uint64_t{0};

constexpr std::uint64_t key_of(int fd, std::uint32_t generation, bool kept) noexcept {
  return std::uint64_t{generation} << 32 | (kept ? kept_bit : 0) | static_cast<std::uint64_t>(fd);
}
constexpr int descriptor_in(std::uint64_t key) noexcept {
  return static_cast<int>(key & (kept_bit - 1));
}
constexpr std::uint32_t generation_in(std::uint64_t key) noexcept {
  return static_cast<std::uint32_t>(key >> 32);
}

std::uint32_t events_of(const operation& op) noexcept {
  switch (op.request.kind) {
    case op_kind::read:
      return EPOLLIN | always_reported;
    case op_kind::write:
      return EPOLLOUT | always_reported;
    default:
      return (op.request.flags & poll_events) | always_reported;
  }
}

bool enrol_wake_up(int set, int fd) noexcept {
  epoll_event event{};
  // Every write is an edge.
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = wake_key;
  return ::epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool knows_nanoseconds(int set) noexcept {
  epoll_event none;
  const timespec now{};
  return ::epoll_pwait2(set, &none, 1, &now, nullptr) == 0;
}

}  // namespace

epoll_set::epoll_set(client& who, loop_metrics& metrics) : client_(&who), metrics_(&metrics) {
  set_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (set_ < 0) refuse_to_start("The kernel refused to make an epoll descriptor", errno);
  nanoseconds_ = knows_nanoseconds(set_);
}

epoll_set::~epoll_set() {
  ::close(set_);
}

// Zero, or why `fd` can have no place in the table.
int epoll_set::make_room(int fd) noexcept {
  if (fd < 0) return EBADF;
  const auto index = static_cast<std::size_t>(fd);
  if (index < table_.size()) return 0;
  // A number that is no descriptor must not make the table large.
  if (::fcntl(fd, F_GETFD) < 0) return EBADF;
  try {
    const std::size_t size = std::max({index + 1, table_.size() * 2, std::size_t{64}});
    changed_.reserve(size);
    table_.resize(size);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  return 0;
}

void epoll_set::note_change(int fd, registration& r) noexcept {
  if (!std::exchange(r.changed, true)) changed_.push_back(fd);
}

void epoll_set::add(operation& op) noexcept {
  if (const int error = make_room(op.request.fd); error != 0) {
    client_->on_refused(op, error);
    return;
  }
  registration& r = at(op.request.fd);
  op.where = operation::state::queued;
  r.waiting.push_back(op);
  ++waiting_;
  note_change(op.request.fd, r);
}

// At once and not with the next update: then the number may be another file's.
void epoll_set::remove(operation& op) noexcept {
  op.tagged_hook<operation_in_backend>::unlink();
  --waiting_;
  registration& r = at(op.request.fd);
  if (r.waiting.empty()) withdraw(op.request.fd, r);
}

void epoll_set::forget(int fd) noexcept {
  if (fd < 0 || static_cast<std::size_t>(fd) >= table_.size()) return;
  registration& r = at(fd);
  withdraw(fd, r);
  r.known = false;
  refuse(r, EBADF);
}

void epoll_set::update() noexcept {
  for (std::size_t i = 0; i < changed_.size(); ++i) {
    tell_kernel(changed_[i]);
  }
  changed_.clear();
}

epoll_set::wish epoll_set::wish_of(registration& r) noexcept {
  wish all;
  for (operation* op = &r.waiting.front(); op != nullptr; op = r.waiting.after(*op)) {
    all.events |= events_of(*op);
    // One that was waiting before holds the descriptor open.
    if (op->where == operation::state::submitted) all.vouched = true;
    const std::uint64_t watch = op->request.watch;
    if (watch == 0) continue;
    all.kept = true;
    if (std::find(r.vouchers.begin(), r.vouchers.end(), watch) != r.vouchers.end()) {
      all.vouched = true;
    }
  }
  return all;
}

void epoll_set::tell_kernel(int fd) noexcept {
  registration& r = at(fd);
  r.changed = false;
  if (r.waiting.empty()) return;
  const wish what = wish_of(r);
  const bool told = r.known && !r.excess && what.vouched && (what.events & ~r.events) == 0;
  if (!told) {
    if (const int error = enrol(fd, r, what); error != 0) {
      refuse(r, error);
      return;
    }
  }
  for (operation* op = &r.waiting.front(); op != nullptr; op = r.waiting.after(*op)) {
    op->where = operation::state::submitted;
    const std::uint64_t watch = op->request.watch;
    if (watch == 0 || r.vouchers[0] == watch || r.vouchers[1] == watch) continue;
    r.vouchers[r.next_voucher] = watch;
    r.next_voucher ^= 1;
  }
}

int epoll_set::enrol(int fd, registration& r, const wish& what) noexcept {
  // What is believed may be wrong once, in either way.
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (!r.known) {
      ++r.generation;
      r.vouchers = {};
    }
    epoll_event event{};
    event.events = what.events | (what.kept ? 0U : EPOLLONESHOT);
    event.data.u64 = key_of(fd, r.generation, what.kept);
    ++metrics_->enters;
    if (::epoll_ctl(set_, r.known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0) {
      r.known = true;
      r.kept = what.kept;
      r.events = what.events;
      r.excess = false;
      return 0;
    }
    const bool mistaken = errno == (r.known ? ENOENT : EEXIST);
    r.known = mistaken && !r.known;
    r.events = 0;
    if (!mistaken) break;
  }
  return errno;
}

// A registration that is silent may stay: should its file live on under another number, it is heard
// no more.
void epoll_set::withdraw(int fd, registration& r) noexcept {
  if (!r.known || r.events == 0) return;
  epoll_event unused{};
  ++metrics_->enters;
  ::epoll_ctl(set_, EPOLL_CTL_DEL, fd, &unused);
  r.known = false;
  r.events = 0;
}

void epoll_set::refuse(registration& r, int error) noexcept {
  operation_queue refused;
  refused.splice_back(r.waiting);
  while (!refused.empty()) {
    operation& op = refused.pop_front();
    --waiting_;
    client_->on_refused(op, error);
  }
}

int epoll_set::wait_for_events(duration timeout) noexcept {
  const auto room = static_cast<int>(events_.size());
  ++metrics_->enters;
  if (timeout <= duration::zero()) return ::epoll_wait(set_, events_.data(), room, 0);
  ++metrics_->waits;
  if (timeout == duration::max()) return ::epoll_wait(set_, events_.data(), room, -1);
  if (nanoseconds_) {
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    const timespec limit{whole.count(), (timeout - whole).count()};
    return ::epoll_pwait2(set_, events_.data(), room, &limit, nullptr);
  }
  const auto limit = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return ::epoll_wait(set_, events_.data(), room,
                      static_cast<int>(std::min<std::int64_t>(limit, INT_MAX)));
}

void epoll_set::wait(duration timeout) noexcept {
  const int count = wait_for_events(timeout);
  for (int i = 0; i < count; ++i) {
    dispatch(events_[static_cast<std::size_t>(i)], timeout > duration::zero());
  }
  if (std::exchange(orphaned_, false)) rebuild();
}

void epoll_set::dispatch(const epoll_event& event, bool slept) noexcept {
  const std::uint64_t key = event.data.u64;
  if (key == wake_key) return;
  const int fd = descriptor_in(key);
  registration& r = at(fd);
  if (!r.known || r.generation != generation_in(key)) {
    // Of a file that lives on under another number, or in another process. A one-shot is silent
    // from now on; the other kind would be reported for ever and cannot be named any more.
    orphaned_ = orphaned_ || (key & kept_bit) != 0;
    return;
  }
  if (!r.kept) r.events = 0;
  bool asked_for = false;
  operation_queue asking;
  asking.splice_back(r.waiting);
  while (!asking.empty()) {
    operation& op = asking.pop_front();
    const std::uint32_t ready = event.events & events_of(op);
    if (ready == 0) {
      r.waiting.push_back(op);
      continue;
    }
    asked_for = true;
    --waiting_;
    client_->on_ready(op, ready);
  }
  // Between two turns nobody may be asking for the moment. A sleep, though, it must not end twice.
  const bool unwanted = slept && !asked_for && r.kept;
  r.excess = unwanted;
  if (unwanted && r.waiting.empty()) withdraw(fd, r);
  if (!r.waiting.empty()) note_change(fd, r);
}

int epoll_set::watch_wake_up(int fd) noexcept {
  if (!enrol_wake_up(set_, fd)) return errno;
  wakes_[wakes_[0] < 0 ? 0 : 1] = fd;
  return 0;
}

bool epoll_set::enrol_wake_ups(int set) const noexcept {
  return std::all_of(wakes_.begin(), wakes_.end(),
                     [set](int fd) { return fd < 0 || enrol_wake_up(set, fd); });
}

// Without memory for that the set stays as it is, and the next wait tries again.
void epoll_set::rebuild() noexcept {
  const int fresh = ::epoll_create1(EPOLL_CLOEXEC);
  if (fresh < 0) return;
  if (!enrol_wake_ups(fresh)) {
    ::close(fresh);
    return;
  }
  ::close(set_);
  set_ = fresh;
  for (std::size_t i = 0; i < table_.size(); ++i) {
    registration& r = table_[i];
    r.known = false;
    r.events = 0;
    if (!r.waiting.empty()) note_change(static_cast<int>(i), r);
  }
}

}  // namespace runnel::detail
