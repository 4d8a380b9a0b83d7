#include "runnel/net/http/detail/server_core.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exchange.hpp"
#include "runnel/detail/check.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/net/http/detail/server_connection.hpp"
#include "source_table.hpp"

namespace runnel::http::detail {
namespace {

constexpr std::size_t waste_bytes = std::size_t{16} << 10;
constexpr std::size_t smallest_input = 4096;
constexpr std::size_t largest_limit = 65'535;

constexpr std::string_view refusal_text =
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Retry-After: 1\r\n"
    "Content-Length: 0\r\n"
    "Connection: close\r\n"
    "\r\n";

void require(bool holds, const char* sentence) {
  if (!holds) throw std::invalid_argument(sentence);
}

const server_options& checked(const server_options& options) {
  const message_limits& limits = options.limits;
  require(options.keepalive_requests >= 1,
          "http: keepalive_requests must be at least 1; 1 switches keep-alive off.");
  require(limits.header_bytes >= 256 && limits.header_bytes <= largest_limit,
          "http: limits.header_bytes must be from 256 to 65535.");
  require(limits.start_line_bytes >= 64, "http: limits.start_line_bytes must be at least 64.");
  require(limits.header_fields >= 1, "http: limits.header_fields must be at least 1.");
  require(options.stream_bytes >= 1024 && options.stream_bytes <= (std::size_t{16} << 20),
          "http: stream_bytes must be from 1 KiB to 16 MiB.");
  require(options.send_piece >= 1024, "http: send_piece must be at least 1 KiB.");
  require(options.max_connections >= 1, "http: max_connections must be at least 1.");
  for (const duration time :
       {options.keepalive_timeout, options.header_timeout, options.body_timeout,
        options.send_timeout, options.linger_timeout, options.drain_grace}) {
    require(time > duration::zero(), "http: every time-out must be above zero.");
  }
  require(options.clock != nullptr, "http: clock must be a function.");
  return options;
}

}  // namespace

struct server_core::pools {
  explicit pools(std::uint64_t seed) noexcept : sources(seed) {}

  std::vector<std::unique_ptr<exchange>> exchanges;
  std::vector<std::unique_ptr<std::byte[]>> stream_buffers;
  source_table sources;
  std::array<std::byte, waste_bytes> waste;
};

server_core::server_core(loop& owner, const server_options& options)
    : owner_(&owner),
      options_(checked(options)),
      date_(options.clock),
      pools_(std::make_unique<pools>(owner.random()())) {
  pools_->exchanges.reserve(options.spare_buffers);
  pools_->stream_buffers.reserve(options.spare_buffers);
}

server_core::~server_core() {
  runnel::detail::check(
      connections_.empty() || runnel::detail::this_thread.teardown_depth > 0,
      "runnel: an http::server was destroyed while it serves; await its serve() first.");
}

ticket server_core::admit(listening& through, const net::endpoint& remote) {
  ++counters_.accepted;
  const std::size_t per_source = options_.max_connections_per_source;
  const bool full = through.connections_ >= options_.max_connections;
  const bool source_full = per_source > 0 && pools_->sources.count(remote.address) >= per_source;
  if (full || source_full) {
    if (refusing_ >= options_.max_refusals) {
      ++counters_.dropped;
      return {*this, through, remote, admission::drop};
    }
    ++counters_.refused;
    if (!full) ++counters_.refused_source;
    ++counters_.responses[5];
    ++refusing_;
    return {*this, through, remote, admission::refuse};
  }
  if (per_source > 0) pools_->sources.add(remote.address);
  ++through.connections_;
  ++counters_.open;
  return {*this, through, remote, admission::admit};
}

void server_core::add(server_connection& who) noexcept {
  connections_.push_back(who);
}

ticket::~ticket() {
  if (core_ != nullptr) core_->release(*this);
}

void server_core::release(const ticket& of) noexcept {
  if (of.kind_ == admission::refuse) --refusing_;
  if (of.kind_ != admission::admit) return;
  if (options_.max_connections_per_source > 0) pools_->sources.remove(of.remote_.address);
  --of.through_->connections_;
  --counters_.open;
}

std::unique_ptr<exchange> server_core::take_exchange() {
  std::unique_ptr<exchange> taken;
  if (pools_->exchanges.empty()) {
    const std::size_t input = std::max<std::size_t>(options_.limits.header_bytes, smallest_input);
    taken = std::make_unique<exchange>(options_.limits, input);
  } else {
    taken = std::move(pools_->exchanges.back());
    pools_->exchanges.pop_back();
  }
  ++counters_.busy;
  return taken;
}

void server_core::give_back(std::unique_ptr<exchange> spare) noexcept {
  --counters_.busy;
  // The vector has room for all that are kept.
  if (pools_->exchanges.size() < options_.spare_buffers) {
    pools_->exchanges.push_back(std::move(spare));
  }
}

std::unique_ptr<std::byte[]> server_core::take_stream_buffer() {
  if (pools_->stream_buffers.empty()) {
    return std::make_unique_for_overwrite<std::byte[]>(options_.stream_bytes);
  }
  std::unique_ptr<std::byte[]> taken = std::move(pools_->stream_buffers.back());
  pools_->stream_buffers.pop_back();
  return taken;
}

void server_core::give_back(std::unique_ptr<std::byte[]> spare) noexcept {
  if (pools_->stream_buffers.size() < options_.spare_buffers) {
    pools_->stream_buffers.push_back(std::move(spare));
  }
}

std::span<std::byte> server_core::waste() noexcept {
  return pools_->waste;
}

void server_core::add(listening& where) noexcept {
  listenings_.push_back(where);
  where.draining_ = draining_;
  if (draining_) where.stop();
}

void server_core::drain(listening& from) noexcept {
  if (from.draining_) return;
  from.draining_ = true;
  for (auto* at = connections_.empty() ? nullptr : &connections_.front(); at != nullptr;
       at = connections_.after(*at)) {
    if (&at->place_.through() == &from) at->on_drain();
  }
}

void server_core::drain() noexcept {
  if (draining_) return;
  draining_ = true;
  for (auto* at = listenings_.empty() ? nullptr : &listenings_.front(); at != nullptr;
       at = listenings_.after(*at)) {
    drain(*at);
    at->stop();
  }
}

bool is_passing(std::error_code accept_error) noexcept {
  constexpr std::array passing{
      std::errc::connection_aborted,  std::errc::connection_reset,
      std::errc::interrupted,         std::errc::no_buffer_space,
      std::errc::not_enough_memory,   std::errc::protocol_error,
      std::errc::too_many_files_open, std::errc::too_many_files_open_in_system,
  };
  return std::ranges::any_of(passing, [&](std::errc each) { return accept_error == each; });
}

refusal::refusal(server_core& core) noexcept
    : deadline(
          after(core.now(), std::min(core.options().linger_timeout, core.options().send_timeout))),
      message(std::as_bytes(std::span{refusal_text})),
      waste(core.waste()) {}

}  // namespace runnel::http::detail
