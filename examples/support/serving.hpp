#pragma once

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "link_flags.hpp"
#include "loops.hpp"
#include "runnel/dump.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"

namespace example {

/// Accepts until it is cancelled or the device is gone; then nobody waits for a signal any more.
template <class Serve>
runnel::task<> accept_all(runnel::tcp::listener& listener, Serve serve,
                          runnel::task_group& connections, runnel::task_group& running) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    connections.spawn(serve(std::move(*accepted)));
  }
  running.cancel();
}

inline runnel::task<> stop_on_signal(runnel::loop& owner, interruption& all) {
  runnel::signal_set signals(owner, {SIGINT, SIGTERM});
  const auto signal = co_await signals.wait();
  if (signal) all.happen();
}

/// Runs `serve` with each connection to this port, until Ctrl-C or the end of the device; then
/// gives what was written three seconds to arrive. SIGUSR1 prints what every task waits for. The
/// exit code. `name` is the program's, for what it prints. The first of several loops hears the
/// signals for all.
template <class Serve>
runnel::task<int> serve_until_signal(runnel::loop& owner, tun_stack& network, const char* name,
                                     std::uint16_t port, Serve serve, interruption& all) {
  auto listener = network.stack().listen({.address = {}, .port = port}).value();
  std::printf("%s: listening on port %u of device %s\n", name, listener.local_endpoint().port,
              network.device().c_str());
  std::fflush(stdout);
  runnel::task_group connections(owner, runnel::on_failure::collect);
  runnel::task_group running(owner);
  running.spawn(accept_all(listener, std::move(serve), connections, running));
  if (network.stack().engine().shard().index == 0) {
    running.spawn(stop_on_signal(owner, all));
    running.spawn(runnel::dump_on_signal(owner));
  }
  {
    const interruption::part interrupted(all, owner, [&](unsigned) { running.cancel(); });
    co_await running.join();
  }
  listener.close();
  connections.cancel();
  co_await connections.join();
  if (const auto lost = network.stack().link_error()) {
    std::fprintf(stderr, "%s: the device %s is gone: %s.\n", name, network.device().c_str(),
                 lost.message().c_str());
    co_return 1;
  }
  const auto delivered =
      co_await runnel::with_timeout(std::chrono::seconds(3), network.stack().idle());
  if (!delivered) std::fprintf(stderr, "%s: some connections did not end in 3 s.\n", name);
  co_return 0;
}

}  // namespace example
