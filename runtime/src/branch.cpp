#include "runnel/detail/branch.hpp"

#include "runnel/detail/thread_state.hpp"
#include "runnel/detail/transfer.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {

branch_chain::~branch_chain() {
  while (first_ != nullptr) {
    branch_base* child = first_;
    first_ = child->next_;
    if (child->frame_.done()) {
      child->frame_.destroy();
    } else {
      teardown_guard teardown;
      child->frame_.destroy();
    }
  }
}

void branch_chain::link(branch_base& child) noexcept {
  (last_ == nullptr ? first_ : last_->next_) = &child;
  last_ = &child;
  ++size_;
}

void branch_set::start(promise_base& parent) noexcept {
  cancel_scope& scope = scope_.emplace(parent.scope());
  running_ = children_.size();
  for (branch_base* child = children_.first(); child != nullptr; child = child->next_) {
    child->set_ = this;
    child->set_scope(scope);
    child->set_parent(parent);
    child->set_glue();
    child->starter_.start(scope, child->frame_, *child);
  }
}

std::coroutine_handle<> branch_set::on_end(branch_base& child) noexcept {
  bool decides =
      rule_ == decided_by::first_end || (rule_ == decided_by::first_failure && child.failed());
  if (decides && decisive_ == nullptr) {
    decisive_ = &child;
    scope_->cancel();
  }
  --running_;
  return running_ == 0 ? transfer(parent_) : std::noop_coroutine();
}

}  // namespace runnel::detail
