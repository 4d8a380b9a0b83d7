// Sends back whatever it is sent, over our own TCP on a TUN device, until Ctrl-C.
//
//   sudo ./echo_server --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --port 7
//   nc 10.77.0.2 7

#include <csignal>
#include <vector>

#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/inspect_flags.hpp"
#include "support/link_flags.hpp"
#include "support/policy_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

task<> serve(tcp::stream stream) {
  std::vector<std::byte> buffer(256 * 1024);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent || *sent < *got) break;
  }
  co_await stream.close();
}

/// Accepts until it is cancelled or the device is gone; then nobody waits for a signal any more.
task<> accept_all(tcp::listener& listener, task_group& connections, task_group& running) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    connections.spawn(serve(std::move(*accepted)));
  }
  running.cancel();
}

task<> stop_on_signal(signal_set& signals, task_group& running) {
  co_await signals.wait();
  running.cancel();
}

/// Serves until Ctrl-C or the end of the device; gives the exit code.
task<int> run_server(loop& owner, example::tun_stack& network, std::uint16_t port) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto listener = network.stack().listen({.address = {}, .port = port}).value();
  std::printf("echo_server: listening on port %u of device %s\n", listener.local_endpoint().port,
              network.device().c_str());
  std::fflush(stdout);
  task_group connections(owner, on_failure::collect);
  task_group running(owner);
  running.spawn(accept_all(listener, connections, running));
  running.spawn(stop_on_signal(signals, running));
  co_await running.join();
  listener.close();
  connections.cancel();
  co_await connections.join();
  if (const auto lost = network.stack().link_error()) {
    std::fprintf(stderr, "echo_server: the device %s is gone: %s.\n", network.device().c_str(),
                 lost.message().c_str());
    co_return 1;
  }
  const auto delivered = co_await with_timeout(3s, network.stack().idle());
  if (!delivered) std::fprintf(stderr, "echo_server: some connections did not end in 3 s.\n");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends back whatever it is sent, over its own TCP on a TUN device.", "echo_server"};
  example::link_flags flags;
  example::policy_flags policies;
  std::uint16_t port = 7;
  example::inspect_flags inspect;
  flags.add_to(app);
  inspect.add_to(app);
  policies.add_to(app);
  app.add_option("--port", port, "Port to listen on")->capture_default_str();
  return example::run(app, argc, argv, [&] {
    tcp::policy_set base;
    base.connection.nodelay = true;
    const tcp::policy_set policy = policies.over(base);
    if (policies.printed(policy)) return 0;
    loop owner;
    example::tun_stack network(owner, flags, policy);
    return owner.run(
        example::inspected(owner, network.stack(), inspect, run_server(owner, network, port)));
  });
}
