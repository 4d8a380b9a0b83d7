#include <utility>

#include "core.hpp"
#include "half_open.hpp"
#include "ingress.hpp"
#include "policy_table_connection.hpp"
#include "policy_table_listener.hpp"
#include "send_room.hpp"

// Policies: set and read at run time. Whoever uses a value asks for it when it is needed, so that a
// change holds at once.

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::listener_entry;
using detail::no_index;

namespace {

/// What the timer of a connection that is quiet follows at once.
struct keepalive_settings {
  keepalive_settings(const core& host, const connection& c) noexcept
      : on(setting(host, c, &connection_policy::keepalive)),
        time(setting(host, c, &connection_policy::keepalive_time)) {}

  friend bool operator==(const keepalive_settings&, const keepalive_settings&) = default;

  bool on;
  std::chrono::milliseconds time;
};

void follow_user_timeout(core& host, connection& c) noexcept {
  if (c.flow.retransmits == 0) return;
  bound_by_user_timeout(host, c);
  schedule(host, c);
}

/// One that was set holds, whatever the room has grown to; without one it goes on growing.
void follow_receive_buffer(connection& c, std::optional<std::uint32_t> wanted) noexcept {
  if (!wanted) return;
  c.tuned = *wanted == 0;
  if (!c.tuned) c.receive_buffer = *wanted;
}

/// One of those that only say when short segments go: nothing else follows it.
error change_sending(core& host, socket_id id, std::optional<bool> connection_policy::*field,
                     bool on) {
  connection* c = host.get(id);
  if (c == nullptr) return error::bad_handle;
  if (host.policies[c->policy].*field != on) {
    connection_policy own = host.policies[c->policy];
    own.*field = on;
    const std::uint32_t fresh = host.policies.share(own);
    if (fresh == no_index) return error::no_buffer_space;
    host.policies.release(c->policy);
    c->policy = fresh;
  }
  // What was held back may go now.
  if (c->unsent() > 0) want_transmit(host, *c);
  return error::none;
}

}  // namespace

error host::set_policy(const stack_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  const std::size_t memory_limit = core_->policy.memory_limit;
  core_->policy = policy;
  core_->policy.memory_limit = memory_limit;
  core_->fragments.set_policy(detail::reassembly_of(*core_));
  // A larger bound is room in every accept queue.
  for (listener_entry& listener : core_->listeners) admit_parked(*core_, listener);
  return error::none;
}

void host::rotate_cookie_key(const secret_key& fresh) {
  core_->cookie_keys.rotate(fresh);
}

void host::set_cookie_keys(const secret_key& current, const secret_key& previous) {
  core_->cookie_keys.set(current, previous);
}

void host::rotate_fastopen_key(const secret_key& fresh) {
  core_->fastopen_keys.rotate(fresh);
}

void host::set_fastopen_keys(const secret_key& current, const secret_key& previous) {
  core_->fastopen_keys.set(current, previous);
}

error host::set_listener_defaults(const listener_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  core_->listener_defaults = completed(policy);
  for (listener_entry& listener : core_->listeners) admit_parked(*core_, listener);
  return error::none;
}

error host::set_connection_defaults(const connection_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  core& self = *core_;
  const connection_policy before = std::exchange(self.connection_defaults, completed(policy));
  const connection_policy& after = self.connection_defaults;
  const bool keepalive =
      before.keepalive != after.keepalive || before.keepalive_time != after.keepalive_time;
  const bool patience = before.user_timeout != after.user_timeout;
  if (!keepalive && !patience) return error::none;
  for (std::uint32_t i = 0; i < self.connections.extent(); ++i) {
    connection& c = self.connections[i];
    if (!c.in_table) continue;
    const connection_policy& own = self.policies[c.policy];
    if (keepalive && !(own.keepalive && own.keepalive_time)) rearm_keepalive(self, c);
    if (patience && !own.user_timeout) follow_user_timeout(self, c);
  }
  return error::none;
}

error host::set_listener_policy(socket_id listener, const listener_policy& policy) {
  core& self = *core_;
  listener_entry* entry = self.get_listener(listener);
  if (entry == nullptr) return error::bad_handle;
  if (!check(policy).empty()) return error::invalid_argument;
  const std::uint32_t child_policy = self.policies.share(policy.connection);
  if (child_policy == no_index) return error::no_buffer_space;
  self.policies.release(entry->child_policy);
  entry->child_policy = child_policy;
  entry->policy = policy;
  admit_parked(self, *entry);
  return error::none;
}

error host::set_backlog(socket_id listener, std::uint32_t backlog) {
  listener_entry* entry = core_->get_listener(listener);
  if (entry == nullptr) return error::bad_handle;
  entry->policy.backlog = backlog;
  admit_parked(*core_, *entry);
  return error::none;
}

error host::set_policy(socket_id id, const connection_policy& policy) {
  core& self = *core_;
  connection* c = self.get(id);
  if (c == nullptr) return error::bad_handle;
  const std::uint32_t known = self.policies.find(policy);
  // What is in use has been checked.
  if (known == no_index && !check(policy).empty()) return error::invalid_argument;
  const std::uint32_t fresh = self.policies.share(known, policy);
  if (fresh == no_index) return error::no_buffer_space;
  const keepalive_settings before(self, *c);
  self.policies.release(c->policy);
  c->policy = fresh;
  if (keepalive_settings(self, *c) != before) rearm_keepalive(self, *c);
  follow_user_timeout(self, *c);
  const std::uint32_t send_buffer = setting(self, *c, &connection_policy::send_buffer);
  if (send_buffer != 0) c->send_buffer = send_buffer;
  tell_room(self, *c);
  follow_pace(self, *c);
  follow_receive_buffer(*c, policy.receive_buffer);
  // What was held back may go now.
  if (c->unsent() > 0) want_transmit(self, *c);
  return error::none;
}

error host::set_nodelay(socket_id id, bool on) {
  return change_sending(*core_, id, &connection_policy::nodelay, on);
}

error host::set_cork(socket_id id, bool on) {
  return change_sending(*core_, id, &connection_policy::cork, on);
}

error host::set_quickack(socket_id id, bool on) {
  connection* c = core_->get(id);
  if (c == nullptr) return error::bad_handle;
  c->ack.interactive = !on;
  if (!on) return error::none;
  c->ack.quick = detail::quick_acks;
  c->ack.ato_ms = detail::ato_min_ms;
  if (!c->ack.delayed) return error::none;
  c->ack.due = true;
  want_transmit(*core_, *c);
  return error::none;
}

const stack_policy& host::policy() const noexcept {
  return core_->policy;
}

const listener_policy& host::listener_defaults() const noexcept {
  return core_->listener_defaults;
}

const connection_policy& host::connection_defaults() const noexcept {
  return core_->connection_defaults;
}

namespace {

/// `max_segment` as the connection was made with it: what the policy says if that still comes to
/// the MSS that was offered.
std::uint16_t max_segment_of(const core& self, const connection& c) {
  const net::family family = c.key.remote.family();
  const std::uint16_t now = setting(self, c, &connection_policy::max_segment);
  if (own_mss(self, now, family) == c.rcv_mss_offered) return now;
  return own_mss(self, 0, family) == c.rcv_mss_offered ? std::uint16_t{0} : c.rcv_mss_offered;
}

}  // namespace

outcome<connection_policy> host::connection_settings(socket_id id) const {
  const connection* c = core_->get(id);
  if (c == nullptr) return {{}, error::bad_handle};
  connection_policy own = core_->policies[c->policy];
  own.receive_buffer = c->tuned ? 0 : c->receive_buffer;
  own.send_buffer = send_buffer_of(*core_, *c);
  own.max_segment = max_segment_of(*core_, *c);
  own.fastopen_connect = c->fastopen_wanted;
  detail::complete(own, core_->connection_defaults, detail::connection_table);
  return {own, error::none};
}

outcome<listener_policy> host::listener_settings(socket_id id) const {
  const listener_entry* entry = core_->get_listener(id);
  if (entry == nullptr) return {{}, error::bad_handle};
  listener_policy own = entry->policy;
  detail::complete(own, core_->listener_defaults, detail::listener_table);
  detail::complete(own.connection, core_->connection_defaults, detail::connection_table);
  return {own, error::none};
}

}  // namespace runnel::tcp
