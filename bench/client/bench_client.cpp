// Measures an HTTP server from kernel sockets: how many connections or keep-alive requests a second
// it answers, and how long each takes. One thread; wrk and its like cost more than what they
// measure, so that this does no more than it must and says what it used itself.
//
//   bench_client --address 10.77.0.2 --port 80 --connections 64 --mode connections
//
// Prints "begin" and "end" around the measured window, at which a harness can read the server's CPU
// time, and then one line of JSON. Operations that fail are counted by kind and end nothing; what
// has not ended two seconds after the window is a timeout. "rate" is of what ended in the window.
//
// With --rate operations begin by a schedule (the open loop) and their time counts from when they
// were to begin, so that a server that stalls is charged for all that waited. "intended" says how
// many were to begin in the window, and "operations" how many of these came to an end, be it after
// the window.
//
// With --idle it opens connections, holds them, prints "holding" and waits for SIGTERM or the end
// of its standard input.

#include <arpa/inet.h>
#include <signal.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "holding.hpp"
#include "load.hpp"
#include "options.hpp"
#include "report.hpp"

namespace {

/// The command line as it is written.
struct flags {
  std::string address;
  std::uint16_t port = 80;
  std::uint32_t connections = 64;
  std::string mode = "connections";
  std::string close = "server";
  double seconds = 1;
  double warmup = 0.2;
  double rate = 0;
  std::string sources;
  double timeout_ms = 5000;
  double spin_us = 0;
  std::uint32_t idle = 0;
};

void add_to(CLI::App& app, flags& given) {
  app.add_option("--address", given.address, "The server's IPv4 address")
      ->required()
      ->check(CLI::ValidIPV4);
  app.add_option("--port", given.port, "The server's port")
      ->required()
      ->check(CLI::Range(1, 65535));
  app.add_option("--connections", given.connections, "How many at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  app.add_option("--mode", given.mode, "A connection for each request, or requests on lasting ones")
      ->capture_default_str()
      ->check(CLI::IsMember({"connections", "requests"}));
  app.add_option("--close", given.close, "Who closes first in mode connections")
      ->capture_default_str()
      ->check(CLI::IsMember({"server", "client"}));
  app.add_option("--seconds", given.seconds, "Length of the measured window")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 86'400.0));
  app.add_option("--warmup", given.warmup, "Seconds before the window")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 3'600.0));
  app.add_option("--rate", given.rate,
                 "Begin so many a second, whatever the server does (open loop)")
      ->check(CLI::Range(0.01, 10'000'000.0));
  app.add_option("--sources", given.sources,
                 "Local addresses to use in turn: FIRST_ADDRESS/COUNT, such as 10.77.0.10/64");
  app.add_option("--timeout-ms", given.timeout_ms, "After which an operation has failed")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 600'000.0));
  app.add_option("--spin", given.spin_us,
                 "Microseconds to ask for events before sleeping, for ping-pong with a busy server")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--idle", given.idle, "Hold so many connections open instead of loading")
      ->check(CLI::Range(1, 1'000'000));
}

/// Reads FIRST_ADDRESS/COUNT.
void read_sources(const std::string& text, bench::options& out) {
  const std::size_t slash = text.find('/');
  in_addr first{};
  std::size_t used = 0;
  unsigned long count = 0;
  try {
    if (slash != text.npos) count = std::stoul(text.substr(slash + 1), &used);
  } catch (const std::exception&) {
    count = 0;
  }
  if (count == 0 || count > 1'000'000 || slash + 1 + used != text.size() ||
      ::inet_pton(AF_INET, text.substr(0, slash).c_str(), &first) != 1) {
    throw std::runtime_error("--sources '" + text +
                             "' is no FIRST_ADDRESS/COUNT, such as 10.77.0.10/64");
  }
  out.first_source = ntohl(first.s_addr);
  out.source_count = static_cast<std::uint32_t>(count);
}

bench::options read(const flags& given) {
  bench::options out;
  out.server.sin_family = AF_INET;
  out.server.sin_port = htons(given.port);
  if (::inet_pton(AF_INET, given.address.c_str(), &out.server.sin_addr) != 1) {
    throw std::runtime_error("--address '" + given.address + "' is no IPv4 address");
  }
  out.connections = given.connections;
  out.requests = given.mode == "requests";
  out.client_closes = given.close == "client";
  out.seconds_ns = static_cast<std::int64_t>(given.seconds * 1e9);
  out.warmup_ns = static_cast<std::int64_t>(given.warmup * 1e9);
  out.timeout_ns = static_cast<std::int64_t>(given.timeout_ms * 1e6);
  out.rate = given.rate;
  out.spin_ns = static_cast<std::int64_t>(given.spin_us * 1e3);
  out.idle = given.idle;
  if (!given.sources.empty()) read_sources(given.sources, out);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Measures an HTTP server: connections or keep-alive requests a second, and their times.",
      "bench_client"};
  flags given;
  add_to(app, given);
  CLI11_PARSE(app, argc, argv);
  try {
    ::signal(SIGPIPE, SIG_IGN);
    const bench::options options = read(given);
    if (options.idle > 0) return bench::hold(options);
    if (bench::room_for_sockets(options.connections) < options.connections) {
      throw std::runtime_error(
          "this user may not open so many descriptors; raise the hard limit "
          "(ulimit -Hn) or ask for fewer connections");
    }
    // The schedule of the open loop is not to be rounded to 50 us.
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    bench::load load(options);
    load.run();
    std::fputs(bench::to_json(options, load.result()).c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_client: %s.\n", error.what());
    return 1;
  }
}
