#include "runnel/detail/operation.hpp"

#include <unistd.h>

#include <cerrno>

#include "backend.hpp"
#include "operation_pool.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {

operation_pool::~operation_pool() {
  for (auto& op : all_) {
    if (op->where != operation::state::idle) {
      static_cast<void>(op.release());
    }
  }
}

operation& operation_pool::take() {
  if (idle_.empty()) {
    all_.push_back(std::make_unique<operation>());
    return *all_.back();
  }
  operation& op = idle_.pop_front();
  if (op.buffer) --idle_buffers_;
  return op;
}

void operation_pool::put_back(operation& op) noexcept {
  op.where = operation::state::idle;
  op.cancel_requested = false;
  op.cancel_queued = false;
  op.user = nullptr;
  op.path.clear();
  if (op.buffer && idle_buffers_ >= buffers_kept) op.buffer.reset();
  if (op.buffer) ++idle_buffers_;
  idle_.push_front(op);
}

void operation_pool::complete(operation& op, int result) noexcept {
  op.unlink();
  --in_flight_count_;
  if (operation_user* user = op.user) {
    user->operation_ = nullptr;
    user->on_complete(op, result);
  } else if (op.request.kind == op_kind::open && result >= 0) {
    ::close(result);
  }
  put_back(op);
}

void operation_pool::part_from_users() noexcept {
  for (auto& op : all_) {
    if (op->user != nullptr) op->user->operation_ = nullptr;
    op->user = nullptr;
  }
}

operation& operation_user::prepare(loop& owner, const op_request& request) {
  owner_ = &owner;
  operation_ = &owner.operations_->take();
  operation_->request = request;
  operation_->user = this;
  return *operation_;
}

void operation_user::submit() noexcept {
  owner_->operations_->started(*operation_);
  ++owner_->metrics_.operations;
  owner_->backend_->submit(*operation_);
}

void operation_user::cancel() noexcept {
  if (operation_ == nullptr || operation_->cancel_requested) return;
  operation_->cancel_requested = true;
  owner_->backend_->cancel(*operation_);
}

void operation_user::abandon() noexcept {
  if (operation_ == nullptr) return;
  operation_->user = nullptr;
  // A close whose awaiter is gone still has to happen.
  if (operation_->request.kind != op_kind::close) cancel();
  operation_ = nullptr;
}

void op_awaiter::begin() noexcept {
  if (cancelled()) {
    result_ = -ECANCELED;
    wake();
    return;
  }
  fill(prepare(owner(), request_));
  submit();
}

void op_awaiter::on_complete(operation&, int result) noexcept {
  result_ = result;
  wake();
}

}  // namespace runnel::detail
