#include "runnel/net/pipe.hpp"

#include "pipe_end.hpp"
#include "runnel/detail/check.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace runnel::net::detail {
namespace {

std::error_code code(std::errc value) noexcept {
  return std::make_error_code(value);
}

}  // namespace

bool pipe_buffer::prepare() noexcept {
  if (!bytes_) bytes_.reset(new (std::nothrow) std::byte[capacity_]);
  return bytes_ != nullptr;
}

std::size_t pipe_buffer::push(std::span<const std::byte> bytes) noexcept {
  const std::size_t count = std::min(bytes.size(), room());
  const std::size_t at = (first_ + size_) % capacity_;
  const std::size_t before_wrap = std::min(count, capacity_ - at);
  if (count != 0) {
    std::memcpy(bytes_.get() + at, bytes.data(), before_wrap);
    std::memcpy(bytes_.get(), bytes.data() + before_wrap, count - before_wrap);
  }
  size_ += count;
  return count;
}

std::size_t pipe_buffer::pop(std::span<std::byte> into) noexcept {
  const std::size_t count = std::min(into.size(), size_);
  const std::size_t before_wrap = std::min(count, capacity_ - first_);
  if (count != 0) {
    std::memcpy(into.data(), bytes_.get() + first_, before_wrap);
    std::memcpy(into.data() + before_wrap, bytes_.get(), count - before_wrap);
  }
  first_ = (first_ + count) % capacity_;
  size_ -= count;
  return count;
}

void pipe_buffer::discard() noexcept {
  bytes_.reset();
  first_ = 0;
  size_ = 0;
}

void add_reference(pipe_end& to) noexcept {
  ++to.pair->references;
}

void drop_reference(pipe_end& to) noexcept {
  if (--to.pair->references == 0) delete to.pair;
}

void pipe_end::alarm::set(time_point when) noexcept {
  expired_ = false;
  if (when <= owner().now()) {
    cancel();
    on_expire();
  } else {
    arm(when);
  }
}

void pipe_end::alarm::on_expire() noexcept {
  expired_ = true;
  if (*waiting_ != nullptr) (*waiting_)->fail(errc::deadline_exceeded);
}

pipe_end::pipe_end(pipe_pair& both, loop& owner, std::size_t capacity,
                   const endpoint& name) noexcept
    : pair(&both),
      local(name),
      inbound(std::max<std::size_t>(capacity, 1)),
      read_alarm(owner, reader),
      write_alarm(owner, writer) {}

std::error_code pipe_end::local_error() const noexcept {
  if (closed) return code(std::errc::bad_file_descriptor);
  if (aborted) return code(std::errc::connection_aborted);
  return {};
}

std::error_code pipe_end::read_error() const noexcept {
  if (const auto error = local_error()) return error;
  if (read_alarm.expired()) return errc::deadline_exceeded;
  if (reset && inbound.size() == 0) return code(std::errc::connection_reset);
  return {};
}

std::error_code pipe_end::write_error() const noexcept {
  if (const auto error = local_error()) return error;
  if (write_alarm.expired()) return errc::deadline_exceeded;
  if (reset) return code(std::errc::connection_reset);
  if (shut || peer->closed) return code(std::errc::broken_pipe);
  return {};
}

bool pipe_end::read_ready() const noexcept {
  return inbound.size() != 0 || finished || read_error();
}

std::size_t pipe_end::take(std::span<std::byte> into) noexcept {
  const std::size_t count = inbound.pop(into);
  pipe_op* const blocked = peer->writer;
  if (count != 0 && blocked != nullptr && blocked->waiting()) {
    if (static_cast<pipe_write*>(blocked)->advance()) blocked->wake();
  }
  return count;
}

void pipe_end::on_finish() noexcept {
  finished = true;
  if (reader != nullptr) reader->wake();
}

void pipe_end::on_reset() noexcept {
  reset = true;
  if (reader != nullptr) reader->wake();
  if (writer != nullptr) writer->fail(code(std::errc::connection_reset));
}

void pipe_end::fail_waiters(std::error_code why) noexcept {
  if (reader != nullptr) reader->fail(why);
  if (writer != nullptr) writer->fail(why);
  read_alarm.cancel();
  write_alarm.cancel();
  inbound.discard();
}

result<void> pipe_end::shutdown() noexcept {
  if (const auto error = local_error()) return error;
  if (reset) return code(std::errc::connection_reset);
  if (shut) return {};
  shut = true;
  if (writer != nullptr) writer->fail(code(std::errc::broken_pipe));
  peer->on_finish();
  return {};
}

pipe_ending pipe_end::close() noexcept {
  if (closed) return pipe_ending{ending};
  const bool unread = inbound.size() != 0;
  if (aborted || unread) ending = code(std::errc::connection_aborted);
  if (reset) ending = code(std::errc::connection_reset);
  closed = true;
  fail_waiters(code(std::errc::bad_file_descriptor));
  if (aborted || reset || peer->closed || peer->aborted) return pipe_ending{ending};
  if (unread) {
    peer->on_reset();
  } else {
    if (peer->writer != nullptr) peer->writer->fail(code(std::errc::broken_pipe));
    peer->on_finish();
  }
  return pipe_ending{ending};
}

void pipe_end::abort() noexcept {
  if (closed || aborted) return;
  aborted = true;
  fail_waiters(code(std::errc::connection_aborted));
  if (!reset && !peer->closed) peer->on_reset();
}

void pipe_op::occupy(pipe_op* pipe_end::*place) noexcept {
  pipe_op*& there = *end_.operator->().*place;
  runnel::detail::check(
      there == nullptr,
      "runnel: a second task reads, or writes, one end of a pipe; a stream has one "
      "reader and one writer at a time.");
  there = this;
  place_ = &there;
}

void pipe_op::release() noexcept {
  if (place_ != nullptr) *std::exchange(place_, nullptr) = nullptr;
}

bool pipe_read::begin() noexcept {
  occupy(&pipe_end::reader);
  return into_.empty() || end_->read_ready();
}

result<std::size_t> pipe_read::await_resume() noexcept {
  release();
  if (error_) return error_;
  if (const auto error = end_->read_error()) return error;
  return end_->take(into_);
}

bool pipe_readable::begin() noexcept {
  occupy(&pipe_end::reader);
  return end_->read_ready();
}

result<void> pipe_readable::await_resume() noexcept {
  release();
  if (error_) return error_;
  if (const auto error = end_->read_error()) return error;
  return {};
}

bool pipe_write::begin() noexcept {
  occupy(&pipe_end::writer);
  error_ = end_->write_error();
  if (!error_ && !end_->peer->inbound.prepare()) error_ = code(std::errc::not_enough_memory);
  return error_ || advance();
}

bool pipe_write::advance() noexcept {
  pipe_end& to = *end_->peer;
  for (;;) {
    const std::size_t moved = to.inbound.push(current_);
    current_ = current_.subspan(moved);
    taken_ += moved;
    if (moved != 0 && to.reader != nullptr) to.reader->wake();
    if (!current_.empty()) return false;
    if (pieces_.empty()) return true;
    current_ = pieces_.front();
    pieces_ = pieces_.subspan(1);
  }
}

result<std::size_t> pipe_write::await_resume() noexcept {
  release();
  if (error_ && taken_ == 0) return error_;
  return taken_;
}

result<void> pipe_drained::await_resume() noexcept {
  if (error_) return error_;
  if (const auto error = end_->local_error()) return error;
  if (end_->reset) return code(std::errc::connection_reset);
  return {};
}

pipe_ending pipe_close::await_resume() noexcept {
  return end_->close();
}

}  // namespace runnel::net::detail

namespace runnel::net {

std::pair<pipe_stream, pipe_stream> pipe_stream::make(loop& owner, const pipe_options& options) {
  auto* const pair = new detail::pipe_pair(owner, options.capacity, options.first, options.second);
  return {pipe_stream{detail::pipe_ref{pair->first}}, pipe_stream{detail::pipe_ref{pair->second}}};
}

const detail::pipe_ref& pipe_stream::checked() const noexcept {
  runnel::detail::check(static_cast<bool>(end_), "runnel: a pipe_stream was used that holds none.");
  return end_;
}

void pipe_stream::drop() noexcept {
  if (end_) end_->close();
}

result<void> pipe_stream::shutdown() noexcept {
  return checked()->shutdown();
}
void pipe_stream::abort() noexcept {
  checked()->abort();
}
void pipe_stream::set_read_deadline(time_point when) noexcept {
  checked()->set_read_deadline(when);
}
void pipe_stream::set_write_deadline(time_point when) noexcept {
  checked()->set_write_deadline(when);
}
endpoint pipe_stream::local_endpoint() const noexcept {
  return checked()->local;
}
endpoint pipe_stream::remote_endpoint() const noexcept {
  return checked()->peer->local;
}
std::size_t pipe_stream::unread_bytes() const noexcept {
  return checked()->inbound.size();
}

}  // namespace runnel::net
