#include "runnel/condition.hpp"

#include <utility>

namespace runnel {

condition::~condition() {
  detail::check(waiting_.empty() || detail::in_teardown(),
                "runnel: a condition was destroyed while a task waits for it; keep it alive until "
                "its waiters are done.");
}

void condition::notify_one() noexcept {
  if (waiting_.empty()) return;
  detail::condition_wait& next = waiting_.pop_front();
  notified_.push_back(next);
  next.end_ = detail::wait_end::served;
  next.lock_again();
}

void condition::notify_all() noexcept {
  while (!waiting_.empty()) {
    detail::condition_wait& next = waiting_.pop_front();
    next.end_ = detail::wait_end::served;
    next.lock_again();
  }
}

namespace detail {

condition_wait::~condition_wait() {
  // The mutex is alive as long as this is its heir or in its list.
  bool reachable = handed_ || wait_hook::linked();
  if (notified_hook::linked() && reachable) {
    notified_hook::unlink();
    condition_->notify_one();
  }
}

bool condition_wait::begin() noexcept {
  source_ = std::exchange(guard_->mutex_, nullptr);
  condition_->waiting_.push_back(*this);
  source_->hand_over();
  return false;
}

void condition_wait::on_cancel() noexcept {
  if (end_ != wait_end::none) return;
  end_ = wait_end::cancelled;
  // The mutex and the condition may have died with a frame that was destroyed.
  const bool reachable = wait_hook::linked();
  wait_hook::unlink();
  if (reachable) {
    lock_again();
  } else {
    wake();
  }
}

void condition_wait::lock_again() noexcept {
  if (source_->acquire(*this)) wake();
}

result<void> condition_wait::await_resume() noexcept {
  notified_hook::unlink();
  if (handed_) {
    handed_ = false;
    guard_->adopt(source_);
  }
  if (end_ == wait_end::served) return {};
  return errc::cancelled;
}

}  // namespace detail
}  // namespace runnel
