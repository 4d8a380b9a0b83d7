#include "runnel/mutex.hpp"

#include "runnel/detail/check.hpp"

namespace runnel {

mutex::~mutex() {
  detail::check(!locked_ || detail::in_teardown(),
                "runnel: a mutex was destroyed while a task holds it or waits for it; keep it "
                "alive until they are done.");
  if (holder_ != nullptr) holder_->mutex_ = nullptr;
  if (heir_ != nullptr) heir_->handed_ = false;
}

mutex_guard mutex::try_lock() noexcept {
  mutex_guard guard;
  if (!locked_) {
    locked_ = true;
    guard.adopt(this);
  }
  return guard;
}

bool mutex::acquire(detail::mutex_waiter& who) noexcept {
  if (locked_) {
    waiting_.push_back(who);
    return false;
  }
  locked_ = true;
  heir_ = &who;
  who.handed_ = true;
  return true;
}

void mutex::hand_over() noexcept {
  holder_ = nullptr;
  heir_ = nullptr;
  if (waiting_.empty()) {
    locked_ = false;
    return;
  }
  heir_ = &waiting_.pop_front();
  heir_->handed_ = true;
  heir_->wake();
}

void mutex_guard::unlock() noexcept {
  if (mutex* held = std::exchange(mutex_, nullptr)) held->hand_over();
}

void mutex_guard::adopt(mutex* held) noexcept {
  mutex_ = held;
  if (held == nullptr) return;
  held->heir_ = nullptr;
  held->holder_ = this;
}

namespace detail {

mutex_waiter::~mutex_waiter() {
  if (handed_) source_->hand_over();
}

bool mutex_lock::begin() noexcept {
  return source_->acquire(*this);
}

result<mutex_guard> mutex_lock::await_resume() noexcept {
  if (!handed_) return errc::cancelled;
  handed_ = false;
  if (cancelled_meanwhile()) {
    source_->hand_over();
    return errc::cancelled;
  }
  mutex_guard guard;
  guard.adopt(source_);
  return guard;
}

}  // namespace detail
}  // namespace runnel
