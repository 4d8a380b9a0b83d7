#include "pipe_end.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/net/pipe.hpp"

#include <algorithm>
#include <new>

namespace runnel::net::detail {
namespace {

std::error_code code(std::errc value) noexcept {
  return std::make_error_code(value);
}

}  // namespace

void add_reference(pipe_queue& to) noexcept {
  ++to.references;
}

void drop_reference(pipe_queue& to) noexcept {
  if (--to.references == 0) delete &to;
}

bool pipe_queue::begin(pipe_accept& who) noexcept {
  if (closed_) {
    who.error_ = code(std::errc::bad_file_descriptor);
    return true;
  }
  if (backlog_.empty()) {
    acceptors_.push_back(who);
    return false;
  }
  who.child_ = take_first();
  admit_waiting();
  return true;
}

bool pipe_queue::begin(pipe_connect& who) noexcept {
  if (closed_) {
    who.error_ = code(std::errc::connection_refused);
    return true;
  }
  if (full() && acceptors_.empty()) {
    connectors_.push_back(who);
    return false;
  }
  return establish(who);
}

bool pipe_queue::establish(pipe_connect& who) noexcept {
  endpoint from = who.from_;
  if (from.port == 0) {
    constexpr std::uint16_t first_port = 32768;
    from.port = static_cast<std::uint16_t>(first_port + next_port_++ % first_port);
  }
  auto* const pair = new (std::nothrow) pipe_pair(*owner_, options_.capacity, from, options_.local);
  if (pair == nullptr) {
    who.error_ = code(std::errc::not_enough_memory);
    return true;
  }
  who.mine_ = pipe_ref{pair->first};
  if (acceptors_.empty()) {
    keep(pair->second, false);
  } else {
    pipe_accept& acceptor = acceptors_.pop_front();
    acceptor.child_ = pipe_ref{pair->second};
    acceptor.wake();
  }
  return true;
}

void pipe_queue::keep(pipe_end& child, bool in_front) noexcept {
  ++child.pair->references;
  ++backlog_size_;
  if (in_front) {
    backlog_.push_front(child);
  } else {
    backlog_.push_back(child);
  }
}

pipe_ref pipe_queue::take_first() noexcept {
  pipe_end& child = backlog_.pop_front();
  pipe_ref taken{child};
  --child.pair->references;
  --backlog_size_;
  return taken;
}

void pipe_queue::admit_waiting() noexcept {
  while (!connectors_.empty() && !full()) {
    pipe_connect& next = connectors_.pop_front();
    establish(next);
    next.wake();
  }
}

void pipe_queue::put_back(pipe_ref child) noexcept {
  if (closed_) {
    child->abort();
  } else if (acceptors_.empty()) {
    keep(*child.operator->(), true);
  } else {
    pipe_accept& acceptor = acceptors_.pop_front();
    acceptor.child_ = std::move(child);
    acceptor.wake();
  }
}

void pipe_queue::close() noexcept {
  if (closed_) return;
  closed_ = true;
  while (!backlog_.empty()) take_first()->abort();
  while (!acceptors_.empty()) acceptors_.pop_front().fail(code(std::errc::bad_file_descriptor));
  while (!connectors_.empty()) connectors_.pop_front().fail(code(std::errc::connection_refused));
}

pipe_accept::~pipe_accept() {
  if (child_) queue_->put_back(std::move(child_));
}

bool pipe_accept::begin() noexcept {
  return queue_->begin(*this);
}

void pipe_accept::on_cancel() noexcept {
  hook::unlink();
  pipe_waiter::on_cancel();
}

wait_description pipe_accept::describe() const {
  return {"pipe accept", queue_->local().to_string()};
}

result<pipe_stream> pipe_accept::await_resume() noexcept {
  if (!child_) return error_;
  return pipe_queue::stream_of(std::move(child_));
}

pipe_connect::~pipe_connect() {
  if (mine_) mine_->abort();
}

bool pipe_connect::begin() noexcept {
  if (!queue_) {
    error_ = code(std::errc::connection_refused);
    return true;
  }
  return queue_->begin(*this);
}

void pipe_connect::on_cancel() noexcept {
  hook::unlink();
  pipe_waiter::on_cancel();
}

wait_description pipe_connect::describe() const {
  return {"pipe connect", queue_->local().to_string()};
}

result<pipe_stream> pipe_connect::await_resume() noexcept {
  if (!mine_) return error_;
  return pipe_queue::stream_of(std::move(mine_));
}

}  // namespace runnel::net::detail

namespace runnel::net {

pipe_listener::pipe_listener(loop& owner, const pipe_listener_options& options)
    : queue_(*new detail::pipe_queue(owner, options)) {}

pipe_listener& pipe_listener::operator=(pipe_listener&& other) noexcept {
  if (this != &other) {
    if (queue_) queue_->close();
    queue_ = std::move(other.queue_);
  }
  return *this;
}

pipe_listener::~pipe_listener() {
  if (queue_) queue_->close();
}

void pipe_listener::close() noexcept {
  queue_->close();
}
endpoint pipe_listener::local_endpoint() const noexcept {
  return queue_->local();
}
std::size_t pipe_listener::pending() const noexcept {
  return queue_->pending();
}

detail::pipe_connect pipe_connector::connect(const endpoint& to) noexcept {
  const endpoint from{address::v4(127, 0, 0, 1), 0};
  return {to == queue_->local() ? queue_ : detail::pipe_queue_ref{}, from};
}

}  // namespace runnel::net
