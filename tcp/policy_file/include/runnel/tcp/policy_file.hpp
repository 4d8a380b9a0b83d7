#pragma once

#include <string>
#include <string_view>

#include "runnel/tcp/engine/policy_set.hpp"

namespace runnel::tcp {

/// Reads policies from a TOML file into `into`. Empty when it is done; else one sentence that
/// begins with the file, the line and the column of the mistake, and `into` is as before.
///
/// The sections `[stack]`, `[listener]` and `[connection]` hold fields by their own names, and
/// `[linux]`, or no section at all, holds sysctls of Linux by theirs: `"net.ipv4.tcp_syn_retries" =
/// 3`. Values are as `set` of <runnel/tcp/engine/policy_text.hpp> takes them: a time is a string
/// with its unit, "30s", or a number of milliseconds; by Linux's name it is in Linux's unit. Two
/// numbers may be an array. `preset = "linux"` or `"default"`, above all sections, is what the rest
/// changes. A field may be set once, and a name that is not known is an error.
[[nodiscard]] std::string load_policy(policy_set& into, const std::string& path);

/// The same from a text; `name` is what errors call it.
[[nodiscard]] std::string parse_policy(policy_set& into, std::string_view text,
                                       std::string_view name);

}  // namespace runnel::tcp
