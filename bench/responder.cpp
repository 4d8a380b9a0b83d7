// The least that can be called a server on our TCP: every read is taken for one request and
// answered with the same bytes; a request that says "Connection: close" is the connection's last.
// What http_server costs beyond this is HTTP.
//
//   responder --tun NAME --address ADDRESS [--port P] [--busy-poll MICROSECONDS] [--offload LEVEL]
//
// The device is there already and stays as it is. Prints "ready" and what the loop runs on once it
// serves. SIGTERM and SIGINT end it, and one line of JSON tells what it has done by then.

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

#include "runnel/loop.hpp"
#include "runnel/net/tun.hpp"
#include "runnel/signal.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"

using namespace runnel;

namespace {

struct settings {
  std::string tun;
  std::string address;
  std::uint16_t port = 80;
  std::uint32_t busy_poll_us = 0;
  net::tun_offload offload = net::tun_offload::automatic;
};

constexpr std::string_view answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";
constexpr std::string_view last_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n"
    "Connection: close\r\n\r\nHello, world!\n";

task<> serve(tcp::stream stream) {
  std::array<std::byte, 512> buffer;
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) co_return;
    const std::string_view request(reinterpret_cast<const char*>(buffer.data()), *got);
    const bool last = request.find("onnection: close") != request.npos;
    const std::string_view text = last ? last_answer : answer;
    const auto sent = co_await stream.write(std::as_bytes(std::span(text)));
    if (!sent || last) co_return;
  }
}

task<> accept_all(tcp::listener& listener, task_group& connections) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    connections.spawn(serve(std::move(*accepted)));
  }
}

task<> run(loop& owner, tcp::stack& stack, std::uint16_t port) {
  signal_set signals(owner, {SIGINT, SIGTERM});
  tcp::listener_policy policy;
  policy.backlog = 4096;
  auto listener = stack.listen({.address = {}, .port = port}, policy).value();
  task_group connections(owner, on_failure::collect);
  connections.spawn(accept_all(listener, connections));
  std::printf("ready %s\n", owner.description().c_str());
  std::fflush(stdout);
  co_await signals.wait();
  connections.cancel();
  co_await connections.join();
}

void report(const loop& owner, const net::tun& tun, const tcp::stack& stack) {
  const auto& turns = owner.metrics();
  const tcp::host& host = stack.engine();
  const auto& counters = host.counters();
  const auto number = [](const char* name, auto value, const char* end = ", ") {
    std::printf("\"%s\": %llu%s", name, static_cast<unsigned long long>(value), end);
  };
  const auto policy = stack.policy();
  const auto length = policy.connection.time_wait.value_or(std::chrono::seconds(60));
  std::printf("{\"device\": \"%s\", ", tun.description().c_str());
  number("turns", turns.turns);
  number("enters", turns.enters);
  number("waits", turns.waits);
  number("busy_turns", turns.busy_turns);
  number("tasks_run", turns.resumed);
  number("time_wait_ms", length.count());
  number("time_wait_now", host.memory().time_wait);
  number("time_wait_entered", counters.time_waited);
  number("time_wait_reopened", counters.time_wait_reopened);
  number("time_wait_overflow", counters.time_wait_overflow);
  number("time_wait_evicted", counters.time_wait_evicted, "}\n");
}

void serve_until_signal(const settings& flags) {
  const auto address = net::address::parse(flags.address);
  if (!address) {
    throw std::invalid_argument("'" + flags.address +
                                "' is no IP address; write it as in 10.77.0.2.");
  }
  loop_options turning;
  turning.busy_poll = std::chrono::microseconds(flags.busy_poll_us);
  loop owner(turning);
  net::tun_options options;
  options.name = flags.tun;
  options.offload = flags.offload;
  net::tun tun = net::tun::open(owner, options).value();
  tcp::stack_options made;
  made.addresses = {*address};
  tcp::stack stack(owner, tun, made);
  owner.run(run(owner, stack, flags.port));
  report(owner, tun, stack);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Answers every read on our own TCP over a TUN device with the same bytes.",
               "responder"};
  settings flags;
  app.add_option("--tun", flags.tun, "The TUN device to attach to")->required();
  app.add_option("--address", flags.address, "The address to answer for")->required();
  app.add_option("--port", flags.port, "Port to listen on")->capture_default_str();
  app.add_option("--busy-poll", flags.busy_poll_us,
                 "Microseconds to look at the device again and again before sleeping")
      ->capture_default_str();
  const std::map<std::string, net::tun_offload> levels{
      {"automatic", net::tun_offload::automatic},
      {"off", net::tun_offload::off},
      {"checksum", net::tun_offload::checksum},
      {"segmentation", net::tun_offload::segmentation}};
  app.add_option("--offload", flags.offload, "What the kernel does for packets of the device")
      ->transform(CLI::CheckedTransformer(levels))
      ->option_text("automatic|off|checksum|segmentation");
  try {
    app.parse(argc, argv);
    serve_until_signal(flags);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::fprintf(stderr, "responder: %s; see responder --help.\n", error.what());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "responder: %s\n", error.what());
    return 1;
  }
}
