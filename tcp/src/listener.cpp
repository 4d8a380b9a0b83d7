#include "runnel/tcp/listener.hpp"

#include "runnel/tcp/error_code.hpp"
#include "stack_core.hpp"

namespace runnel::tcp {

namespace detail {

bool listener_state::take(socket*& accepted, std::error_code& error) noexcept {
  const auto got = stack->engine().accept(id, 0);
  if (got.error == error::would_block) return false;
  if (!got) {
    error = to_error_code(got.error);
    return true;
  }
  accepted = stack->make_socket();
  if (accepted == nullptr) {
    stack->engine().close(got.value, close_mode::abort, stack->now());
    stack->engine().release(got.value, stack->now());
    error = std::make_error_code(std::errc::no_buffer_space);
    return true;
  }
  accepted->id = got.value;
  accepted->open = true;
  stack->engine().set_token(got.value, stack_core::token_of(*accepted));
  return true;
}

void listener_state::on_acceptable() noexcept {
  while (!accepting.empty()) {
    socket* accepted = nullptr;
    std::error_code error;
    if (!take(accepted, error)) return;
    accepting.front().give(accepted, error);
  }
}

listener_state::~listener_state() {
  close();
  stack->remove(*this);
}

void listener_state::fail_all(std::error_code why) noexcept {
  while (!accepting.empty()) accepting.front().give(nullptr, why);
}

void listener_state::close() noexcept {
  if (!open) return;
  open = false;
  stack->engine().close_listener(id, stack->now());
  fail_all(std::make_error_code(std::errc::bad_file_descriptor));
}

}  // namespace detail

listener::listener(std::unique_ptr<detail::listener_state> state) noexcept
    : state_(std::move(state)) {}
listener::listener(listener&&) noexcept = default;
listener& listener::operator=(listener&&) noexcept = default;
listener::~listener() = default;

detail::accept_awaiter listener::accept() noexcept {
  return detail::accept_awaiter(state_.get());
}

void listener::close() noexcept {
  if (state_ != nullptr) state_->close();
}

void listener::set_backlog(std::uint32_t backlog) noexcept {
  if (state_ != nullptr) state_->stack->engine().set_backlog(state_->id, backlog);
}

result<void> listener::set_policy(const listener_policy& own) {
  const bool open = state_ != nullptr && state_->open;
  return detail::to_result(open ? state_->stack->engine().set_listener_policy(state_->id, own)
                                : error::bad_handle);
}

listener_policy listener::policy() const {
  if (state_ == nullptr || !state_->open) return {};
  return state_->stack->engine().listener_settings(state_->id).value;
}

std::string listener::set(std::string_view name, std::string_view value) {
  if (state_ == nullptr || !state_->open) return "the listener is closed";
  return state_->stack->engine().set_listener(state_->id, name, value);
}

std::optional<std::string> listener::get(std::string_view name) const {
  if (state_ == nullptr || !state_->open) return {};
  return state_->stack->engine().get_listener(state_->id, name);
}

listener_snapshot listener::info() const noexcept {
  return state_ == nullptr ? listener_snapshot()
                           : state_->stack->engine().listener(state_->id).value;
}

net::endpoint listener::local_endpoint() const noexcept {
  return info().local;
}

}  // namespace runnel::tcp
