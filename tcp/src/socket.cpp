#include "runnel/tcp/detail/socket.hpp"

#include <utility>

#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/result.hpp"
#include "runnel/tcp/error_code.hpp"
#include "stack_core.hpp"

namespace runnel::tcp::detail {

void socket_waiter::on_cancel() noexcept {
  fail(errc::cancelled);
}

std::string socket_waiter::remote() const {
  if (socket_ == nullptr) return {};
  return socket_->stack->engine().ends(socket_->id).remote.to_string();
}

void socket_waiter::enter(socket_waiter*& slot) noexcept {
  slot_ = &slot;
  slot = this;
}

void lent::stand(socket& of) noexcept {
  socket_ = &of;
  of.stack->add(*this);
}

void socket_deadline::set(time_point when) noexcept {
  when_ = when;
  if (when == time_point::max()) return;
  if (!armed() || deadline() > when) arm(when);
}

bool socket_deadline::passed() const noexcept {
  return owner().now() >= when_;
}

void socket_deadline::on_expire() noexcept {
  if (when_ == time_point::max()) return;
  if (!passed()) {
    arm(when_);
  } else if (*slot_ != nullptr) {
    (*slot_)->fail(errc::deadline_exceeded);
  }
}

socket::socket(stack_core& owner) noexcept
    : stack(&owner), read_deadline(owner.owner(), reader), write_deadline(owner.owner(), writer) {}

socket::~socket() {
  runnel::detail::check(
      (reader == nullptr && writer == nullptr && drainer == nullptr && closer == nullptr &&
       filler == nullptr) ||
          runnel::detail::this_thread.teardown_depth > 0,
      "runnel: a tcp::stream was destroyed while an operation on it is awaited; cancel it first.");
  for (socket_waiter* each : {reader, writer, drainer, closer}) {
    if (each != nullptr) each->abandon();
  }
  for (lent* each : {borrower, filler}) {
    if (each != nullptr) each->abandon();
  }
  release();
}

void socket::release() noexcept {
  if (!open) return;
  open = false;
  stack->engine().release(id, stack->now());
}

void socket::on_events(events what) noexcept {
  constexpr events read_side = events::readable | events::closed;
  constexpr events write_side = events::writable | events::closed;
  const auto tell = [what](socket_waiter* who, events side) {
    if (who != nullptr && who->waiting() && any(what & side)) who->on_events(what);
  };
  tell(reader, read_side);
  tell(writer, write_side);
  tell(drainer, what);
  tell(closer, what);
}

void socket::fail_all(std::error_code why) noexcept {
  for (socket_waiter* each : {reader, writer, drainer, closer}) {
    if (each != nullptr) each->fail(why);
  }
}

bool socket::failed() const noexcept {
  return !open || closing || aborted || stack->link_failed();
}

std::error_code socket::failure() const noexcept {
  if (stack->link_error()) return stack->link_error();
  if (!open || closing) return std::make_error_code(std::errc::bad_file_descriptor);
  if (aborted) return std::make_error_code(std::errc::connection_aborted);
  return {};
}

void socket::begin_close() noexcept {
  closing = true;
  for (socket_waiter* each : {reader, writer, drainer}) {
    if (each != nullptr) each->fail(std::make_error_code(std::errc::bad_file_descriptor));
  }
}

void socket::begin_abort() noexcept {
  aborted = true;
  for (socket_waiter* each : {reader, writer, drainer}) {
    if (each != nullptr) each->fail(std::make_error_code(std::errc::connection_aborted));
  }
}

std::error_code socket::writer_failure() noexcept {
  if (failed()) return failure();
  if (write_deadline.passed()) return errc::deadline_exceeded;
  if (!ended) return {};
  return std::exchange(writer_told, true) ? std::make_error_code(std::errc::broken_pipe) : ended;
}

std::error_code socket::remember(error told) noexcept {
  if (told == error::none) return {};
  const std::error_code code = to_error_code(told);
  // A broken pipe is for writers alone: for a reader the stream had ended well before it.
  if (told == error::broken_pipe) return code;
  if (any(stack->engine().readiness(id) & events::closed)) ended = code;
  return code;
}

}  // namespace runnel::tcp::detail
