#include "runnel/semaphore.hpp"

#include <limits>

#include "runnel/detail/check.hpp"

namespace runnel {

semaphore::~semaphore() {
  bool unused = waiting_.empty() && served_.empty() && permits_.empty();
  detail::check(unused || detail::in_teardown(),
                "runnel: a semaphore was destroyed while a task holds a permit of it or waits for "
                "one; keep it alive until they are done.");
}

semaphore_permit semaphore::try_acquire(std::size_t count) noexcept {
  if (!waiting_.empty() || count > available_) return {};
  available_ -= count;
  return {*this, count};
}

void semaphore::release(std::size_t count) noexcept {
  detail::check(count <= std::numeric_limits<std::size_t>::max() - available_,
                "runnel: semaphore::release got more units than a semaphore can count.");
  available_ += count;
  serve();
}

void semaphore::serve() noexcept {
  while (!waiting_.empty() && waiting_.front().count_ <= available_) {
    detail::semaphore_acquire& next = waiting_.front();
    available_ -= next.count_;
    next.finish(detail::wait_end::served);
    served_.push_back(next);
  }
}

semaphore_permit::semaphore_permit(semaphore& source, std::size_t count) noexcept
    : source_(&source), count_(count) {
  source.permits_.push_back(*this);
}

void semaphore_permit::take(semaphore_permit& other) noexcept {
  if (!other.linked()) return;
  source_ = other.source_;
  count_ = std::exchange(other.count_, 0);
  other.unlink();
  source_->permits_.push_back(*this);
}

void semaphore_permit::release() noexcept {
  if (!linked()) return;
  unlink();
  source_->release(std::exchange(count_, 0));
}

namespace detail {

bool semaphore_acquire::begin() noexcept {
  source_->waiting_.push_back(*this);
  source_->serve();
  return end_ == wait_end::served;
}

void semaphore_acquire::on_cancel() noexcept {
  // As long as it is in a list, the semaphore is alive.
  const bool reachable = wait_hook::linked();
  finish(wait_end::cancelled);
  // Those behind it may fit where it did not.
  if (reachable) source_->serve();
}

// As long as it is in a list, the semaphore is alive.
void semaphore_acquire::leave() noexcept {
  if (!wait_hook::linked()) return;
  wait_hook::unlink();
  if (end_ == wait_end::served) source_->available_ += count_;
  source_->serve();
}

result<semaphore_permit> semaphore_acquire::await_resume() noexcept {
  bool served = wait_hook::linked();
  if (!served || cancelled_meanwhile()) {
    leave();
    return errc::cancelled;
  }
  wait_hook::unlink();
  return semaphore_permit{*source_, count_};
}

}  // namespace detail
}  // namespace runnel
