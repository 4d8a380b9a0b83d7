#include "runnel/tcp/detail/awaiters.hpp"

#include <algorithm>
#include <utility>

#include "runnel/detail/check.hpp"
#include "runnel/tcp/error_code.hpp"
#include "runnel/tcp/stream.hpp"
#include "stack_core.hpp"

namespace runnel::tcp::detail {

void check_slot_free(const socket_waiter* slot) noexcept {
  runnel::detail::check(slot == nullptr,
                        "runnel: a second task reads, writes or closes a tcp::stream while one is "
                        "waiting; one of each kind at a time.");
}

namespace {

void check_not_lent(const socket& of) noexcept {
  runnel::detail::check(of.borrower == nullptr,
                        "runnel: a tcp::stream is read while a loan of it is out; consume all of "
                        "the loan or drop it first.");
}

}  // namespace

// ---- read
// ----------------------------------------------------------------------------------------

bool read_awaiter::wants_some() const noexcept {
  return !into_.empty() ||
         std::any_of(places_.begin(), places_.end(), [](auto each) { return !each.empty(); });
}

bool read_awaiter::attempt() noexcept {
  check_not_lent(*socket_);
  done_ = true;
  if (socket_->failed()) {
    error_ = socket_->failure();
    return true;
  }
  if (socket_->read_deadline.passed()) {
    error_ = errc::deadline_exceeded;
    return true;
  }
  host& engine = socket_->stack->engine();
  const auto got = places_.empty() ? engine.receive(socket_->id, into_, socket_->stack->now())
                                   : engine.receive(socket_->id, places_, socket_->stack->now());
  if (got.error == error::would_block) return done_ = false;
  taken_ = got.value;
  if (got.error != error::none) error_ = socket_->remember(got.error);
  if (taken_ == 0 && !error_ && wants_some()) error_ = socket_->ended;
  return true;
}

void read_awaiter::on_events(events) noexcept {
  wake();
}

result<std::size_t> read_awaiter::await_resume() noexcept {
  leave();
  // The bytes are taken only now, so that everything the burst brought is in them, and so that a
  // read that was cancelled meanwhile has taken nothing.
  if (!done_ && !error_) attempt();
  if (error_) return error_;
  return taken_;
}

bool readable_awaiter::attempt() noexcept {
  if (socket_->failed()) {
    error_ = socket_->failure();
    return true;
  }
  host& engine = socket_->stack->engine();
  if (any(engine.readiness(socket_->id) & events::readable)) return true;
  if (!socket_->read_deadline.passed()) {
    engine.start(socket_->id, socket_->stack->now());
    return false;
  }
  error_ = errc::deadline_exceeded;
  return true;
}

void readable_awaiter::on_events(events) noexcept {
  wake();
}

// ---- write
// ---------------------------------------------------------------------------------------

bool write_awaiter::attempt() noexcept {
  if ((error_ = socket_->writer_failure())) return true;
  for (;;) {
    if (current_.empty()) {
      if (pieces_.empty()) return true;
      current_ = pieces_.front();
      pieces_ = pieces_.subspan(1);
      continue;
    }
    const auto sent = socket_->stack->engine().send(socket_->id, current_, socket_->stack->now());
    taken_ += sent.value;
    current_ = current_.subspan(sent.value);
    if (sent.error == error::would_block) return false;
    if (sent.error != error::none) {
      error_ = socket_->remember(sent.error);
      // A short count says nothing yet.
      if (taken_ == 0) socket_->writer_told = true;
      return true;
    }
  }
}

void write_awaiter::on_events(events) noexcept {
  if (attempt()) wake();
}

// ---- drained and close
// ---------------------------------------------------------------------------

bool drained_awaiter::attempt() noexcept {
  if ((error_ = socket_->failure())) return true;
  if (!socket_->stack->engine().drained(socket_->id)) return false;
  error_ = outcome();
  return true;
}

void drained_awaiter::on_events(events what) noexcept {
  if (!any(what & (events::drained | events::closed))) return;
  // Before the task goes on a close may take the connection away, and with it how it ended.
  error_ = outcome();
  wake();
}

std::error_code drained_awaiter::outcome() const noexcept {
  switch (socket_->stack->engine().ended(socket_->id)) {
    case end_reason::none:
    case end_reason::clean:
      return {};
    case end_reason::timed_out:
      return std::make_error_code(std::errc::timed_out);
    case end_reason::aborted:
      return std::make_error_code(std::errc::connection_aborted);
    case end_reason::reset:
    case end_reason::refused:
      break;
  }
  return std::make_error_code(std::errc::connection_reset);
}

result<void> drained_awaiter::await_resume() noexcept {
  leave();
  if (error_) return error_;
  return {};
}

void close_awaiter::begin(host& engine) const noexcept {
  const time_point now = socket_->stack->now();
  if (!mode_) {
    engine.close(socket_->id, now);
  } else if (!time_) {
    engine.close(socket_->id, *mode_, now);
  } else {
    engine.close(socket_->id, *mode_, *time_, now);
  }
}

bool close_awaiter::attempt() noexcept {
  if (socket_->closed) return true;
  if ((error_ = socket_->failure())) return true;
  socket_->begin_close();
  host& engine = socket_->stack->engine();
  begin(engine);
  return engine.drained(socket_->id);
}

void close_awaiter::on_events(events what) noexcept {
  if (any(what & (events::drained | events::closed | events::close_time_over))) wake();
}

close_result close_awaiter::await_resume() noexcept {
  leave();
  if (socket_->closed) return socket_->closed_as;
  close_result result;
  host& engine = socket_->stack->engine();
  // In a scope that was cancelled before, the wait ends before it begins; the close does not.
  if (error_ == errc::cancelled && !socket_->failure()) begin(engine);
  result.lost_bytes = engine.unacked_bytes(socket_->id);
  switch (engine.ended(socket_->id)) {
    case end_reason::none:
      result.outcome =
          engine.drained(socket_->id) ? close_outcome::peer_still_open : close_outcome::unfinished;
      break;
    case end_reason::clean:
      result.outcome = close_outcome::clean;
      break;
    case end_reason::timed_out:
      result.outcome = close_outcome::timed_out;
      break;
    case end_reason::aborted:
      result.outcome = close_outcome::aborted;
      break;
    case end_reason::reset:
    case end_reason::refused:
      result.outcome = close_outcome::reset;
      break;
  }
  if (error_ == errc::cancelled) result.outcome = close_outcome::cancelled;
  if (socket_->stack->link_error()) result.outcome = close_outcome::link_lost;
  socket_->closed = true;
  socket_->closed_as = result;
  socket_->begin_close();
  socket_->release();
  return result;
}

// ---- connect
// -------------------------------------------------------------------------------------

connect_awaiter::~connect_awaiter() {
  leave();
  if (socket_ != nullptr) stack_->free_socket(std::exchange(socket_, nullptr));
}

bool connect_awaiter::begin() noexcept {
  error_ = stack_->link_error();
  socket* fresh = error_ ? nullptr : stack_->make_socket();
  if (fresh == nullptr) {
    if (!error_) error_ = std::make_error_code(std::errc::no_buffer_space);
    return true;
  }
  const auto opened =
      stack_->engine().connect(remote_, options_, stack_core::token_of(*fresh), stack_->now());
  if (!opened) {
    stack_->free_socket(fresh);
    error_ = to_error_code(opened.error);
    return true;
  }
  fresh->id = opened.value;
  fresh->open = true;
  socket_ = fresh;
  enter(socket_->closer);
  return false;
}

void connect_awaiter::on_events(events what) noexcept {
  if (any(what & events::closed)) {
    error_ = to_error_code(stack_->engine().pending_error(socket_->id));
  } else if (!any(what & events::connected)) {
    return;
  }
  wake();
}

result<stream> connect_awaiter::await_resume() noexcept {
  leave();
  if (!error_) return stream(*std::exchange(socket_, nullptr));
  if (socket_ != nullptr) stack_->free_socket(std::exchange(socket_, nullptr));
  return error_;
}

// ---- accept
// --------------------------------------------------------------------------------------

accept_awaiter::~accept_awaiter() {
  if (accepted_ != nullptr) accepted_->stack->free_socket(accepted_);
}

bool accept_awaiter::begin() noexcept {
  if (listener_ == nullptr || !listener_->open) {
    error_ = std::make_error_code(std::errc::bad_file_descriptor);
    return true;
  }
  if ((error_ = listener_->stack->link_error())) return true;
  // Where others wait already there is nothing to take.
  if (listener_->accepting.empty() && listener_->take(accepted_, error_)) return true;
  listener_->accepting.push_back(*this);
  return false;
}

void accept_awaiter::give(socket* accepted, std::error_code error) noexcept {
  runnel::detail::tagged_hook<accept_tag>::unlink();
  accepted_ = accepted;
  error_ = error;
  wake();
}

wait_description accept_awaiter::describe() const {
  return {"tcp accept", listener_->stack->engine().listener(listener_->id).value.local.to_string()};
}

result<stream> accept_awaiter::await_resume() noexcept {
  if (error_) return error_;
  return stream(*std::exchange(accepted_, nullptr));
}

}  // namespace runnel::tcp::detail
