// One TCP on several loops, for the tests of connections that rest for so long that the kernel
// forgets which queue they are at. Each shard serves echoes and holds connections of its own to an
// echo server of the kernel's side.
//
//   shard_server --loops 2 --connect 10.77.0.1:9007 --active 1000
//
// It prints "connected COUNT" when all of these are open. SIGUSR1: every one of them asks once, and
// "answered COUNT of COUNT" follows. SIGINT: all are closed, and the counters and the memory of all
// shards together follow, a line each.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

#include "examples/support/link_flags.hpp"
#include "runnel/event.hpp"
#include "runnel/runtime.hpp"
#include "runnel/signal.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/shard_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct settings {
  example::link_flags link;
  unsigned loops = 2;
  std::string connect = "10.77.0.1:9007";
  unsigned active = 1000;
};

/// What the shards share.
struct environment {
  environment(const settings& given, runtime& on)
      : flags(given), cores(&on), shards(given.loops), go(given.loops), stop(given.loops) {
    net::tun_options options;
    options.name = given.link.tun;
    options.address = given.link.tun_address;
    queues = net::tun::open_queues(given.loops, options).value();
    for (auto* all : {&go, &stop}) {
      for (auto& each : *all) each = std::make_unique<event>();
    }
  }
  /// Sets one event of each loop, there.
  void tell(std::vector<std::unique_ptr<event>>& all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto told = cores->remotes()[i].post([which = all[i].get()] { which->set(); });
      if (!told) std::fprintf(stderr, "shard_server: a loop is gone\n");
    }
  }
  /// True for the one of `loops` that comes last.
  bool is_last(std::atomic<unsigned>& come) const { return come.fetch_add(1) + 1 == flags.loops; }

  const settings& flags;
  runtime* cores;
  tcp::shard_group shards;
  std::vector<net::tun> queues;
  std::vector<std::unique_ptr<event>> go;
  std::vector<std::unique_ptr<event>> stop;
  std::atomic<unsigned> listening{0};
  std::atomic<unsigned> connected{0};
  std::atomic<unsigned> asked{0};
  std::atomic<unsigned> answered{0};
  std::atomic<unsigned> closed{0};
  std::atomic<bool> over{false};
};

task<> echo(tcp::stream accepted) {
  tcp::stream at = std::move(accepted);
  for (;;) {
    const auto waited = co_await at.readable();
    if (!waited) break;
    std::array<std::byte, 512> buffer;
    const auto got = co_await at.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await at.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) break;
  }
  co_await at.close();
}

task<> accept_all(tcp::listener& on, task_group& connections) {
  for (;;) {
    auto accepted = co_await on.accept();
    if (!accepted) break;
    connections.spawn(echo(std::move(*accepted)));
  }
}

task<> connect_all(environment& all, tcp::stack& stack, std::vector<tcp::stream>& out) {
  const net::endpoint to = example::parse_endpoint(all.flags.connect);
  const unsigned share = all.flags.active / all.flags.loops;
  while (out.size() < share) {
    auto connected = co_await stack.connect(to);
    if (!connected) {
      std::printf("connect failed: %s\n", connected.error().message().c_str());
      co_return;
    }
    out.push_back(std::move(*connected));
  }
}

/// Asks on a few connections before it looks for their answers.
task<unsigned> ask_some(std::span<tcp::stream> connections) {
  constexpr std::array<std::byte, 16> question{std::byte{'?'}};
  unsigned answered = 0;
  for (tcp::stream& each : connections) {
    co_await each.write(question);
  }
  for (tcp::stream& each : connections) {
    std::array<std::byte, 16> answer;
    const auto got = co_await each.read(answer);
    if (got && *got == question.size() && answer == question) ++answered;
  }
  co_return answered;
}

task<unsigned> ask_all(std::span<tcp::stream> connections) {
  unsigned answered = 0;
  while (!connections.empty()) {
    const std::size_t some = std::min<std::size_t>(128, connections.size());
    const unsigned now = co_await ask_some(connections.first(some));
    answered += now;
    connections = connections.subspan(some);
  }
  co_return answered;
}

task<> close_all(std::vector<tcp::stream>& connections, loop& here) {
  task_group closing(here);
  const auto close = [](tcp::stream& which) -> task<> { co_await which.close(); };
  for (std::size_t i = 0; i < connections.size(); ++i) {
    closing.spawn(close(connections[i]));
    if (i % 128 == 127) co_await closing.join();
  }
  co_await closing.join();
}

task<> obey_signals(environment& all, loop& here) {
  signal_set signals(here, {SIGUSR1, SIGINT, SIGTERM});
  for (;;) {
    const auto which = co_await signals.wait();
    if (!which) break;
    all.tell(*which == SIGUSR1 ? all.go : all.stop);
    if (*which != SIGUSR1) break;
  }
}

task<> print_sums(environment& all, tcp::stack& stack) {
  auto seen = co_await stack.look_at_all();
  // Some peers have not yet closed in turn.
  for (int patience = 0; seen && seen->memory.connections > 0 && patience < 1000; ++patience) {
    co_await sleep(10ms);
    seen = co_await stack.look_at_all();
  }
  if (!seen) co_return;
  seen->counters.for_each([](std::string_view name, std::uint64_t value) {
    if (value == 0) return;
    std::printf("%.*s %llu\n", static_cast<int>(name.size()), name.data(),
                static_cast<unsigned long long>(value));
  });
  std::printf("connections %zu\nhalf_open %zu\nbuffer_bytes %zu\n", seen->memory.connections,
              seen->memory.half_open, seen->memory.buffer_bytes);
  std::fflush(stdout);
  all.over = true;
}

void print_line(const char* what, unsigned count, unsigned of) {
  std::printf("%s %u of %u\n", what, count, of);
  std::fflush(stdout);
}

task<> serve_round(environment& all, loop& here, std::size_t index, tcp::stack& stack) {
  std::vector<tcp::stream> active;
  co_await connect_all(all, stack, active);
  if (all.is_last(all.connected)) print_line("connected", all.flags.active, all.flags.active);
  task_group signals(here);
  if (index == 0) signals.spawn(obey_signals(all, here));
  co_await all.go[index]->wait();
  const unsigned answered = co_await ask_all(active);
  all.answered += answered;
  if (all.is_last(all.asked)) print_line("answered", all.answered, all.flags.active);
  co_await all.stop[index]->wait();
  co_await close_all(active, here);
  co_await signals.join();
}

task<> run_shard(environment& all, loop& here, std::size_t index) {
  net::tun queue = std::move(all.queues[index]);
  tcp::stack_options options;
  options.addresses = {example::parse_address(all.flags.link.address)};
  options.connection.nodelay = true;
  options.shard = all.shards.seat(static_cast<std::uint32_t>(index));
  tcp::stack stack(here, queue, std::move(options));
  auto listener = stack.listen({{}, 7}, {.backlog = 4096}).value();
  // Half of what comes for one shard comes by another one's queue.
  all.listening.fetch_add(1);
  while (all.listening < all.flags.loops) {
    co_await sleep(1ms);
  }
  task_group connections(here, on_failure::collect);
  task_group accepting(here);
  accepting.spawn(accept_all(listener, connections));
  co_await serve_round(all, here, index, stack);
  co_await connections.join();
  co_await stack.idle();
  all.closed.fetch_add(1);
  while (all.closed < all.flags.loops) {
    co_await sleep(1ms);
  }
  if (index == 0) co_await print_sums(all, stack);
  while (!all.over) {
    co_await sleep(1ms);
  }
  accepting.cancel();
  co_await accepting.join();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Echoes and held connections of one TCP on several loops.", "shard_server"};
  settings flags;
  flags.link.add_to(app);
  app.add_option("--loops", flags.loops, "Loops, each on a thread of its own")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option("--connect", flags.connect, "The echo server to hold connections to")
      ->capture_default_str();
  app.add_option("--active", flags.active, "How many, all shards together")->capture_default_str();
  return example::run(app, argc, argv, [&] {
    runtime cores({.threads = flags.loops, .pin = false});
    environment all(flags, cores);
    cores.run([&](loop& here, std::size_t index) { return run_shard(all, here, index); });
    return 0;
  });
}
