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
  s.begin_abort();
}

void stream::leave(net::departure how, duration time) noexcept {
  detail::socket& s = checked();
  if (s.open && !s.closing && !s.aborted && !s.stack->link_error()) {
    close_mode mode = close_mode::graceful;
    if (how == net::departure::lingering) mode = close_mode::lingering;
    if (how == net::departure::peer_first) mode = close_mode::peer_first;
    const auto limit = std::chrono::ceil<std::chrono::milliseconds>(time);
    s.stack->engine().close(s.id, mode, detail::close_time_in_range(limit), s.stack->now());
  }
  drop();
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

result<void> stream::set_policy(const connection_policy& own) {
  detail::socket& s = checked();
  return detail::to_result(s.open ? s.stack->engine().set_policy(s.id, own) : error::bad_handle);
}

connection_policy stream::policy() const {
  detail::socket& s = checked();
  return s.open ? s.stack->engine().connection_settings(s.id).value : connection_policy();
}

std::string stream::set(std::string_view name, std::string_view value) {
  detail::socket& s = checked();
  return s.open ? s.stack->engine().set(s.id, name, value) : "the stream is closed";
}

std::optional<std::string> stream::get(std::string_view name) const {
  detail::socket& s = checked();
  return s.open ? s.stack->engine().get(s.id, name) : std::nullopt;
}

tcp::snapshot stream::info() const noexcept {
  detail::socket& s = checked();
  return s.stack->engine().snapshot(s.id).value;
}

net::endpoint stream::local_endpoint() const noexcept {
  detail::socket& s = checked();
  return s.stack->engine().ends(s.id).local;
}
net::endpoint stream::remote_endpoint() const noexcept {
  detail::socket& s = checked();
  return s.stack->engine().ends(s.id).remote;
}

}  // namespace runnel::tcp
