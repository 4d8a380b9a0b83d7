#include "runnel/tcp/stack.hpp"

#include <sys/random.h>

#include <cerrno>
#include <system_error>

#include "runnel/event.hpp"
#include "runnel/tcp/error_code.hpp"
#include "stack_core.hpp"

namespace runnel::tcp {

namespace {

void fill_random(std::array<std::uint64_t, 2>& key) {
  auto* at = reinterpret_cast<std::byte*>(key.data());
  std::size_t missing = sizeof(key);
  while (missing > 0) {
    const ssize_t got = ::getrandom(at, missing, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(),
                              "runnel: getrandom(2) gave no keys for the TCP stack");
    }
    at += got;
    missing -= static_cast<std::size_t>(got);
  }
}

secret_key make_key(loop& owner) {
  if (owner.simulated()) return {owner.random()(), owner.random()()};
  secret_key key{};
  fill_random(key);
  return key;
}

host_keys make_keys(loop& owner) {
  host_keys keys;
  for (auto* key : {&keys.lookup, &keys.isn, &keys.tuple, &keys.cookie, &keys.fastopen}) {
    *key = make_key(owner);
  }
  return keys;
}

/// Both keys of one use are from where one of them is given.
void share(secret_key& key, std::optional<secret_key>& previous,
           const std::optional<secret_key>& shared,
           const std::optional<secret_key>& shared_previous) {
  if (!shared && !shared_previous) return;
  key = shared.value_or(key);
  previous = shared_previous;
}

/// Taken whether or not there is a shared key by now: one may be given later.
duration offset_to_wall_clock(const loop& owner, const stack_options& options) {
  if (owner.simulated()) return {};
  const auto wall = options.wall_clock().time_since_epoch();
  return std::chrono::duration_cast<duration>(wall) - owner.now().time_since_epoch();
}

host_options engine_options(loop& owner, const net::link& link, stack_options&& options) {
  const net::link_info& info = link.info();
  host_options out;
  out.addresses = std::move(options.addresses);
  out.policy = options.policy;
  out.listener = options.listener;
  out.connection = options.connection;
  out.keys = options.keys ? *options.keys : make_keys(owner);
  const policy_keys& shared = options.shared_keys;
  share(out.keys.cookie, out.keys.cookie_previous, shared.cookie_key, shared.cookie_key_previous);
  share(out.keys.fastopen, out.keys.fastopen_previous, shared.fastopen_key,
        shared.fastopen_key_previous);
  out.clock_offset = options.clock_offset.value_or(offset_to_wall_clock(owner, options));
  out.mtu = info.mtu;
  out.checksum_offload_tx = info.checksum_offload_tx;
  // What a link says without being believed is taken off its packets; what is left was checked.
  out.checksum_offload_rx = true;
  out.gso_max_bytes = info.gso_max_bytes;
  return out;
}

}  // namespace

void stack_options::use(const policy_set& all) {
  policy = all.stack;
  listener = all.listener;
  connection = all.connection;
  shared_keys = all.keys;
}

stack::stack(loop& owner, net::link& link, stack_options options)
    : core_(new detail::stack_core(owner, link, engine_options(owner, link, std::move(options)))) {}

stack::~stack() = default;

result<listener> stack::listen(const net::endpoint& local, const listener_policy& policy) {
  if (core_->link_error()) return core_->link_error();
  auto state = std::make_unique<detail::listener_state>(*core_, socket_id());
  const auto opened = core_->engine().listen(local, policy, detail::stack_core::token_of(*state));
  if (!opened) {
    state->open = false;
    return to_error_code(opened.error);
  }
  state->id = opened.value;
  core_->add(*state);
  return listener(std::move(state));
}

detail::connect_awaiter stack::connect(const net::endpoint& to) noexcept {
  return {*core_, to, connect_options()};
}

detail::connect_awaiter stack::connect(const net::endpoint& to,
                                       const connect_options& options) noexcept {
  return {*core_, to, options};
}

task<result<void>> stack::idle() {
  const auto waited = co_await core_->idle().wait();
  if (waited && core_->link_error()) co_return core_->link_error();
  co_return waited;
}

result<void> stack::set_policy(const policy_set& all) {
  return detail::to_result(core_->engine().set_policies(all));
}

policy_set stack::policy() const {
  return core_->engine().policies();
}

std::string stack::set(std::string_view name, std::string_view value) {
  return core_->engine().set(name, value);
}

std::optional<std::string> stack::get(std::string_view name) const {
  return core_->engine().get(name);
}

void stack::rotate_cookie_key() {
  core_->engine().rotate_cookie_key(make_key(core_->owner()));
}

void stack::set_cookie_keys(const secret_key& current, const secret_key& previous) {
  core_->engine().set_cookie_keys(current, previous);
}

void stack::rotate_fastopen_key() {
  core_->engine().rotate_fastopen_key(make_key(core_->owner()));
}

void stack::set_fastopen_keys(const secret_key& current, const secret_key& previous) {
  core_->engine().set_fastopen_keys(current, previous);
}

std::error_code stack::link_error() const noexcept {
  return core_->link_error();
}

const host& stack::engine() const noexcept {
  return core_->engine();
}

}  // namespace runnel::tcp
