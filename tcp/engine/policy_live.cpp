#include "core.hpp"
#include "policy_value.hpp"
#include "runnel/tcp/engine/policy_text.hpp"

// Policies of a running host by name. A value that could not hold any more is refused, so that
// nothing that was set is ignored.

namespace runnel::tcp {

namespace {

constexpr const char* no_listener = "there is no such listener any more";
constexpr const char* no_connection = "there is no such connection any more";

std::string fixed_for(const policy_field& field, const char* moment) {
  return std::string(field.name) + " is fixed when " + moment + " is made";
}

/// Into the ring what was read for it, which is overwritten; false when it was nothing.
bool take_keys(detail::key_ring& ring, std::optional<secret_key>& current,
               std::optional<secret_key>& previous) noexcept {
  if (!current) return false;
  if (previous) {
    ring.set(*current, *previous);
  } else {
    ring.rotate(*current);
  }
  detail::wipe(current);
  detail::wipe(previous);
  return true;
}

/// What is left to say after the values themselves were found good.
std::string outcome_text(error of) {
  return of == error::none ? std::string() : "out of memory for one more policy";
}

}  // namespace

policy_set host::policies() const {
  policy_set out;
  out.stack = core_->policy;
  out.listener = core_->listener_defaults;
  out.listener.connection = {};
  out.connection = core_->connection_defaults;
  return out;
}

error host::set_policies(const policy_set& policy) {
  if (!check(policy).empty()) return error::invalid_argument;
  set_policy(policy.stack);
  set_listener_defaults(policy.listener);
  set_connection_defaults(policy.connection);
  return error::none;
}

std::string host::set(std::string_view name, std::string_view value) {
  policy_set all = policies();
  std::string complaint = tcp::set(all, name, value);
  if (!complaint.empty()) return complaint;
  const policy_field& field = *find_policy_field(name);
  if (field.change == policy_change::new_host) return fixed_for(field, "the host");
  if (field.secret()) {
    // A set of what is in force has no keys, so these are the ones that were just read.
    policy_keys& given = all.keys;
    const bool taken =
        take_keys(core_->cookie_keys, given.cookie_key, given.cookie_key_previous) ||
        take_keys(core_->fastopen_keys, given.fastopen_key, given.fastopen_key_previous);
    return taken ? std::string()
                 : std::string(field.name) + " of a running host has no default; give a key";
  }
  complaint = check(all);
  if (complaint.empty()) set_policies(all);
  return complaint;
}

std::string host::set_listener(socket_id listener, std::string_view name, std::string_view value) {
  const detail::listener_entry* entry = core_->get_listener(listener);
  if (entry == nullptr) return no_listener;
  listener_policy own = entry->policy;
  std::string complaint = tcp::set(own, name, value);
  if (!complaint.empty()) return complaint;
  return outcome_text(set_listener_policy(listener, own));
}

std::string host::set(socket_id connection, std::string_view name, std::string_view value) {
  const detail::connection* c = core_->get(connection);
  if (c == nullptr) return no_connection;
  // An order for the moment, which nothing keeps.
  if (name == "TCP_QUICKACK") {
    if (value != "0" && value != "1") {
      return detail::complaint_about(name, "0 or 1", value);
    }
    set_quickack(connection, value == "1");
    return {};
  }
  connection_policy own = core_->policies[c->policy];
  std::string complaint = tcp::set(own, name, value);
  if (!complaint.empty()) return complaint;
  const policy_field& field = *find_policy_field(name);
  if (field.change != policy_change::at_once) return fixed_for(field, "the connection");
  return outcome_text(set_policy(connection, own));
}

std::optional<std::string> host::get(std::string_view name) const {
  const policy_field* field = find_policy_field(name);
  if (field != nullptr && field->secret()) return "(set)";
  return tcp::get(policies(), name);
}

std::optional<std::string> host::get_listener(socket_id listener, std::string_view name) const {
  const outcome<listener_policy> in_force = listener_settings(listener);
  return in_force ? tcp::get(in_force.value, name) : std::nullopt;
}

std::optional<std::string> host::get(socket_id connection, std::string_view name) const {
  const outcome<connection_policy> in_force = connection_settings(connection);
  return in_force ? tcp::get(in_force.value, name) : std::nullopt;
}

}  // namespace runnel::tcp
