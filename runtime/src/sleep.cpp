#include "runnel/sleep.hpp"

#include "runnel/detail/text.hpp"

namespace runnel::detail {

void sleep_awaiter::begin() noexcept {
  cancelled_ = cancelled();
  loop& owner = waiter::owner();
  time_point deadline = absolute_ ? deadline_ : after(owner.now(), length_);
  if (cancelled_ || deadline <= owner.now()) {
    wake();
    return;
  }
  alarm_.emplace(owner, *this);
  alarm_->arm(deadline);
}

void sleep_awaiter::on_cancel() noexcept {
  cancelled_ = true;
  alarm_->cancel();
  wake();
}

wait_description sleep_awaiter::describe() const {
  return {"sleep", text_of(alarm_->deadline() - owner().now()) + " left"};
}

result<void> sleep_awaiter::await_resume() const noexcept {
  if (cancelled_) return errc::cancelled;
  return {};
}

}  // namespace runnel::detail
