// A heartbeat of the application's own, which finds a dead peer where TCP's keepalive would take
// two hours: the client sends a line now and then, the server only watches a standing deadline.
//
//   ./heartbeat
//       both ends in this process; one client says goodbye, the other one falls silent
//   ./heartbeat --virtual
//       the same in virtual time, which jumps ahead when everybody waits
//   sudo ./heartbeat --serve --tun runnel0 --tun-address 10.77.0.1/24 --address 10.77.0.2
//   while sleep 1; do echo beat; done | nc 10.77.0.2 4000
//       stop the second one with Ctrl-Z and see the first one notice
//   nc -lk 4000
//       on every address, since 10.77.1.1 is there only with the device
//   sudo ./heartbeat --connect 10.77.1.1:4000 --tun runnel1 --tun-address 10.77.1.1/24
//       --address 10.77.1.2

#include <array>
#include <chrono>
#include <csignal>
#include <string>
#include <string_view>

#include "runnel/net/link_pair.hpp"
#include "runnel/signal.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/link_flags.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct settings {
  example::link_flags link;
  bool in_virtual_time = false;
  bool serve = false;
  std::string connect;
  std::uint16_t port = 4000;
  std::uint32_t interval_ms = 1000;
  std::uint32_t patience_ms = 3000;
  std::uint32_t beats = 5;
};

constexpr std::string_view line = "beat\n";

/// The server's end of one client: no timer is made per beat, only one deadline is moved.
task<> watch(loop& owner, tcp::stream client, duration patience) {
  const std::string name = client.remote_endpoint().to_string();
  std::array<std::byte, 256> buffer;
  for (;;) {
    client.set_read_deadline(owner.now() + patience);
    const auto got = co_await client.read(buffer);
    if (!got) {
      std::printf("%s is gone: %s\n", name.c_str(),
                  got.error() == errc::deadline_exceeded ? "no beat in time"
                                                         : got.error().message().c_str());
      client.abort();
      break;
    }
    if (*got == 0) {
      std::printf("%s has said goodbye\n", name.c_str());
      co_await client.close();
      break;
    }
  }
  std::fflush(stdout);
}

task<> accept_all(loop& owner, tcp::listener& listener, duration patience) {
  cancel_scope& scope = co_await this_scope();
  task_group clients(scope, on_failure::collect);
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    clients.spawn(watch(owner, std::move(*accepted), patience));
  }
  clients.cancel();
  co_await clients.join();
}

/// Sends `beats` lines; 0 is without end. The error that ended it before.
task<result<void>> beat(tcp::stream& over, duration interval, std::uint32_t beats) {
  for (std::uint32_t sent = 0; beats == 0 || sent < beats; ++sent) {
    const auto written = co_await over.write(std::as_bytes(std::span{line}));
    if (!written) co_return written.error();
    const auto rested = co_await sleep(interval);
    if (!rested) co_return rested.error();
  }
  co_return result<void>{};
}

/// A client that beats and then either closes, or is silent for long enough to be missed.
task<> play_client(tcp::stack& stack, net::endpoint server, const settings& flags, bool vanishes) {
  auto connected = co_await stack.connect(server);
  if (!connected) co_return;
  tcp::stream stream = std::move(*connected);
  const auto interval = std::chrono::milliseconds(flags.interval_ms);
  const std::uint32_t beats = vanishes ? 3 : flags.beats;
  const auto lived = co_await beat(stream, interval, beats);
  if (!lived) co_return;
  if (vanishes) {
    const auto waited = co_await sleep(std::chrono::milliseconds(flags.patience_ms) * 3 / 2);
    if (!waited) co_return;
  }
  co_await stream.close();
}

/// Two stacks of one process, a wire between them, one client that closes and one that vanishes.
task<int> run_in_process(loop& owner, const settings& flags) {
  net::link_pair wire(net::link_pair_options{.latency = 1ms});
  tcp::stack_options near;
  near.addresses = {net::address::v4(10, 0, 0, 1)};
  tcp::stack_options far;
  far.addresses = {net::address::v4(10, 0, 0, 2)};
  tcp::stack client(owner, wire.first(), std::move(near));
  tcp::stack server(owner, wire.second(), std::move(far));
  const net::endpoint at{net::address::v4(10, 0, 0, 2), flags.port};
  auto listener = server.listen(at).value();
  task_group serving(owner);
  serving.spawn(accept_all(owner, listener, std::chrono::milliseconds(flags.patience_ms)));
  task_group clients(owner);
  clients.spawn(play_client(client, at, flags, false));
  clients.spawn(play_client(client, at, flags, true));
  co_await clients.join();
  serving.cancel();
  co_await serving.join();
  co_return 0;
}

task<> stop_on_signal(signal_set& signals, task_group& running) {
  co_await signals.wait();
  running.cancel();
}

task<> serve_until_cancelled(loop& owner, tcp::listener& listener, duration patience,
                             task_group& running) {
  co_await accept_all(owner, listener, patience);
  running.cancel();
}

task<int> run_server(loop& owner, example::tun_stack& network, const settings& flags) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  auto listener = network.stack().listen({.address = {}, .port = flags.port}).value();
  std::printf("heartbeat: watching port %u of device %s\n", listener.local_endpoint().port,
              network.device().c_str());
  std::fflush(stdout);
  task_group running(owner);
  const auto patience = std::chrono::milliseconds(flags.patience_ms);
  running.spawn(serve_until_cancelled(owner, listener, patience, running));
  running.spawn(stop_on_signal(signals, running));
  co_await running.join();
  co_return 0;
}

task<> beat_until_cancelled(tcp::stream& over, const settings& flags, task_group& running,
                            result<void>& outcome) {
  outcome = co_await beat(over, std::chrono::milliseconds(flags.interval_ms), 0);
  running.cancel();
}

task<int> run_client(loop& owner, example::tun_stack& network, const settings& flags) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  const net::endpoint to = example::parse_endpoint(flags.connect);
  auto connected = co_await with_timeout(30s, network.stack().connect(to));
  if (!connected) {
    std::fprintf(stderr, "heartbeat: %s: %s.\n", flags.connect.c_str(),
                 connected.error().message().c_str());
    co_return 1;
  }
  tcp::stream stream = std::move(*connected);
  task_group running(owner);
  result<void> outcome;
  running.spawn(beat_until_cancelled(stream, flags, running, outcome));
  running.spawn(stop_on_signal(signals, running));
  co_await running.join();
  const auto ended = co_await with_timeout(3s, stream.close());
  const bool stopped = !outcome && outcome.error() == errc::cancelled;
  if (stopped) co_return ended ? 0 : 1;
  std::fprintf(stderr, "heartbeat: %s: %s.\n", flags.connect.c_str(),
               outcome ? "the end" : outcome.error().message().c_str());
  co_return 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A heartbeat over our own TCP: who is silent for too long is gone.", "heartbeat"};
  settings flags;
  flags.link.add_to(app);
  CLI::Option* in_virtual_time =
      app.add_flag("--virtual", flags.in_virtual_time,
                   "Both ends in this process, in virtual time, which takes none");
  app.add_flag("--serve", flags.serve, "Watch clients over the TUN device until Ctrl-C")
      ->excludes(in_virtual_time);
  app.add_option("--connect", flags.connect, "Send beats to this address and port until Ctrl-C")
      ->excludes(in_virtual_time);
  app.add_option("--port", flags.port, "Port to listen on")->capture_default_str();
  app.add_option("--interval", flags.interval_ms, "Milliseconds between two beats")
      ->capture_default_str();
  app.add_option("--patience", flags.patience_ms, "Milliseconds of silence that are borne")
      ->capture_default_str();
  app.add_option("--beats", flags.beats, "Beats of the in-process client that says goodbye")
      ->capture_default_str();
  return example::run(app, argc, argv, [&] {
    loop_options options;
    if (flags.in_virtual_time) options.simulated = 0;
    loop owner(options);
    if (!flags.serve && flags.connect.empty()) return owner.run(run_in_process(owner, flags));
    example::tun_stack network(owner, flags.link);
    return owner.run(flags.serve ? run_server(owner, network, flags)
                                 : run_client(owner, network, flags));
  });
}
