#include "runnel/net/http/detail/client_core.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "client_exchange.hpp"
#include "runnel/detail/check.hpp"
#include "text.hpp"

namespace runnel::http::detail {
namespace {

constexpr std::size_t smallest_input = std::size_t{16} << 10;
constexpr std::size_t waste_bytes = std::size_t{16} << 10;
constexpr std::size_t largest_limit = 65'535;
constexpr std::uint16_t default_port = 80;

void require(bool holds, const char* sentence) {
  if (!holds) throw std::invalid_argument(sentence);
}

const client_options& checked(const client_options& options) {
  const message_limits& limits = options.limits;
  require(limits.header_bytes >= 256 && limits.header_bytes <= largest_limit,
          "http: limits.header_bytes must be from 256 to 65535.");
  require(limits.start_line_bytes >= 64, "http: limits.start_line_bytes must be at least 64.");
  require(limits.header_fields >= 1, "http: limits.header_fields must be at least 1.");
  require(options.stream_bytes >= 1024 && options.stream_bytes <= (std::size_t{16} << 20),
          "http: stream_bytes must be from 1 KiB to 16 MiB.");
  require(options.send_piece >= 1024, "http: send_piece must be at least 1 KiB.");
  for (const duration time :
       {options.idle_timeout, options.connect_timeout, options.send_timeout, options.header_timeout,
        options.body_timeout, options.continue_timeout}) {
    require(time > duration::zero(), "http: every time-out must be above zero.");
  }
  require(is_field_value(options.user_agent),
          "http: user_agent holds a control character; leave it out.");
  return options;
}

std::string host_of(const net::endpoint& to) {
  std::string text = to.to_string();
  // RFC 9110 section 4.2.1: the port is left out where it is the default.
  if (to.port == default_port) text.resize(text.rfind(':'));
  return text;
}

}  // namespace

client_core::client_core(loop& owner, const client_options& options)
    : timer(owner), options_(checked(options)) {
  spares_.reserve(options_.spare_buffers);
}

client_core::~client_core() {
  runnel::detail::check(counters_.busy == 0,
                        "runnel: an http::client was destroyed before its requests and responses; "
                        "end them first.");
  close_idle();
}

std::unique_ptr<client_exchange> client_core::take_exchange() {
  std::unique_ptr<client_exchange> taken;
  if (spares_.empty()) {
    taken = std::make_unique<client_exchange>(
        *this, std::max<std::size_t>(smallest_input, options_.limits.header_bytes));
  } else {
    taken = std::move(spares_.back());
    spares_.pop_back();
  }
  ++counters_.busy;
  return taken;
}

void client_core::give_back(std::unique_ptr<client_exchange> spare) noexcept {
  spare->reset_connection();
  spare->clear();
  --counters_.busy;
  if (spares_.size() < options_.spare_buffers) spares_.push_back(std::move(spare));
}

std::span<std::byte> client_core::waste() {
  if (!waste_) waste_ = std::make_unique_for_overwrite<std::byte[]>(waste_bytes);
  return {waste_.get(), waste_bytes};
}

client_target& client_core::take_target(const net::endpoint& to) {
  const auto [at, fresh] = targets_.try_emplace(to);
  client_target& target = at->second;
  if (fresh) {
    target.to = to;
    target.host = host_of(to);
  }
  ++target.users;
  return target;
}

void client_core::release(client_target& target) noexcept {
  if (--target.users == 0) targets_.erase(targets_.find(target.to));
}

std::unique_ptr<client_connection> client_core::unlink(client_connection& idle) noexcept {
  static_cast<idle_hook&>(idle).unlink();
  static_cast<idle_here_hook&>(idle).unlink();
  --idle.target_->idle_count;
  --counters_.idle;
  return std::unique_ptr<client_connection>{&idle};
}

std::unique_ptr<client_connection> client_core::take_idle(client_target& target) noexcept {
  if (target.idle.empty()) return nullptr;
  auto taken = unlink(target.idle.front());
  taken->used_ = true;
  return taken;
}

void client_core::adopt(client_connection& fresh, client_target& target) noexcept {
  fresh.target_ = &target;
  ++target.users;
}

void client_core::drop(std::unique_ptr<client_connection> gone) noexcept {
  client_target& target = *gone->target_;
  gone.reset();
  release(target);
}

void client_core::keep(std::unique_ptr<client_connection> idle) noexcept {
  client_target& target = *idle->target_;
  if (options_.max_idle == 0 || target.idle_count >= options_.max_idle_per_endpoint) {
    ++counters_.evicted;
    drop(std::move(idle));
    return;
  }
  if (counters_.idle >= options_.max_idle) {
    ++counters_.evicted;
    drop(unlink(idle_.front()));
  }
  // An old deadline would make the connection look as if it had something to say.
  idle->set_read_deadline(time_point::max());
  idle->expires_ = after(now(), options_.idle_timeout);
  ++target.idle_count;
  ++counters_.idle;
  client_connection& kept = *idle.release();
  target.idle.push_front(kept);
  idle_.push_back(kept);
  // The timer is left alone when connections are taken: it looks for itself what there is.
  if (!armed()) arm(kept.expires_);
}

void client_core::on_expire() noexcept {
  while (!idle_.empty()) {
    client_connection& oldest = idle_.front();
    if (oldest.expires_ > now()) {
      arm(oldest.expires_);
      return;
    }
    ++counters_.idle_timeouts;
    drop(unlink(oldest));
  }
}

void client_core::close_idle() noexcept {
  while (!idle_.empty()) {
    drop(unlink(idle_.front()));
  }
  cancel();
}

}  // namespace runnel::http::detail
