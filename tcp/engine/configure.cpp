#include "core.hpp"
#include "policy_table_connection.hpp"
#include "policy_table_listener.hpp"

// Policies: set and read at run time. Whoever uses a value asks for it when it is needed, so that a
// change holds at once.

namespace runnel::tcp {

using detail::connection;
using detail::core;
using detail::listener_entry;
using detail::no_index;

error host::set_policy(const stack_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  const std::size_t memory_limit = core_->policy.memory_limit;
  core_->policy = policy;
  core_->policy.memory_limit = memory_limit;
  // A larger bound is room in every accept queue.
  for (listener_entry& listener : core_->listeners) admit_parked(*core_, listener);
  return error::none;
}

error host::set_listener_defaults(const listener_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  core_->listener_defaults = completed(policy);
  for (listener_entry& listener : core_->listeners) admit_parked(*core_, listener);
  return error::none;
}

error host::set_connection_defaults(const connection_policy& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  core_->connection_defaults = completed(policy);
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
  if (!check(policy).empty()) return error::invalid_argument;
  const std::uint32_t fresh = self.policies.share(policy);
  if (fresh == no_index) return error::no_buffer_space;
  self.policies.release(c->policy);
  c->policy = fresh;
  // What was held back may go now.
  if (c->unsent() > 0) want_transmit(self, *c);
  return error::none;
}

error host::set_nodelay(socket_id id, bool on) {
  const connection* c = core_->get(id);
  if (c == nullptr) return error::bad_handle;
  connection_policy own = core_->policies[c->policy];
  own.nodelay = on;
  return set_policy(id, own);
}

error host::set_cork(socket_id id, bool on) {
  const connection* c = core_->get(id);
  if (c == nullptr) return error::bad_handle;
  connection_policy own = core_->policies[c->policy];
  own.cork = on;
  return set_policy(id, own);
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

outcome<connection_policy> host::connection_settings(socket_id id) const {
  const connection* c = core_->get(id);
  if (c == nullptr) return {{}, error::bad_handle};
  connection_policy own = core_->policies[c->policy];
  own.receive_buffer = c->receive_buffer;
  own.send_buffer = c->send_buffer;
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
