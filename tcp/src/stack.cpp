#include "runnel/tcp/stack.hpp"

#include "keys.hpp"
#include "runnel/event.hpp"
#include "runnel/tcp/error_code.hpp"
#include "shard_hub.hpp"
#include "stack_core.hpp"

namespace runnel::tcp {

using detail::held_shard;

namespace {

/// Taken whether or not there is a shared key by now: one may be given later.
duration offset_to_wall_clock(const loop& owner, const stack_options& options) {
  if (owner.simulated()) return {};
  const auto wall = options.wall_clock().time_since_epoch();
  return std::chrono::duration_cast<duration>(wall) - owner.now().time_since_epoch();
}

host_options engine_options(loop& owner, const net::link& link, held_shard& place,
                            stack_options&& options) {
  const net::link_info& info = link.info();
  host_options out;
  out.clock_offset = options.clock_offset.value_or(offset_to_wall_clock(owner, options));
  if (place) {
    const auto granted = place->reserve(
        place.index(), {options.addresses, options.policy.local_port_first,
                        options.policy.local_port_last, options.shared_keys, out.clock_offset});
    place.hold();
    out.shard = granted.place;
    out.keys = granted.keys;
    out.clock_offset = granted.clock_offset;
  } else {
    out.keys = options.keys ? *options.keys : detail::random_keys(owner);
    detail::adopt(out.keys, options.shared_keys);
  }
  out.addresses = std::move(options.addresses);
  out.policy = options.policy;
  out.listener = options.listener;
  out.connection = options.connection;
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

stack::stack(loop& owner, net::link& link, stack_options options) {
  held_shard place(std::move(options.shard.hub_), options.shard.index_);
  auto engine = engine_options(owner, link, place, std::move(options));
  core_.reset(new detail::stack_core(owner, link, std::move(engine), std::move(place)));
}

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
  const secret_key fresh = detail::random_key(core_->owner());
  if (const held_shard& place = core_->place()) {
    place->rotate_cookie_key(fresh);
  } else {
    core_->engine().rotate_cookie_key(fresh);
  }
}

void stack::set_cookie_keys(const secret_key& current, const secret_key& previous) {
  if (const held_shard& place = core_->place()) {
    place->set_cookie_keys(current, previous);
  } else {
    core_->engine().set_cookie_keys(current, previous);
  }
}

void stack::rotate_fastopen_key() {
  const secret_key fresh = detail::random_key(core_->owner());
  if (const held_shard& place = core_->place()) {
    place->rotate_fastopen_key(fresh);
  } else {
    core_->engine().rotate_fastopen_key(fresh);
  }
}

void stack::set_fastopen_keys(const secret_key& current, const secret_key& previous) {
  if (const held_shard& place = core_->place()) {
    place->set_fastopen_keys(current, previous);
  } else {
    core_->engine().set_fastopen_keys(current, previous);
  }
}

std::error_code stack::link_error() const noexcept {
  return core_->link_error();
}

const host& stack::engine() const noexcept {
  return core_->engine();
}

}  // namespace runnel::tcp
