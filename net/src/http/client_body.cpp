#include <algorithm>
#include <cstring>
#include <utility>

#include "client_exchange.hpp"
#include "runnel/net/http/client_response.hpp"
#include "runnel/net/http/error.hpp"

namespace runnel::http {

std::optional<std::uint64_t> client_body::size() const noexcept {
  switch (exchange_->framing) {
    case framing::none:
      return 0;
    case framing::length:
      return exchange_->length;
    case framing::chunked:
    case framing::until_close:
      return std::nullopt;
  }
  return std::nullopt;
}

bool client_body::done() const noexcept {
  return exchange_->done;
}

task<result<std::size_t>> client_body::read(std::span<std::byte> into) {
  return exchange_->read_body(into);
}

task<result<void>> client_body::read_into(std::string& collected, std::uint64_t limit) {
  // What was announced is believed only as fast as it comes.
  constexpr std::uint64_t first_room = std::uint64_t{16} << 10;
  detail::client_exchange& x = *exchange_;
  const std::size_t start = collected.size();
  for (;;) {
    const std::size_t begin = collected.size();
    const std::uint64_t so_far = begin - start;
    std::uint64_t expected = std::max<std::uint64_t>(first_room, so_far);
    if (x.framing == framing::length) expected = std::min(expected, x.left);
    // One byte beyond the limit shows that there is more.
    const std::uint64_t room = std::min(expected, limit - so_far) + 1;
    collected.resize(begin + static_cast<std::size_t>(room));
    const auto got =
        co_await x.read_body(std::as_writable_bytes(std::span{collected}.subspan(begin)));
    collected.resize(begin + (got ? *got : 0));
    if (!got) co_return got.error();
    if (*got == 0) co_return result<void>{};
    if (collected.size() - start > limit) {
      x.abandon();
      if (!x.failure) x.failure = errc::body_too_large;
      co_return x.failure;
    }
  }
}

task<result<std::string>> client_body::read_all(std::uint64_t limit) {
  std::string collected;
  const auto read = co_await read_into(collected, limit);
  if (!read) co_return read.error();
  co_return std::move(collected);
}

task<result<std::uint64_t>> client_body::discard() {
  detail::client_exchange& x = *exchange_;
  std::uint64_t total = x.drop_buffered();
  for (;;) {
    const auto got = co_await x.read_body(x.core->waste());
    if (!got) co_return got.error();
    if (*got == 0) co_return total;
    total += *got;
  }
}

client_response::~client_response() {
  if (body_.exchange_ == nullptr) return;
  detail::client_core& core = *body_.exchange_->core;
  body_.exchange_->abandon();
  core.give_back(std::unique_ptr<detail::client_exchange>{body_.exchange_});
}

const response_head& client_response::head() const noexcept {
  return body_.exchange_->head;
}

bool client_response::reused_connection() const noexcept {
  return body_.exchange_->reused;
}

namespace detail {
namespace {

/// Reads into the caller's buffer go straight there when it is at least this large.
constexpr std::size_t smallest_direct_read = 1024;

}  // namespace

void client_exchange::clear() noexcept {
  parser.reset();
  input.clear();
  output.clear();
  failure.clear();
  left = 0;
  length = 0;
  framing = framing::none;
  done = false;
  keeps = false;
  reused = false;
}

void client_exchange::start_body(bool keeps_connection) noexcept {
  keeps = keeps_connection;
  framing = head.framing();
  length = head.content_length();
  left = framing == framing::until_close ? UINT64_MAX : framing == framing::length ? length : 0;
  if (framing == framing::none) {
    finish();
  } else if (framing == framing::length && input.size() >= left) {
    // The connection is free for the next request before anybody reads.
    keeps = keeps && input.size() == left;
    if (input.size() > left) ++core->counters().surplus;
    let_go();
  }
}

void client_exchange::reset_connection() noexcept {
  if (!connection) return;
  connection->abort();
  core->drop(std::move(connection));
}

void client_exchange::let_go() noexcept {
  if (!connection) return;
  if (keeps) {
    core->keep(std::move(connection));
  } else {
    core->drop(std::move(connection));
  }
}

void client_exchange::finish() noexcept {
  done = true;
  if (!input.empty() && connection) {
    keeps = false;
    ++core->counters().surplus;
  }
  let_go();
}

void client_exchange::fail(std::error_code why) noexcept {
  failure = why;
  reset_connection();
}

void client_exchange::abandon() noexcept {
  if (!connection) return;
  ++core->counters().abandoned;
  reset_connection();
}

std::uint64_t client_exchange::drop_buffered() noexcept {
  if (framing != framing::length || done || failure || input.size() < left) return 0;
  input.consume(static_cast<std::size_t>(left));
  done = true;
  let_go();
  return std::exchange(left, 0);
}

std::size_t client_exchange::take_buffered(std::span<std::byte> into) {
  if (framing == framing::chunked) {
    const decode_result step =
        parser.decode(input.text(), {reinterpret_cast<char*>(into.data()), into.size()});
    input.consume(step.consumed);
    // What came before the flaw is given, and the flaw by the next read.
    if (step.state == parse_result::failed) fail(parser.error());
    if (step.state == parse_result::complete) finish();
    return step.produced;
  }
  const auto taken =
      static_cast<std::size_t>(std::min<std::uint64_t>(left, std::min(into.size(), input.size())));
  if (taken > 0) std::memcpy(into.data(), input.text().data(), taken);
  input.consume(taken);
  if (framing == framing::length) left -= taken;
  if (left == 0) finish();
  return taken;
}

bool client_exchange::takes_directly(std::size_t room) const noexcept {
  return framing != framing::chunked && room >= smallest_direct_read;
}

task<result<std::size_t>> client_exchange::read_body(std::span<std::byte> into) {
  for (;;) {
    if (failure) co_return failure;
    if (done || into.empty()) co_return std::size_t{0};
    const std::size_t buffered = take_buffered(into);
    if (buffered > 0) co_return buffered;
    if (done || failure) continue;
    const bool direct = takes_directly(into.size());
    std::span<std::byte> room = input.room();
    if (direct) {
      room = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(left, into.size())));
    }
    connection->set_read_deadline(after(core->now(), core->options().body_timeout));
    const auto got = co_await connection->read_some(room);
    on_received(got, direct);
    if (direct && got && *got > 0) co_return *got;
  }
}

void client_exchange::on_received(const result<std::size_t>& outcome, bool direct) noexcept {
  if (!outcome) {
    const bool late = outcome.error() == runnel::errc::deadline_exceeded;
    if (late) ++core->counters().body_timeouts;
    fail(late ? make_error_code(errc::timed_out) : outcome.error());
  } else if (*outcome > 0) {
    if (!direct) {
      input.commit(*outcome);
    } else if (framing == framing::length) {
      left -= *outcome;
      if (left == 0) finish();
    }
  } else if (framing == framing::until_close) {
    finish();
  } else {
    fail(errc::truncated);
  }
}

}  // namespace detail
}  // namespace runnel::http
