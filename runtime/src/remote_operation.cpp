#include "runnel/detail/remote_operation.hpp"

#include "runnel/detail/thread_state.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {

std::error_code remote_operation::send_from(loop& home, remote_waiter& who) noexcept {
  std::error_code refused;
  mailbox* there = mailbox_of(there_);
  mailbox* back = mailbox_access::get(home, refused);
  if (refused) return refused;
  // The answer would come at a moment that no run repeats.
  if (home.simulated() && there != back) return errc::not_supported;
  home_ = mailbox_access::remote_to(*back);
  waiter_ = &who;
  under_way_ = true;
  refs_.fetch_add(1, std::memory_order_relaxed);
  refused = there->send(request_);
  if (refused) {
    waiter_ = nullptr;
    under_way_ = false;
    home_ = {};
    release();
  }
  return refused;
}

// Only the one who moves `stage_` on may touch the function.
bool remote_operation::take_back() noexcept {
  stage expected = stage::asked;
  if (!stage_.compare_exchange_strong(expected, stage::taken_back, std::memory_order_acq_rel)) {
    return false;
  }
  under_way_ = false;
  waiter_ = nullptr;
  drop_function();
  home_ = {};
  return true;
}

void remote_operation::ask_to_stop() noexcept {
  if (cancel_sent_ || !stoppable()) return;
  cancel_sent_ = true;
  refs_.fetch_add(1, std::memory_order_relaxed);
  if (mailbox_of(there_)->send(cancel_)) release();
}

bool remote_operation::cancel() noexcept {
  if (take_back()) return true;
  ask_to_stop();
  return false;
}

void remote_operation::part() noexcept {
  waiter_ = nullptr;
  if (under_way_) {
    cancel();
  } else {
    drop_outcome();
  }
  release();
}

void remote_operation::answer() noexcept {
  // As soon as the answer is sent, home may free this; the way back must not go with it.
  loop_remote home = std::move(home_);
  if (mailbox_of(home)->send(answer_)) release();
}

void remote_operation::release() noexcept {
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void remote_operation::on_request(mail& self, loop* there) noexcept {
  remote_operation& op = letter::of(self);
  stage expected = stage::asked;
  if (!op.stage_.compare_exchange_strong(expected, stage::begun, std::memory_order_acq_rel)) {
    op.release();
    return;
  }
  if (there != nullptr) {
    op.perform(*there);
    return;
  }
  op.drop_function();
  op.failure_ = errc::loop_ended;
  op.answer();
}

void remote_operation::on_answer(mail& self, loop* home) noexcept {
  remote_operation& op = letter::of(self);
  op.under_way_ = false;
  if (op.waiter_ == nullptr) {
    op.drop_outcome();
  } else if (home != nullptr) {
    op.waiter_->wake();
  }
  op.release();
}

void remote_operation::on_cancel(mail& self, loop* there) noexcept {
  remote_operation& op = letter::of(self);
  if (there != nullptr) op.stop();
  op.release();
}

void remote_waiter::begin() noexcept {
  if (cancelled()) {
    refused_ = errc::cancelled;
  } else {
    refused_ = operation_->send_from(owner(), *this);
  }
  if (refused_) wake();
}

void remote_waiter::on_cancel() noexcept {
  if (!operation_->cancel()) return;
  refused_ = errc::cancelled;
  wake();
}

void remote_child::promise_type::start() noexcept {
  set_scope(scope_);
  mailbox_access::host(scope_.owner(), *this);
  starter_.start(scope_, std::coroutine_handle<promise_type>::from_promise(*this));
}

void remote_child::promise_type::evict() noexcept {
  unlink();
  child_owner* owner = owner_;
  {
    teardown_guard teardown;
    std::coroutine_handle<promise_type>::from_promise(*this).destroy();
  }
  owner->child_done(errc::loop_ended);
}

}  // namespace runnel::detail
