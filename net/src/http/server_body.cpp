#include <algorithm>
#include <cstring>
#include <utility>

#include "emit.hpp"
#include "exchange.hpp"
#include "runnel/net/http/detail/server_connection.hpp"
#include "runnel/net/http/error.hpp"

namespace runnel::http {

std::optional<std::uint64_t> request_body::size() const noexcept {
  if (framing_ == framing::chunked) return std::nullopt;
  return received_ + left_;
}

task<result<std::size_t>> request_body::read(std::span<std::byte> into) {
  return connection_->read_body(into);
}

task<result<std::string>> request_body::read_all(std::uint64_t limit) {
  // What was announced is believed only as fast as it comes.
  constexpr std::uint64_t first_room = std::uint64_t{16} << 10;
  std::string collected;
  while (!done_ || failure_) {
    const std::size_t begin = collected.size();
    std::uint64_t expected = std::max<std::uint64_t>(first_room, begin);
    if (framing_ == framing::length) expected = std::min(expected, left_);
    // One byte beyond the limit shows that there is more.
    const std::uint64_t room = std::min(expected, limit - begin) + 1;
    collected.resize(begin + static_cast<std::size_t>(room));
    const auto got = co_await read(std::as_writable_bytes(std::span{collected}.subspan(begin)));
    if (!got) co_return got.error();
    collected.resize(begin + *got);
    if (collected.size() > limit) {
      failure_ = errc::body_too_large;
      co_return failure_;
    }
  }
  co_return collected;
}

namespace detail {
namespace {

constexpr std::string_view continue_text = "HTTP/1.1 100 Continue\r\n\r\n";
/// Reads into a handler's buffer go straight there when it is at least this large.
constexpr std::size_t smallest_direct_read = 1024;

}  // namespace

void server_connection::fail_body(std::error_code why) noexcept {
  exchange_->request.body_.failure_ = why;
}

std::size_t server_connection::take_buffered(std::span<std::byte> into) {
  exchange& x = *exchange_;
  request_body& body = x.request.body_;
  std::size_t produced = 0;
  if (body.framing_ == framing::length) {
    if (body.received_ + body.left_ > body.limit_) {
      fail_body(errc::body_too_large);
      return 0;
    }
    produced = static_cast<std::size_t>(
        std::min<std::uint64_t>(body.left_, std::min(into.size(), x.input.size())));
    std::memcpy(into.data(), x.input.text().data(), produced);
    x.input.consume(produced);
    body.left_ -= produced;
    body.done_ = body.left_ == 0;
  } else {
    const decode_result step =
        x.parser.decode(x.input.text(), {reinterpret_cast<char*>(into.data()), into.size()});
    x.input.consume(step.consumed);
    produced = step.produced;
    body.done_ = step.state == parse_result::complete;
    if (step.state == parse_result::failed) fail_body(x.parser.error());
    if (body.received_ + produced > body.limit_) {
      fail_body(errc::body_too_large);
      return 0;
    }
  }
  body.received_ += produced;
  if (produced > 0) body.owes_continue_ = false;
  return produced;
}

task<result<std::size_t>> server_connection::read_body(std::span<std::byte> into) {
  request_body& body = exchange_->request.body_;
  for (;;) {
    if (body.failure_) co_return body.failure_;
    if (body.done_ || into.empty()) co_return std::size_t{0};
    const std::size_t buffered = take_buffered(into);
    if (buffered > 0) co_return buffered;
    if (body.done_ || body.failure_) continue;
    const auto direct = co_await receive_body(into);
    if (!direct) co_return direct.error();
    if (*direct > 0) co_return *direct;
  }
}

// Waits for more of the body: straight into the handler's buffer, whose count it gives, or else
// into the connection's, which is 0.
task<result<std::size_t>> server_connection::receive_body(std::span<std::byte> into) {
  exchange& x = *exchange_;
  request_body& body = x.request.body_;
  if (std::exchange(body.owes_continue_, false)) x.output.append(continue_text);
  co_await flush();
  if (body.failure_) co_return body.failure_;
  const bool direct = body.framing_ == framing::length && into.size() >= smallest_direct_read;
  std::span<std::byte> room = into;
  if (direct) {
    room = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(body.left_, into.size())));
  } else {
    room = x.input.room();
  }
  const time_point began = core().now();
  set_read_deadline(body_deadline());
  const auto got = co_await read_some(room);
  on_body_read(began, got);
  if (body.failure_) co_return body.failure_;
  if (!direct) {
    x.input.commit(*got);
    co_return std::size_t{0};
  }
  body.left_ -= *got;
  body.received_ += *got;
  body.done_ = body.left_ == 0;
  co_return *got;
}

time_point server_connection::body_deadline() const noexcept {
  const server_options& options = core().options();
  return after(core().now(),
               options.body_rate == 0 ? options.body_timeout : exchange_->body_budget);
}

void server_connection::on_body_read(time_point began,
                                     const result<std::size_t>& outcome) noexcept {
  const server_options& options = core().options();
  exchange& x = *exchange_;
  if (!outcome && outcome.error() == runnel::errc::deadline_exceeded) {
    ++core().counters().body_timeouts;
    fail_body(errc::timed_out);
    return;
  }
  if (!outcome) {
    on_io_error(outcome.error());
    return;
  }
  if (*outcome == 0) {
    ++core().counters().truncated;
    peer_finished_ = true;
    fail_body(errc::truncated);
    return;
  }
  if (options.body_rate == 0) return;
  const duration earned =
      duration{std::chrono::seconds{1}} * static_cast<std::int64_t>(*outcome) / options.body_rate;
  x.body_budget =
      std::min<duration>(x.body_budget - (core().now() - began) + earned, options.body_timeout);
}

task<> server_connection::flush() {
  while (has_output()) {
    const auto sent = co_await write_some(pieces());
    on_written(sent);
  }
}

task<> server_connection::discard_body() {
  exchange& x = *exchange_;
  request_body& body = x.request.body_;
  std::uint64_t dropped = 0;
  while (!body.done_ && !body.failure_ && !x.closes) {
    const auto got = co_await read_body(core().waste());
    if (!got) break;
    dropped += *got;
    if (dropped > core().options().max_discard_bytes) x.closes = true;
  }
}

task<> server_connection::stream_body() {
  constexpr std::size_t chunk_end = 2;
  exchange& x = *exchange_;
  body_source& source = *x.response.source();
  const auto size = source.size();
  const bool chunked = !size && !x.request.is_http_1_0();
  std::unique_ptr<std::byte[]> buffer = core().take_stream_buffer();
  const std::size_t begin = chunked ? chunk_line_bytes : 0;
  const std::size_t room = core().options().stream_bytes - begin - (chunked ? chunk_end : 0);
  std::uint64_t left = size.value_or(UINT64_MAX);
  bool failed = false;
  while (left > 0 && !failed) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, room));
    result<std::size_t> got = std::size_t{0};
    try {
      got = co_await source.read(std::span{buffer.get() + begin, wanted});
    } catch (...) {
      got = std::make_error_code(std::errc::io_error);
    }
    failed = !got || (*got == 0 && size) || *got > wanted;
    if (failed || *got == 0) break;
    char* const data = reinterpret_cast<char*>(buffer.get());
    std::size_t bytes = begin + *got;
    if (chunked) {
      put_chunk_line(data + begin, static_cast<std::uint32_t>(*got));
      data[bytes++] = '\r';
      data[bytes++] = '\n';
    }
    x.body = {data, bytes};
    if (size) left -= *got;
    co_await flush();
    if (is_broken()) break;
  }
  core().give_back(std::move(buffer));
  if (is_broken()) co_return;
  if (failed) {
    ++core().counters().source_errors;
    x.output.clear();
    finish(ending::abort);
    co_return;
  }
  if (chunked) x.output.append("0\r\n\r\n");
  phase_ = phase::settle;
}

}  // namespace detail
}  // namespace runnel::http
