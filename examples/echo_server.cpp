// Sends back whatever it is sent, over our own TCP on a TUN device, until Ctrl-C.
//
//   sudo ./echo_server --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --port 7
//   nc 10.77.0.2 7
//
// On four cores: the same with `--loops 4`.

#include <vector>

#include "runnel/tcp/stack.hpp"
#include "support/server_flags.hpp"

using namespace runnel;

namespace {

task<> serve(tcp::stream stream, tcp::stack&) {
  std::vector<std::byte> buffer(256 * 1024);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent || *sent < *got) break;
  }
  co_await stream.close();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Sends back whatever it is sent, over its own TCP on a TUN device.", "echo_server"};
  example::server_flags flags(7);
  flags.add_to(app);
  example::add_loops_to(app, flags.loops);
  return example::run(app, argc, argv, [&] {
    tcp::policy_set base;
    base.connection.nodelay = true;
    return example::run_server("echo_server", flags, base, &serve);
  });
}
