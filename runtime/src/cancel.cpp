#include "runnel/cancel.hpp"

#include "runnel/detail/check.hpp"
#include "runnel/loop.hpp"
#include "runnel/waiter.hpp"

namespace runnel {

// In a list of the loop, so that who waits in it is found.
cancel_scope::cancel_scope(loop& owner) noexcept : owner_(&owner) {
  owner.scopes_.push_back(*this);
}

cancel_scope::cancel_scope(cancel_scope& parent) noexcept
    : detail::list_hook(), owner_(parent.owner_), cancelled_(parent.cancelled_) {
  parent.children_.push_back(*this);
}

cancel_scope::~cancel_scope() {
  detail::check(
      waiting_.empty() && children_.empty(),
      "runnel: a cancel scope was destroyed while something waits in it; await it first.");
}

void cancel_scope::cancel() noexcept {
  if (cancelled_) return;
  cancelled_ = true;
  // What stays waiting for the kernel goes back to the scope's own list.
  detail::list<waiter> asked;
  asked.splice_back(waiting_);
  while (!asked.empty()) {
    waiter& w = asked.pop_front();
    waiting_.push_back(w);
    w.on_cancel();
  }
  detail::list<cancel_scope> below;
  below.splice_back(children_);
  while (!below.empty()) {
    cancel_scope& child = below.pop_front();
    children_.push_back(child);
    child.cancel();
  }
}

void cancel_scope::forget_all() noexcept {
  waiting_.clear();
  children_.clear();
}

// Each pending wait of each connection holds one.
static_assert(sizeof(waiter) <= 48);

waiter::waiter(waiter&& other) noexcept : detail::list_hook(std::move(other)) {
  detail::check(other.state_ == state::idle,
                "runnel: an awaiter was moved while a task waits in it; move it before co_await.");
}

void waiter::wake() noexcept {
  if (state_ != state::waiting) return;
  state_ = state::ready;
  unlink();
  owner().ready_.push_back(*this);
}

void waiter::sleep_again() noexcept {
  if (state_ != state::ready) return;
  unlink();
  state_ = state::waiting;
  scope_->waiting_.push_back(*this);
}

bool waiter::take_budget(cancel_scope& scope) noexcept {
  return !scope.cancelled() && scope.owner().take_budget();
}

}  // namespace runnel
