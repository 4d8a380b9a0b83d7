#include "runnel/net/http/detail/client_call.hpp"

#include <algorithm>
#include <utility>

#include "client_exchange.hpp"
#include "emit.hpp"
#include "runnel/net/http/error.hpp"

namespace runnel::http::detail {
namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::string_view last_chunk = "0\r\n\r\n";

/// Whether the method lets a server expect a body, so that its absence is said (RFC 9110
/// section 8.6).
bool anticipates_body(method how) noexcept {
  return how == method::post || how == method::put || how == method::patch;
}

}  // namespace

client_call::client_call(client_core& core, const net::endpoint& to, const client_request& request,
                         body_source* source)
    : core_(&core), target_(&core.take_target(to)), request_(&request), source_(source) {
  try {
    exchange_ = core.take_exchange();
  } catch (...) {
    core.release(*target_);
    throw;
  }
  ++core.counters().requests;
}

client_call::~client_call() {
  if (exchange_) core_->give_back(std::move(exchange_));
  core_->release(*target_);
}

client_connection& client_call::connection() noexcept {
  return *exchange_->connection;
}

client_step client_call::next() {
  client_exchange& x = *exchange_;
  for (;;) {
    switch (phase_) {
      case phase::connect:
        if (!x.connection && !retried_) {
          x.connection = core_->take_idle(*target_);
          probing_ = x.connection != nullptr;
        }
        return probing_ ? client_step::probe : client_step::connect;
      case phase::send:
        if (has_output()) return client_step::write;
        if (withheld_) {
          phase_ = phase::permit;
          answer_deadline_ = after(core_->now(), core_->options().continue_timeout);
          break;
        }
        if (!source_done_) return client_step::fill;
        expect_answer();
        break;
      case phase::permit:
      case phase::head: {
        const phase before = phase_;
        if (!x.input.empty()) parse_head();
        if (phase_ == before) return client_step::read;
        break;
      }
      case phase::answered:
      case phase::failed:
        return client_step::done;
    }
  }
}

void client_call::on_probe(bool readable) {
  probing_ = false;
  if (readable) {
    ++core_->counters().stale;
    core_->drop(std::move(exchange_->connection));
    return;
  }
  ++core_->counters().reused;
  begin();
}

void client_call::on_connected(std::unique_ptr<client_connection> fresh) {
  core_->adopt(*fresh, *target_);
  exchange_->connection = std::move(fresh);
  ++core_->counters().opened;
  begin();
}

void client_call::on_connect_error(std::error_code why) noexcept {
  ++core_->counters().connect_errors;
  fail(why);
}

void client_call::begin() {
  const std::string_view content = request_->content();
  sent_ = 0;
  short_write_ = false;
  exchange_->reused = connection().used();
  if (source_ != nullptr) {
    source_left_ = source_->size();
    source_done_ = source_left_ == std::uint64_t{0};
  }
  withheld_ = request_->expects_continue() && (!content.empty() || !source_done_);
  append_head();
  phase_ = phase::send;
  if (!withheld_) release_body();
}

void client_call::append_head() {
  output_buffer& out = exchange_->output;
  const header_block& fields = request_->headers();
  const std::string_view content = request_->content();
  out.clear();
  out.append(to_string(request_->method()));
  out.append(" ");
  out.append(request_->target());
  out.append(" HTTP/1.1\r\n");
  if (!fields.contains("Host")) {
    out.append("Host: ");
    out.append(target_->host);
    out.append(line_end);
  }
  const std::string_view agent = core_->options().user_agent;
  if (!agent.empty() && !fields.contains("User-Agent")) {
    out.append("User-Agent: ");
    out.append(agent);
    out.append(line_end);
  }
  out.append(fields.wire());
  if (source_ != nullptr && !source_left_) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else if (source_ != nullptr) {
    append_content_length(out, *source_left_);
  } else if (!content.empty() || anticipates_body(request_->method())) {
    append_content_length(out, content.size());
  }
  if (withheld_) out.append("Expect: 100-continue\r\n");
  if (request_->closes()) out.append("Connection: close\r\n");
  out.append(line_end);
}

void client_call::release_body() noexcept {
  withheld_ = false;
  phase_ = phase::send;
  if (source_ != nullptr) return;
  body_ = request_->content();
}

bool client_call::has_output() const noexcept {
  return !exchange_->output.empty() || !body_.empty();
}

std::span<const std::span<const std::byte>> client_call::pieces() noexcept {
  const client_options& options = core_->options();
  output_buffer& out = exchange_->output;
  // A write that came back short has failed, and the next one says why; so its deadline stays.
  if (!short_write_) {
    connection().set_write_deadline(after(core_->now(), options.send_timeout));
  }
  std::size_t count = 0;
  if (!out.empty()) pieces_[count++] = out.bytes();
  if (!body_.empty()) {
    pieces_[count++] = std::as_bytes(std::span{body_.substr(0, options.send_piece)});
  }
  writing_ = 0;
  for (std::size_t i = 0; i < count; ++i) writing_ += pieces_[i].size();
  return std::span{pieces_}.first(count);
}

void client_call::on_written(const result<std::size_t>& outcome) noexcept {
  output_buffer& out = exchange_->output;
  if (outcome) {
    short_write_ = *outcome < writing_;
    sent_ += *outcome;
    const std::size_t buffered = std::min(*outcome, out.size());
    out.consume(buffered);
    body_.remove_prefix(std::min(*outcome - buffered, body_.size()));
    return;
  }
  if (outcome.error() == runnel::errc::cancelled) {
    fail(outcome.error());
  } else if (outcome.error() == runnel::errc::deadline_exceeded) {
    fail(errc::timed_out);
  } else if (sent_ == 0) {
    on_lost(outcome.error());
  } else {
    // The server may have answered what it had got of the request before it closed.
    send_failure_ = outcome.error();
    out.clear();
    body_ = {};
    expect_answer();
  }
}

std::span<std::byte> client_call::source_room() {
  const std::size_t most = core_->options().stream_bytes;
  source_started_ = true;
  if (!chunk_) {
    chunk_ = std::make_unique_for_overwrite<std::byte[]>(chunk_line_bytes + most + line_end.size());
  }
  const std::uint64_t wanted = source_left_.value_or(most);
  return {chunk_.get() + chunk_line_bytes,
          static_cast<std::size_t>(std::min<std::uint64_t>(wanted, most))};
}

void client_call::on_source(const result<std::size_t>& outcome) {
  if (!outcome) {
    fail(outcome.error());
    return;
  }
  const std::size_t size = *outcome;
  if (source_left_ && (size == 0 || size > *source_left_)) {
    fail(errc::body_mismatch);
    return;
  }
  char* const data = reinterpret_cast<char*>(chunk_.get()) + chunk_line_bytes;
  if (source_left_) {
    *source_left_ -= size;
    source_done_ = *source_left_ == 0;
    body_ = {data, size};
  } else if (size == 0) {
    source_done_ = true;
    body_ = last_chunk;
  } else {
    put_chunk_line(data, static_cast<std::uint32_t>(size));
    std::ranges::copy(line_end, data + size);
    body_ = {data - chunk_line_bytes, chunk_line_bytes + size + line_end.size()};
  }
}

void client_call::expect_answer() noexcept {
  phase_ = phase::head;
  answer_deadline_ = after(core_->now(), core_->options().header_timeout);
}

std::span<std::byte> client_call::room() noexcept {
  connection().set_read_deadline(answer_deadline_);
  return exchange_->input.room();
}

void client_call::on_read(const result<std::size_t>& outcome) {
  if (outcome && *outcome > 0) {
    heard_ = true;
    exchange_->input.commit(*outcome);
  } else if (outcome) {
    on_lost(errc::truncated);
  } else if (outcome.error() == runnel::errc::cancelled) {
    fail(outcome.error());
  } else if (outcome.error() != runnel::errc::deadline_exceeded) {
    on_lost(outcome.error());
  } else if (phase_ == phase::permit) {
    release_body();
  } else {
    ++core_->counters().header_timeouts;
    fail(errc::timed_out);
  }
}

void client_call::parse_head() {
  client_exchange& x = *exchange_;
  switch (x.parser.parse(x.input.text(), request_->method(), x.head)) {
    case parse_result::need_more:
      return;
    case parse_result::failed:
      fail(x.parser.error());
      return;
    case parse_result::complete:
      break;
  }
  x.input.consume(x.parser.head_size());
  const unsigned code = to_number(x.head.status());
  if (code >= 200) {
    accept_head();
    return;
  }
  // Nobody asked to switch protocols.
  if (x.head.status() == status::switching_protocols ||
      ++interim_ > core_->options().max_interim_responses) {
    fail(errc::bad_message);
    return;
  }
  ++core_->counters().interim;
  x.parser.reset();
  if (code == 100 && phase_ == phase::permit) {
    release_body();
  } else if (!x.input.empty()) {
    parse_head();
  }
}

void client_call::accept_head() {
  client_exchange& x = *exchange_;
  const bool whole_request = !withheld_ && source_done_ && !send_failure_ && !has_output();
  x.start_body(x.head.keep_alive() && !request_->closes() && whole_request);
  phase_ = phase::answered;
}

// The connection ended before the response.
void client_call::on_lost(std::error_code why) noexcept {
  const bool again = may_retry();
  core_->drop(std::move(exchange_->connection));
  if (again) {
    ++core_->counters().retries;
    retried_ = true;
    exchange_->output.clear();
    send_failure_.clear();
    body_ = {};
    phase_ = phase::connect;
    return;
  }
  fail(send_failure_ && !heard_ ? send_failure_ : why);
}

bool client_call::may_retry() const noexcept {
  if (retried_ || heard_ || source_started_ || !exchange_->connection->used()) return false;
  return sent_ == 0 || request_->is_repeatable();
}

void client_call::fail(std::error_code why) noexcept {
  failure_ = why;
  phase_ = phase::failed;
  exchange_->reset_connection();
}

result<client_response> client_call::take() {
  client_counters& counters = core_->counters();
  if (phase_ != phase::answered) {
    ++counters.failures;
    return failure_;
  }
  ++counters.responses;
  return client_response{*exchange_.release()};
}

}  // namespace runnel::http::detail
