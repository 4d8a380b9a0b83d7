#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <utility>

#include "inspect_flags.hpp"
#include "link_flags.hpp"
#include "loops.hpp"
#include "policy_flags.hpp"
#include "serving.hpp"

namespace example {

/// The flags of a server on our own TCP.
struct server_flags {
  explicit server_flags(std::uint16_t usual_port) : port(usual_port) {}

  void add_to(CLI::App& app) {
    link.add_to(app);
    inspect.add_to(app);
    policy.add_to(app);
    app.add_option("--port", port, "Port to listen on")->capture_default_str();
  }

  link_flags link;
  inspect_flags inspect;
  policy_flags policy;
  std::uint16_t port;
  /// Of `add_loops_to`.
  std::uint32_t loops = 1;
};

template <class Serve>
runnel::task<int> serve_part(runnel::loop& owner, device_part mine, const server_flags& flags,
                             const runnel::tcp::policy_set& policy, const char* name,
                             interruption& signals, const Serve& serve) {
  tun_stack network(owner, flags.link, policy, std::move(mine));
  const auto each = [&](runnel::tcp::stream client) {
    return serve(std::move(client), network.stack());
  };
  const int code =
      co_await inspected(owner, network.stack(), flags.inspect,
                         serve_until_signal(owner, network, name, flags.port, each, signals));
  co_return code;
}

/// Runs a server as its flags say until Ctrl-C, `serve(client, stack)` with each connection, which
/// is called on all loops' threads; or prints the policies, `base` with the flags' over it. The
/// exit code. `name` is the program's, for what it prints.
template <class Serve>
int run_server(const char* name, const server_flags& flags, const runnel::tcp::policy_set& base,
               const Serve& serve) {
  const runnel::tcp::policy_set policy = flags.policy.over(base);
  if (flags.policy.printed(policy)) return 0;
  interruption signals;
  return run_on_loops(flags.link, flags.loops, [&](runnel::loop& here, device_part part) {
    return serve_part(here, std::move(part), flags, policy, name, signals, serve);
  });
}

}  // namespace example
