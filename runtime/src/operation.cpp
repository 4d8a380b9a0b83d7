#include "runnel/detail/operation.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "backend.hpp"
#include "operation_pool.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {

operation_pool::~operation_pool() {
  for (auto& op : all_) {
    if (op->where != operation::state::idle && op->where != operation::state::refused) {
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

void operation_pool::rest(operation& op) noexcept {
  op.where = operation::state::idle;
  op.cancel_requested = false;
  op.cancel_queued = false;
}

void operation_pool::put_back(operation& op) noexcept {
  rest(op);
  op.kept = false;
  op.user = nullptr;
  op.path.reset();
  if (std::exchange(op.reaps, false)) {
    siginfo_t facts{};
    ::waitid(P_PIDFD, static_cast<id_t>(op.closes), &facts, WEXITED | WNOHANG);
  }
  if (op.closes >= 0) ::close(std::exchange(op.closes, -1));
  if (op.buffer && idle_buffers_ >= buffers_kept) op.buffer.reset();
  if (op.buffer) ++idle_buffers_;
  idle_.push_front(op);
}

void operation_pool::refuse(operation& op, int result) noexcept {
  // close(2) frees the descriptor whatever it says.
  if (op.request.kind == op_kind::close) ::close(op.request.fd);
  op.where = operation::state::refused;
  op.result = result;
  refused_.push_back(op);
}

void operation_pool::finish_refused() noexcept {
  // Those that are refused meanwhile are for the next turn.
  operation_list now;
  now.splice_back(refused_);
  while (!now.empty()) {
    operation& op = now.front();
    ++in_flight_count_;
    complete(op, op.result);
  }
}

void operation_pool::complete(operation& op, int result) noexcept {
  if (observed_ != nullptr) tell_finished(op, result);
  op.tagged_hook<operation_in_pool>::unlink();
  --in_flight_count_;
  if (op.kept) {
    rest(op);
    op.user->on_complete(op, result);
    return;
  }
  if (operation_user* user = op.user) {
    user->operation_ = nullptr;
    user->on_complete(op, result);
  } else if (op.request.kind == op_kind::open && result >= 0) {
    ::close(result);
  }
  put_back(op);
}

void operation_pool::progress(operation& op, const std::shared_ptr<receive_buffers>& buffers,
                              std::uint16_t id, std::uint32_t length) noexcept {
  buffers->taken();
  if (op.user != nullptr && length > 0) {
    op.user->on_progress(op, id, length);
  } else {
    buffers->give_back(id);
  }
}

void operation_pool::accepted(operation& op, int fd) noexcept {
  if (op.user != nullptr) {
    op.user->on_accepted(op, fd);
    return;
  }
  // Nobody has seen it, so that its peer gets a reset as from a listener that is closed.
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(fd);
}

void operation_pool::part_from_users() noexcept {
  for (auto& op : all_) {
    if (op->user != nullptr) op->user->operation_ = nullptr;
    op->user = nullptr;
    op->kept = false;
  }
}

operation& operation_user::prepare(loop& owner, const op_request& request) {
  owner_ = &owner;
  if (operation_ == nullptr) operation_ = &owner.operations_->take();
  operation_->request = request;
  operation_->user = this;
  return *operation_;
}

void operation_user::keep(loop& owner) {
  prepare(owner, {}).kept = true;
}

bool operation_user::observed(const loop& owner) noexcept {
  return owner.observer_ != nullptr;
}

void operation_user::submit() noexcept {
  const int refusal = owner_->observer_ == nullptr ? 0 : tell_started();
  if (refusal != 0) {
    ++owner_->metrics_.operations;
    owner_->operations_->refuse(*operation_, refusal);
    return;
  }
  operation_->where = operation::state::submitted;
  owner_->operations_->started(*operation_);
  ++owner_->metrics_.operations;
  owner_->backend_->submit(*operation_);
}

void operation_user::cancel() noexcept {
  if (!busy() || operation_->cancel_requested) return;
  operation_->cancel_requested = true;
  if (operation_->where == operation::state::refused) return;
  owner_->backend_->cancel(*operation_);
}

void operation_user::abandon() noexcept {
  if (operation_ == nullptr) return;
  if (operation_->where == operation::state::idle) {
    owner_->operations_->put_back(*std::exchange(operation_, nullptr));
    return;
  }
  operation_->user = nullptr;
  operation_->kept = false;
  // A close whose awaiter is gone still has to happen.
  if (operation_->request.kind != op_kind::close) cancel();
  operation_ = nullptr;
}

std::uint64_t operation_user::new_watch(loop& owner) noexcept {
  return owner.operations_->new_watch();
}

void operation_user::abandon_and_close(int fd) noexcept {
  operation_->closes = fd;
  abandon();
}

void operation_user::abandon_and_reap(int pidfd) noexcept {
  operation_->closes = pidfd;
  operation_->reaps = true;
  operation_->user = nullptr;
  operation_->kept = false;
  operation_ = nullptr;
}

const std::shared_ptr<receive_buffers>& operation_user::buffers_of(loop& owner) noexcept {
  return owner.backend_->buffers();
}

bool operation_user::has_received() const noexcept {
  return busy() && owner_->backend_->has_received(*operation_);
}

bool operation_user::accepts(loop& owner) noexcept {
  return owner.backend_->accepts();
}

bool operation_user::batches_sends(loop& owner) noexcept {
  return owner.backend_->batches_sends();
}

void operation_user::on_accepted(operation&, int) noexcept {
  fail(
      "runnel: an operation that accepts nothing told of a connection; this is a fault of the "
      "backend.");
}

void operation_user::on_progress(operation&, std::uint16_t, std::uint32_t) noexcept {
  fail(
      "runnel: an operation that is not a multishot one told of progress; this is a fault of the "
      "backend.");
}

void op_awaiter::begin() noexcept {
  if (cancelled()) {
    result_ = -ECANCELED;
    wake();
    return;
  }
  try {
    fill(prepare(owner(), request_));
  } catch (const std::bad_alloc&) {
    abandon();
    result_ = -ENOMEM;
    wake();
    return;
  }
  submit();
}

wait_description op_awaiter::describe() const {
  std::string fd = "fd " + std::to_string(request_.fd);
  switch (request_.kind) {
    case op_kind::poll:
      return {"poll", std::move(fd)};
    case op_kind::read:
      return {"read", std::move(fd)};
    case op_kind::write:
      return {"write", std::move(fd)};
    case op_kind::open:
      return {"open"};
    case op_kind::size:
      return {"file size", std::move(fd)};
    case op_kind::close:
      return {"close", std::move(fd)};
    case op_kind::receive:
      return {"receive", std::move(fd)};
    case op_kind::accept:
      return {"accept", std::move(fd)};
    case op_kind::send:
      return {"send", std::move(fd)};
    default:
      return {"kernel operation", std::move(fd)};
  }
}

void op_awaiter::on_complete(operation&, int result) noexcept {
  result_ = result;
  wake();
}

}  // namespace runnel::detail
