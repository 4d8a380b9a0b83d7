// Sends its standard input to a server over our own TCP on a TUN device and writes what comes back
// to its standard output, until both ends have closed.
//
//   sudo ./echo_client 10.77.0.1:7 --tun runnel1 --tun-address 10.77.0.1/24 --address 10.77.0.2
//   <file

#include <unistd.h>

#include <csignal>
#include <vector>

#include "runnel/file.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/link_flags.hpp"
#include "support/printing.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t block_bytes = 64 * 1024;

task<result<void>> send_input(tcp::stream& stream) {
  std::vector<std::byte> buffer(block_bytes);
  for (;;) {
    const auto got = co_await read_at(STDIN_FILENO, buffer, current_position);
    if (!got) co_return got.error();
    if (*got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) co_return sent.error();
  }
  const auto ended = stream.shutdown();
  co_return ended;
}

task<result<void>> talk(example::tun_stack& network, net::endpoint server) {
  auto connected = co_await with_timeout(30s, network.stack().connect(server));
  if (!connected) co_return connected.error();
  tcp::stream stream = std::move(*connected);
  stream.set_nodelay(true);
  cancel_scope& scope = co_await this_scope();
  task_group both(scope);
  both.spawn(send_input(stream));
  both.spawn(example::print_all(stream));
  const auto done = co_await both.join();
  const auto ended = co_await stream.close();
  if (!done) co_return done.error();
  if (!ended.clean()) {
    co_return std::make_error_code(std::errc::connection_reset);
  }
  const auto finished = co_await with_timeout(5s, network.stack().idle());
  (void)finished;
  co_return result<void>();
}

task<> stop_on_signal(signal_set& signals, task_group& all) {
  const auto number = co_await signals.wait();
  if (number) all.cancel();
}

task<> talk_then_stop(example::tun_stack& network, net::endpoint server, task_group& all,
                      result<void>& outcome) {
  outcome = co_await talk(network, server);
  all.cancel();
}

task<int> run_client(loop& owner, example::tun_stack& network, net::endpoint server) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  task_group all(owner);
  result<void> outcome = errc::cancelled;
  all.spawn(stop_on_signal(signals, all));
  all.spawn(talk_then_stop(network, server, all, outcome));
  co_await all.join();
  if (outcome) co_return 0;
  std::fprintf(stderr, "echo_client: %s: %s.\n", server.to_string().c_str(),
               outcome.error().message().c_str());
  co_return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Sends its input to a server over its own TCP on a TUN device and prints what comes "
      "back.",
      "echo_client"};
  example::link_flags flags;
  std::string server;
  flags.add_to(app);
  app.add_option("server", server, "Address and port, as in 10.77.0.1:7")->required();
  return example::run(app, argc, argv, [&] {
    const net::endpoint to = example::parse_endpoint(server);
    loop owner;
    example::tun_stack network(owner, flags);
    return owner.run(run_client(owner, network, to));
  });
}
