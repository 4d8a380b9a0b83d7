// The echo server again, written with fibers: code with a stack of its own that waits by calling a
// function, on the same loop and the same TCP.
//
//   sudo ./fiber_echo --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --port 7

#include <csignal>
#include <ostream>

#include "runnel/dump.hpp"
#include "runnel/fiber.hpp"
#include "runnel/net/fiber_iostream.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/link_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// One connection, as code for a std::iostream: what was read is written, until the end. It leaves
/// when the buffer is full or nothing more has come so far.
void serve(fiber& self, tcp::stream& stream) {
  net::fiber_iostream io(self, stream, 16 * 1024);
  io << io.rdbuf() << std::flush;
  self.await(stream.close());
}

/// Accepts until it is cancelled or the device is gone; every connection gets a fiber.
void accept_all(fiber& self, tcp::listener& listener, task_group& connections,
                task_group& running) {
  for (;;) {
    auto accepted = self.await(listener.accept());
    if (!accepted) break;
    connections.spawn(
        run_fiber([stream = std::move(*accepted)](fiber& own) mutable { serve(own, stream); }));
  }
  running.cancel();
}

int run_server(fiber& self, example::tun_stack& network, std::uint16_t port) {
  loop& owner = self.owner();
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto listener = network.stack().listen({.address = {}, .port = port}).value();
  std::printf("fiber_echo: listening on port %u of device %s\n", listener.local_endpoint().port,
              network.device().c_str());
  std::fflush(stdout);
  task_group connections(owner, on_failure::collect);
  task_group running(owner);
  running.spawn(run_fiber([&](fiber& own) { accept_all(own, listener, connections, running); }));
  running.spawn(run_fiber([&](fiber& own) {
    (void)own.await(signals.wait());
    running.cancel();
  }));
  running.spawn(dump_on_signal(owner));
  (void)self.await(running.join());
  listener.close();
  connections.cancel();
  (void)self.await(connections.join());
  if (const auto lost = network.stack().link_error()) {
    std::fprintf(stderr, "fiber_echo: the device %s is gone: %s.\n", network.device().c_str(),
                 lost.message().c_str());
    return 1;
  }
  const auto delivered = self.await(with_timeout(3s, network.stack().idle()));
  if (!delivered) std::fprintf(stderr, "fiber_echo: some connections did not end in 3 s.\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends back whatever it is sent; every connection is a fiber.", "fiber_echo"};
  example::link_flags flags;
  std::uint16_t port = 7;
  flags.add_to(app);
  app.add_option("--port", port, "Port to listen on")->capture_default_str();
  return example::run(app, argc, argv, [&] {
    loop owner;
    example::tun_stack network(owner, flags);
    return owner.run(run_fiber([&](fiber& self) { return run_server(self, network, port); }));
  });
}
