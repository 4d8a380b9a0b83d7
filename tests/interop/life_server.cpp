// An echo server that tells how each connection lived, for the tests against the kernel's TCP. It
// accepts from the start, or with --hold only after SIGUSR1. Ctrl-C ends it; its last lines are the
// counters.

#include <csignal>
#include <map>
#include <vector>

#include "examples/support/link_flags.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

struct life_flags {
  std::uint16_t port = 7;
  bool hold = false;
  /// Close after the first echo, before the peer does.
  bool close_first = false;
  tcp::listener_policy listener;
  std::uint32_t keepalive_time_ms = 0;
  std::uint32_t keepalive_interval_ms = 75'000;
  std::uint8_t keepalive_probes = 9;

  void add_to(CLI::App& app) {
    const std::map<std::string, tcp::accept_overflow> overflows{
        {"drop", tcp::accept_overflow::drop},
        {"reset", tcp::accept_overflow::reset},
        {"park", tcp::accept_overflow::park}};
    const std::map<std::string, tcp::syncookies> cookies{
        {"off", tcp::syncookies::off},
        {"on_overflow", tcp::syncookies::on_overflow},
        {"always", tcp::syncookies::always}};
    app.add_option("--port", port, "Port to listen on")->capture_default_str();
    app.add_flag("--hold", hold, "Accept nothing until SIGUSR1 comes");
    app.add_flag("--close-first", close_first, "Close after the first echo");
    app.add_option("--backlog", listener.backlog, "The listener's backlog")->capture_default_str();
    app.add_option("--overflow", listener.overflow, "What a full accept queue does")
        ->transform(CLI::CheckedTransformer(overflows));
    app.add_option("--cookie-overflow", listener.cookie_overflow, "The same for a cookie's ACK")
        ->transform(CLI::CheckedTransformer(overflows));
    app.add_option("--syncookies", listener.syncookies, "When to answer with cookies")
        ->transform(CLI::CheckedTransformer(cookies));
    app.add_option("--keepalive-time", keepalive_time_ms, "Idle ms before the first probe; 0: none")
        ->capture_default_str();
    app.add_option("--keepalive-interval", keepalive_interval_ms, "Ms between probes")
        ->capture_default_str();
    app.add_option("--keepalive-probes", keepalive_probes, "Unanswered probes before the end")
        ->capture_default_str();
  }

  tcp::listener_policy policy() const {
    tcp::listener_policy out = listener;
    if (keepalive_time_ms == 0) return out;
    out.connection.keepalive = true;
    out.connection.keepalive_time = std::chrono::milliseconds(keepalive_time_ms);
    out.connection.keepalive_interval = std::chrono::milliseconds(keepalive_interval_ms);
    out.connection.keepalive_probes = keepalive_probes;
    return out;
  }
};

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

/// Prints "end PORT MS WORDS": the peer's port, how long after its last byte, and why.
task<> serve(loop& owner, tcp::stream stream, bool close_first) {
  const std::string port = std::to_string(stream.remote_endpoint().port);
  std::vector<std::byte> buffer(4096);
  time_point last = owner.now();
  std::string why = "end of the stream";
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got) why = got.error().message();
    if (!got || *got == 0) break;
    last = owner.now();
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent || *sent < *got) break;
    if (!close_first) continue;
    why = "closed first";
    break;
  }
  const auto after = std::chrono::duration_cast<std::chrono::milliseconds>(owner.now() - last);
  say("end " + port + " " + std::to_string(after.count()) + " " + why);
  co_await stream.close();
}

task<> accept_all(loop& owner, tcp::listener& listener, task_group& connections, bool close_first) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) break;
    say("open " + std::to_string(accepted->remote_endpoint().port));
    connections.spawn(serve(owner, std::move(*accepted), close_first));
  }
}

task<int> run_server(loop& owner, example::tun_stack& network, const life_flags& flags) {
  signal_set signals(owner, {SIGINT, SIGTERM, SIGUSR1});
  auto listener =
      network.stack().listen({.address = {}, .port = flags.port}, flags.policy()).value();
  say("listening");
  task_group connections(owner, on_failure::collect);
  task_group accepting(owner);
  if (!flags.hold) {
    accepting.spawn(accept_all(owner, listener, connections, flags.close_first));
  }
  for (;;) {
    const auto number = co_await signals.wait();
    if (!number || *number != SIGUSR1) break;
    accepting.spawn(accept_all(owner, listener, connections, flags.close_first));
    say("accepting");
  }
  accepting.cancel();
  co_await accepting.join();
  connections.cancel();
  co_await connections.join();
  network.stack().engine().counters().for_each([](std::string_view name, std::uint64_t value) {
    if (value > 0) say("count " + std::string(name) + " " + std::to_string(value));
  });
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Echoes, and tells how each connection lived.", "life_server"};
  example::link_flags link;
  life_flags flags;
  link.add_to(app);
  flags.add_to(app);
  return example::run(app, argc, argv, [&] {
    loop owner;
    example::tun_stack network(owner, link);
    return owner.run(run_server(owner, network, flags));
  });
}
