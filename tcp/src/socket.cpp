#include "runnel/tcp/detail/socket.hpp"

#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/result.hpp"
#include "stack_core.hpp"

namespace runnel::tcp::detail {

void socket_waiter::on_cancel() noexcept {
  fail(errc::cancelled);
}

void socket_waiter::enter(socket_waiter*& slot) noexcept {
  slot_ = &slot;
  slot = this;
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
      (reader == nullptr && writer == nullptr && closer == nullptr) ||
          runnel::detail::this_thread.teardown_depth > 0,
      "runnel: a tcp::stream was destroyed while an operation on it is awaited; cancel it first.");
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
  if (reader != nullptr && any(what & read_side)) reader->on_events(what);
  if (writer != nullptr && any(what & write_side)) writer->on_events(what);
  if (closer != nullptr) closer->on_events(what);
}

void socket::fail_all(std::error_code why) noexcept {
  for (socket_waiter* each : {reader, writer, closer}) {
    if (each != nullptr) each->fail(why);
  }
}

std::error_code socket::failure() const noexcept {
  if (stack->link_error()) return stack->link_error();
  if (!open) return std::make_error_code(std::errc::bad_file_descriptor);
  return {};
}

}  // namespace runnel::tcp::detail
