// Forwards TCP connections: each one that comes to our own TCP on a TUN device is connected to a
// server that the kernel reaches through the same device, and bytes go on in both directions
// without being copied: they are lent by the stream that received them and owned by the one that
// sends them, which is the only one whose slowness counts.
//
//   sudo ./forward 10.77.0.1:5201 --tun runnel0 --address 10.77.0.2 --port 5201
//   iperf3 -s -B 10.77.0.1 & iperf3 -c 10.77.0.2

#include <utility>

#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "support/relay.hpp"
#include "support/server_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

/// Passes on what comes until one of the two ends. What `to` has not taken stays unread in `from`,
/// whose window closes, so that its peer waits.
task<> pass(tcp::stream& from, tcp::stream& to) {
  for (;;) {
    auto lent = co_await from.borrow();
    if (!lent) {
      to.abort();
      co_return;
    }
    if (lent->empty()) break;
    const std::size_t size = lent->size();
    const auto sent = co_await to.write(lent->pieces());
    if (!sent || *sent < size) {
      from.abort();
      co_return;
    }
    lent->consume();
  }
  static_cast<void>(to.shutdown());
}

task<> forward(tcp::stream client, tcp::stack& stack, net::endpoint server) {
  auto connected = co_await example::connect_behind("forward", client, stack, server, 10s);
  if (!connected) co_return;
  tcp::stream upstream = std::move(*connected);
  client.set_nodelay(true);
  upstream.set_nodelay(true);
  cancel_scope& scope = co_await this_scope();
  task_group both(scope, on_failure::collect);
  both.spawn(pass(client, upstream));
  both.spawn(pass(upstream, client));
  co_await both.join();
  co_await client.close();
  co_await upstream.close();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Forwards TCP connections without copying, by its own TCP on a TUN device.",
               "forward"};
  example::server_flags flags(7);
  std::string server;
  app.add_option("server", server, "Address and port to forward to, as in 10.77.0.1:5201")
      ->required();
  flags.add_to(app);
  return example::run(app, argc, argv, [&] {
    const net::endpoint to = example::parse_endpoint(server);
    return example::run_server("forward", flags, {}, [to](tcp::stream client, tcp::stack& stack) {
      return forward(std::move(client), stack, to);
    });
  });
}
