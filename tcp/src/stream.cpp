#include "runnel/tcp/stream.hpp"

#include "runnel/detail/check.hpp"
#include "runnel/tcp/error_code.hpp"
#include "stack_core.hpp"

namespace runnel::tcp {

detail::socket& stream::checked() const noexcept {
  runnel::detail::check(socket_ != nullptr,
                        "runnel: an operation on a tcp::stream that holds no connection; it was "
                        "moved from or never connected.");
  return *socket_;
}

void stream::drop() noexcept {
  if (socket_ == nullptr) return;
  detail::socket* gone = std::exchange(socket_, nullptr);
  gone->stack->free_socket(gone);
}

result<void> stream::shutdown() noexcept {
  detail::socket& s = checked();
  if (const std::error_code failed = s.failure()) return failed;
  if (s.ended) return s.ended;
  if (const error refused = s.stack->engine().shutdown(s.id, s.stack->now());
      refused != error::none) {
    return to_error_code(refused);
  }
  return {};
}

void stream::abort() noexcept {
  detail::socket& s = checked();
  if (!s.open) return;
  s.stack->engine().close(s.id, close_mode::abort, s.stack->now());
  s.aborted = true;
}

void stream::set_nodelay(bool on) noexcept {
  detail::socket& s = checked();
  if (s.open) s.stack->engine().set_nodelay(s.id, on);
}

void stream::set_cork(bool on) noexcept {
  detail::socket& s = checked();
  if (s.open) s.stack->engine().set_cork(s.id, on);
}

void stream::set_quickack(bool on) noexcept {
  detail::socket& s = checked();
  if (s.open) s.stack->engine().set_quickack(s.id, on);
}

tcp::snapshot stream::info() const noexcept {
  detail::socket& s = checked();
  return s.stack->engine().snapshot(s.id).value;
}

net::endpoint stream::local_endpoint() const noexcept {
  return info().local;
}
net::endpoint stream::remote_endpoint() const noexcept {
  return info().remote;
}

}  // namespace runnel::tcp
