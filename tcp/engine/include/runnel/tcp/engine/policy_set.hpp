#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "runnel/tcp/engine/policy.hpp"

namespace runnel::tcp {

/// A secret of 128 bits.
using secret_key = std::array<std::uint64_t, 2>;

/// Secrets that several machines may share, so that each accepts the cookies of the others. They
/// are only ever given: no function shows one.
struct policy_keys {
  /// Of SYN cookies.
  std::optional<secret_key> cookie_key{};
  /// The one before it: it makes none any more, and those that it has made are good.
  std::optional<secret_key> cookie_key_previous{};
  /// Of Fast Open cookies (net.ipv4.tcp_fastopen_key), the same.
  std::optional<secret_key> fastopen_key{};
  /// The one before it, which only checks.
  std::optional<secret_key> fastopen_key_previous{};

  friend bool operator==(const policy_keys&, const policy_keys&) = default;
};

/// All that a stack can be told: its own policy, and what its listeners and connections use where
/// they set nothing themselves. What is left unset has its built-in value.
struct policy_set {
  /// What holds for the whole stack.
  stack_policy stack{};
  /// Its `connection` is not looked at: the next member is what holds for all connections.
  listener_policy listener{};
  /// What every connection starts from.
  connection_policy connection{};
  /// What is left unset is chosen at random.
  policy_keys keys{};

  friend bool operator==(const policy_set&, const policy_set&) = default;
};

/// The built-in values: every field but the keys is set.
policy_set default_policy();

/// The same with Linux's value wherever the default deliberately differs from it; where that
/// depends on the machine, as measured on Linux 6.18 with 262,144 buckets in its table of
/// connections. (The name `linux` is a macro in some modes of g++.)
policy_set linux_policy();

/// The first value out of range, named with the range that is allowed; empty when all are good.
std::string check(const policy_set& policy);

/// For people: a line for each field with its value, its unit, Linux's names for it, and what the
/// default is where the value is another. Keys show as "(set)".
std::string to_table(const policy_set& policy);

/// For programs: an object for each level, in it one for each field with "value", "unit",
/// "default", "changed" and "linux", the list of Linux's names. Times are milliseconds. Keys show
/// as "(set)".
std::string to_json(const policy_set& policy);

/// As `load_policy` of <runnel/tcp/policy_file.hpp> reads it: everything that is set but the keys,
/// which are never shown.
std::string to_toml(const policy_set& policy);

}  // namespace runnel::tcp
