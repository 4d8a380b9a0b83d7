// Sends back whatever it is sent, over our own TCP on a TUN device, until Ctrl-C.
//
//   sudo ./echo_server --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2 --port 7
//   nc 10.77.0.2 7

#include <vector>

#include "runnel/tcp/stack.hpp"
#include "support/inspect_flags.hpp"
#include "support/link_flags.hpp"
#include "support/policy_flags.hpp"
#include "support/serving.hpp"

using namespace runnel;

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
    return owner.run(example::inspected(
        owner, network.stack(), inspect,
        example::serve_until_signal(owner, network, "echo_server", port, &serve)));
  });
}
