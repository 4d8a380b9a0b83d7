#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "runnel/tcp/engine/policy_field.hpp"
#include "runnel/tcp/engine/policy_set.hpp"

namespace runnel::tcp {

/// Sets one value by name, as text. Empty when it is done; else one sentence that says which field
/// it is and what it may be, and nothing is changed.
///
/// A name is either a field's own or Linux's: a sysctl ("net.ipv4.tcp_keepalive_time") for a
/// `policy_set`, the option of a socket ("TCP_KEEPIDLE") for a listener or a connection. What is
/// set on a listener for connections is for those that it makes. A name is taken as it stands: with
/// blanks around it it is unknown.
///
/// By Linux's name the value is written as Linux writes it, in its unit: "7200" seconds there,
/// "1500" milliseconds for TCP_USER_TIMEOUT, "32768 60999" for net.ipv4.ip_local_port_range. By
/// the field's own name it may have a unit: "30s", "500ms", "2h" for times, which are milliseconds
/// without one, "64k", "1M", "1G" for bytes; "true" and "false", "on" and "off"; a word for a
/// choice; words joined by "|" for bits. "default" takes the value of the level above.
///
/// A key is 32 hexadecimal digits, in groups of 8 with "-" between them or without. A second one
/// after a comma, as in net.ipv4.tcp_fastopen_key, is the one before: "current,previous". Without
/// it there is none. No complaint repeats what was given for a key.
///
/// A value is checked by itself; `check` says whether all of them fit together.
[[nodiscard]] std::string set(policy_set& policy, std::string_view name, std::string_view value);
/// The same for one listener's policy, which has no fields of the stack.
[[nodiscard]] std::string set(listener_policy& policy, std::string_view name,
                              std::string_view value);
/// The same for one connection's policy.
[[nodiscard]] std::string set(connection_policy& policy, std::string_view name,
                              std::string_view value);

/// The value as `set` takes it under the same name, but for SO_RCVBUF and SO_SNDBUF, of which it is
/// twice what was set, as in Linux: "default" where it is left unset, "(set)" for a key that is.
/// Nothing when there is no such name. A time that is no whole number of Linux's unit is rounded
/// up.
std::optional<std::string> get(const policy_set& policy, std::string_view name);
/// The same of one listener's policy.
std::optional<std::string> get(const listener_policy& policy, std::string_view name);
/// The same of one connection's policy.
std::optional<std::string> get(const connection_policy& policy, std::string_view name);

}  // namespace runnel::tcp
