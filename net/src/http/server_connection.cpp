#include "runnel/net/http/detail/server_connection.hpp"

#include <algorithm>
#include <utility>

#include "emit.hpp"
#include "exchange.hpp"
#include "runnel/net/http/error.hpp"

namespace runnel::http::detail {
namespace {

/// Bodies up to this size are copied behind their head, so that both are one piece.
constexpr std::size_t largest_copied_body = 4096;

}  // namespace

server_connection::server_connection(ticket place) noexcept
    : place_(std::move(place)),
      header_deadline_(after(core().now(), core().options().header_timeout)) {
  core().add(*this);
}

server_connection::~server_connection() {
  release_exchange();
}

void server_connection::release_exchange() noexcept {
  if (!exchange_) return;
  exchange_->clear();
  core().give_back(std::move(exchange_));
}

void server_connection::on_wait() noexcept {
  release_exchange();
  phase_ = phase::wait;
  if (place_.through().draining()) {
    on_drain();
  } else {
    set_read_deadline(requests_ == 0 ? header_deadline_
                                     : after(core().now(), core().options().keepalive_timeout));
  }
}

// A connection that has just been accepted usually has its first request on the way, and a busy
// client its next one; the others have been told nothing, so closing them loses nothing.
void server_connection::on_drain() noexcept {
  if (phase_ != phase::wait) return;
  const server_options& options = core().options();
  const bool fresh = requests_ == 0;
  const time_point limit = after(core().now(), fresh ? options.drain_courtesy : options.drain_idle);
  set_read_deadline(fresh ? std::min(header_deadline_, limit) : limit);
}

bool server_connection::on_wake(const result<void>& outcome) {
  if (outcome) {
    exchange_ = core().take_exchange();
    exchange_->request.body_.connection_ = this;
    phase_ = phase::head;
    woken_ = true;
    behind_ = false;
    return true;
  }
  if (outcome.error() == runnel::errc::deadline_exceeded) {
    server_counters& counters = core().counters();
    if (!place_.through().draining()) {
      ++(requests_ == 0 ? counters.header_timeouts : counters.keepalive_timeouts);
    }
    finish(ending::linger);
  } else {
    finish(outcome.error() == runnel::errc::cancelled ? ending::abort : ending::lost);
  }
  return false;
}

next_step server_connection::next() {
  next_step step = next_step::rest;
  for (;;) {
    switch (phase_) {
      case phase::wait:
      case phase::handling:
        return next_step::rest;
      case phase::head:
        if (step_head(step)) return step;
        break;
      case phase::ready:
        // A client may send a body only when it has seen the responses before it.
        if (has_output() && (!exchange_->request.body_.done_ ||
                             exchange_->output.size() >= core().options().coalesce_bytes)) {
          return next_step::write;
        }
        phase_ = phase::handling;
        return next_step::handle;
      case phase::send:
        if (has_output()) return next_step::write;
        phase_ = phase::settle;
        break;
      case phase::stream:
        return next_step::stream_body;
      case phase::settle:
        if (step_settle(step)) return step;
        break;
      case phase::done:
        return has_output() ? next_step::write : next_step::rest;
    }
  }
}

bool server_connection::step_head(next_step& step) {
  exchange& x = *exchange_;
  if (x.input.empty()) {
    step = woken_ ? next_step::read : has_output() ? next_step::write : next_step::rest;
    return true;
  }
  switch (x.parser.parse(x.input.text(), x.request)) {
    case parse_result::complete:
      start_request();
      if (x.request.method() != method::connect) return false;
      // A tunnel is not a response, so no handler could answer it.
      ++core().counters().bad_requests;
      answer(status::not_implemented);
      return false;
    case parse_result::failed:
      ++core().counters().bad_requests;
      answer(x.parser.refusal());
      return false;
    case parse_result::need_more:
      break;
  }
  if (has_output()) {
    step = next_step::write;
    return true;
  }
  if (!header_timed_) arm_header_deadline();
  step = next_step::read;
  return true;
}

void server_connection::arm_header_deadline() noexcept {
  header_timed_ = true;
  header_deadline_ = after(core().now(), core().options().header_timeout);
  set_read_deadline(header_deadline_);
}

std::span<std::byte> server_connection::room() noexcept {
  return exchange_->input.room();
}

void server_connection::on_read(const result<std::size_t>& outcome) noexcept {
  const bool first = std::exchange(woken_, false);
  exchange& x = *exchange_;
  if (outcome) {
    x.input.commit(*outcome);
    if (*outcome > 0) return;
    peer_finished_ = true;
    if (!x.input.empty()) ++core().counters().truncated;
    finish(ending::close);
    return;
  }
  if (outcome.error() != runnel::errc::deadline_exceeded) {
    on_io_error(outcome.error());
    return;
  }
  if (first) {
    // The deadline of waiting, or of a drain, passed after readable() had said that there is
    // something: a request that has arrived is answered.
    arm_header_deadline();
    woken_ = true;
    return;
  }
  ++core().counters().header_timeouts;
  answer(status::request_timeout);
}

void server_connection::start_request() noexcept {
  exchange& x = *exchange_;
  server_counters& counters = core().counters();
  x.input.consume(x.parser.head_size());
  ++counters.requests;
  if (behind_) ++counters.pipelined;
  header_timed_ = false;
  http::request& request = x.request;
  request.remote_ = place_.remote();
  request.requests_before_ = requests_++;
  request_body& body = request.body_;
  body.framing_ = request.framing();
  body.left_ = request.content_length();
  body.received_ = 0;
  body.limit_ = core().options().max_body_bytes;
  if (body.failure_) body.failure_.clear();
  body.done_ = body.framing_ == framing::none;
  body.owes_continue_ = request.expects_continue();
  x.body_budget = core().options().body_timeout;
  phase_ = phase::ready;
}

request& server_connection::current() noexcept {
  return exchange_->request;
}

response& server_connection::slot() noexcept {
  return exchange_->response;
}

void server_connection::on_reply() {
  exchange& x = *exchange_;
  if (is_broken()) {
    phase_ = phase::done;
    return;
  }
  if (x.request.body_.failure_) {
    answer(body_refusal());
    return;
  }
  if (to_number(x.response.status()) < 200)
    x.response = response::plain(status::internal_server_error);
  x.closes = !keeps_connection();
  send_reply(x.request.method() == method::head);
}

void server_connection::on_handler_exception() {
  ++core().counters().handler_exceptions;
  if (is_broken()) {
    phase_ = phase::done;
    return;
  }
  answer(status::internal_server_error);
}

status server_connection::body_refusal() const noexcept {
  const std::error_code why = exchange_->request.body_.failure_;
  if (why == errc::body_too_large) return status::content_too_large;
  if (why == errc::timed_out) return status::request_timeout;
  return status::bad_request;
}

// Answers in the server's own name and ends the connection: there is no telling where the next
// request would begin.
void server_connection::answer(status code) {
  exchange& x = *exchange_;
  x.response = response::plain(code);
  x.closes = true;
  send_reply(false);
  finish(ending::linger);
}

bool server_connection::keeps_connection() noexcept {
  exchange& x = *exchange_;
  const server_options& options = core().options();
  const request_body& body = x.request.body_;
  if (!x.request.keep_alive() || x.response.closes() || place_.through().draining()) return false;
  if (requests_ >= options.keepalive_requests) {
    ++core().counters().keepalive_exhausted;
    return false;
  }
  // A client that was never told to continue may send its body, or the next request in its place.
  return body.done_ || (!body.owes_continue_ && body.left_ <= options.max_discard_bytes);
}

void server_connection::send_reply(bool head_only) {
  exchange& x = *exchange_;
  const response& made = x.response;
  const body_source* source = made.source();
  const std::string_view content = made.content();
  const bool http_1_0 = x.request.is_http_1_0();
  response_plan plan{.code = made.status(),
                     .date = core().date(),
                     .server = core().options().server_name,
                     .fields = made.headers().wire()};
  const bool empty = never_has_content(plan.code);
  if (!empty && source == nullptr) {
    plan.body = framing::length;
    plan.length = content.size();
  } else if (!empty) {
    const auto size = source->size();
    plan.body = size ? framing::length : http_1_0 ? framing::none : framing::chunked;
    plan.length = size.value_or(0);
    if (plan.body == framing::none) x.closes = until_close_ = true;
  }
  said_close_ = x.closes;
  if (x.closes) {
    plan.connection = connection_field::close;
  } else if (http_1_0) {
    plan.connection = connection_field::keep_alive;
  }
  ++core().counters().responses[std::min<unsigned>(to_number(plan.code) / 100, 5)];
  append_response_head(x.output, plan);
  phase_ = phase::settle;
  if (head_only || empty) return;
  if (source != nullptr) {
    phase_ = phase::stream;
  } else if (content.size() <= largest_copied_body) {
    x.output.append(content);
  } else {
    x.body = content;
    phase_ = phase::send;
  }
}

bool server_connection::step_settle(next_step& step) {
  exchange& x = *exchange_;
  request_body& body = x.request.body_;
  if (!body.done_ && !body.failure_ && !x.closes) {
    while (take_buffered(core().waste()) > 0) {
    }
    if (!body.done_ && !body.failure_) {
      step = has_output() ? next_step::write : next_step::discard_body;
      return true;
    }
  }
  if (x.closes || body.failure_) {
    const bool over = body.done_ && x.input.empty() && !x.request.keep_alive();
    finish(over || peer_finished_ ? ending::close : ending::linger);
    return false;
  }
  x.parser.reset();
  x.response.clear();
  behind_ = !x.input.empty();
  phase_ = phase::head;
  return false;
}

bool server_connection::has_output() const noexcept {
  return exchange_ && (!exchange_->output.empty() || !exchange_->body.empty());
}

std::span<const std::span<const std::byte>> server_connection::pieces() noexcept {
  exchange& x = *exchange_;
  const server_options& options = core().options();
  // A write that came back short has failed, and the next one says why; so its deadline stays.
  if (!x.short_write) set_write_deadline(after(core().now(), options.send_timeout));
  std::size_t count = 0;
  if (!x.output.empty()) x.pieces[count++] = x.output.bytes();
  if (!x.body.empty()) {
    x.pieces[count++] = std::as_bytes(std::span{x.body.substr(0, options.send_piece)});
  }
  const auto all = std::span{x.pieces}.first(count);
  x.writing = 0;
  for (const auto& piece : all) x.writing += piece.size();
  return all;
}

void server_connection::on_written(const result<std::size_t>& outcome) noexcept {
  if (!outcome) {
    if (outcome.error() == runnel::errc::deadline_exceeded) ++core().counters().send_timeouts;
    on_io_error(outcome.error());
    return;
  }
  exchange& x = *exchange_;
  x.short_write = *outcome < x.writing;
  const std::size_t buffered = std::min(*outcome, x.output.size());
  x.output.consume(buffered);
  x.body.remove_prefix(std::min(*outcome - buffered, x.body.size()));
}

void server_connection::on_io_error(std::error_code why) noexcept {
  exchange_->output.clear();
  exchange_->body = {};
  if (!exchange_->request.body_.failure_) exchange_->request.body_.failure_ = why;
  const bool ours = why == runnel::errc::deadline_exceeded || why == runnel::errc::cancelled;
  finish(ours ? ending::abort : ending::lost);
}

void server_connection::finish(http::detail::ending how) noexcept {
  ending_ = how;
  phase_ = phase::done;
}

duration server_connection::linger_limit() const noexcept {
  const server_options& options = core().options();
  const bool hurried = place_.through().draining();
  return hurried ? std::min(options.linger_timeout, options.drain_courtesy)
                 : options.linger_timeout;
}

parting server_connection::on_end() noexcept {
  release_exchange();
  if (ending_ == ending::abort) ++core().counters().aborted;
  if (ending_ == ending::lost) ++core().counters().lost;
  const server_options& options = core().options();
  const bool lingers = ending_ == ending::linger && options.close != net::departure::graceful;
  const bool client_can_begin = said_close_ && !until_close_ && !peer_finished_;
  if (options.close == net::departure::peer_first && client_can_begin) {
    return {net::departure::peer_first, options.client_close_grace, lingers};
  }
  if (lingers) return {net::departure::lingering, linger_limit(), true};
  return {};
}

void server_connection::on_left() noexcept {
  ++core().counters().left;
}

void server_connection::on_await_client() noexcept {
  set_read_deadline(after(core().now(), core().options().client_close_grace));
}

void server_connection::on_linger() noexcept {
  ++core().counters().lingered;
  set_read_deadline(after(core().now(), linger_limit()));
}

bool server_connection::keeps_lingering(const result<std::size_t>& outcome) noexcept {
  if (!outcome || *outcome == 0) return false;
  lingered_ += *outcome;
  return lingered_ < core().options().linger_bytes;
}

void server_connection::on_closed(bool clean) noexcept {
  if (!clean) ++core().counters().unclean_closes;
}

}  // namespace runnel::http::detail
