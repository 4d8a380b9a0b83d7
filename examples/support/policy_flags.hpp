#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "runnel/tcp/engine/policy_text.hpp"
#include "runnel/tcp/policy_file.hpp"

namespace example {

/// The flags that say what holds for the stack, its listeners and its connections.
struct policy_flags {
  std::string file;
  std::vector<std::string> values;
  bool print = false;

  void add_to(CLI::App& app) {
    app.add_option("--policy", file,
                   "TOML file with policies; see docs/policy.md and examples/policy.toml");
    app.add_option("--set", values,
                   "One policy, by its name or a sysctl's of Linux, as in "
                   "net.ipv4.tcp_fin_timeout=30 or keepalive_time=60s; after the file, and as "
                   "often as you like")
        ->type_name("NAME=VALUE")
        ->allow_extra_args(false);
    app.add_flag("--print-policy", print, "Print every policy that would be in force, and end");
  }

  /// `base` with the file and then the single values over it. Throws with a sentence.
  runnel::tcp::policy_set over(const runnel::tcp::policy_set& base) const {
    runnel::tcp::policy_set all = base;
    std::string complaint;
    if (!file.empty()) complaint = runnel::tcp::load_policy(all, file);
    for (const std::string& each : values) {
      if (!complaint.empty()) break;
      const std::size_t equals = each.find('=');
      if (equals == std::string::npos) {
        throw std::invalid_argument("--set takes NAME=VALUE; it was given '" + each + "'");
      }
      complaint = runnel::tcp::set(all, each.substr(0, equals), each.substr(equals + 1));
      if (!complaint.empty()) complaint.insert(0, "--set: ");
    }
    if (complaint.empty()) complaint = check(all);
    if (!complaint.empty()) throw std::invalid_argument(complaint);
    return all;
  }

  /// Whether it was asked for the table, which is printed then.
  bool printed(const runnel::tcp::policy_set& all) const {
    if (print) std::fputs(to_table(all).c_str(), stdout);
    return print;
  }
};

}  // namespace example
