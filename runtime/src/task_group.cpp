#include "runnel/task_group.hpp"

namespace runnel {
namespace detail {

std::suspend_never group_child::promise_type::final_suspend() noexcept {
  group_->on_child_done(*this);
  return {};
}

join_awaiter::~join_awaiter() {
  if (group_->joining_ == this) group_->joining_ = nullptr;
}

void join_awaiter::begin() noexcept {
  group_->joining_ = this;
  if (cancelled()) group_->cancel();
}

void join_awaiter::expect_more() noexcept {
  sleep_again();
  if (cancelled()) group_->cancel();
}

void join_awaiter::on_cancel() noexcept {
  group_->cancel();
}

wait_description join_awaiter::describe() const {
  const std::size_t left = group_->size();
  return {"join of a group", std::to_string(left) + (left == 1 ? " child" : " children")};
}

result<void> join_awaiter::await_resume() {
  if (group_->joining_ == this) group_->joining_ = nullptr;
  if (group_->first_exception_) std::rethrow_exception(std::move(group_->first_exception_));
  if (group_->first_error_) return group_->first_error_;
  if (group_->cancelled()) return errc::cancelled;
  return {};
}

}  // namespace detail

task_group::~task_group() {
  if (count_ == 0) return;
  detail::check(
      detail::this_thread.teardown_depth > 0,
      "runnel: a task_group was destroyed while its children run; co_await join() first.");
  while (!children_.empty()) {
    child_promise& child = children_.pop_front();
    std::coroutine_handle<child_promise>::from_promise(child).destroy();
  }
}

void task_group::launch(std::coroutine_handle<child_promise> frame,
                        std::source_location where) noexcept {
  // Who joins was woken by the last child and has not gone on yet: there is one more.
  if (joining_ != nullptr) static_cast<detail::join_awaiter*>(joining_)->expect_more();
  child_promise& child = frame.promise();
  child.set_where(where);
  child.set_group(joining_);
  child.set_scope(scope_);
  children_.push_back(child);
  ++count_;
  child.starter_.start(scope_, frame);
}

void task_group::on_child_done(child_promise& child) noexcept {
  child.tagged_hook::unlink();
  --count_;
  bool cancellation = child.failure_ == errc::cancelled && scope_.cancelled();
  bool failed = child.exception_ != nullptr || (child.failure_ && !cancellation);
  if (failed) {
    ++failures_;
    if (!first_exception_ && !first_error_) {
      first_exception_ = std::move(child.exception_);
      first_error_ = child.failure_;
    }
    if (mode_ == on_failure::cancel_rest) scope_.cancel();
  }
  if (count_ == 0 && joining_ != nullptr) joining_->wake();
}

}  // namespace runnel
