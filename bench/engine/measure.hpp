#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

#include "crafted_peers.hpp"
#include "engine_pair.hpp"
#include "memory_use.hpp"

namespace runnel::bench {

/// How long a measurement goes on.
struct extent {
  /// Real time, unless `operations` are given.
  double seconds = 1;
  /// Exactly so many operations in virtual time that a turn takes a fixed step of: the same
  /// instructions on every run. 0 for none.
  std::uint64_t operations = 0;
};

struct measurement {
  std::uint64_t operations = 0;
  std::uint64_t packets = 0;
  double seconds = 0;

  double rate() const { return static_cast<double>(operations) / seconds; }
  double ns_each() const { return 1e9 * seconds / static_cast<double>(operations); }
  double packets_each() const {
    return static_cast<double>(packets) / static_cast<double>(operations);
  }
};

/// Lets the pair run, from `epoch` on.
inline measurement measure(engine_pair& pair, const extent& until) {
  using clock = std::chrono::steady_clock;
  constexpr auto step = std::chrono::microseconds(50);
  constexpr std::uint64_t turns_without_end = 100'000;
  const auto begin = clock::now();
  duration passed{0};
  pair.start(epoch);
  if (until.operations > 0) {
    std::uint64_t idle_turns = 0;
    for (std::uint64_t before = 0; !pair.finished(); before = pair.done()) {
      passed += step;
      pair.turn(epoch + passed);
      idle_turns = pair.done() == before ? idle_turns + 1 : 0;
      if (idle_turns == turns_without_end) throw std::runtime_error("nothing happens any more.");
    }
  } else {
    const auto wanted = std::chrono::duration<double>(until.seconds);
    for (; passed < wanted; passed = clock::now() - begin) pair.turn(epoch + passed);
  }
  const std::chrono::duration<double> taken = clock::now() - begin;
  return {pair.done(), pair.packets(), taken.count()};
}

/// What filling a table has cost.
struct filling {
  std::uint64_t count = 0;
  double seconds = 0;
  /// What the process has grown by.
  memory_use grown;
  /// What the server's host says that it has taken from the system for it.
  std::size_t held = 0;

  double each(std::size_t bytes) const {
    return count == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(count);
  }
};

/// Puts so many entries of a kind into the server's table.
inline filling fill(engine_pair& pair, crafted_peers& peers, table_entry kind,
                    std::uint64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  const memory_use before = memory_of_this_process();
  const std::size_t held_before = pair.server().memory().held_bytes;
  for (std::uint64_t i = 0; i < count; ++i) peers.add(kind);
  const memory_use after = memory_of_this_process();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return {count,
          taken.count(),
          {after.rss - before.rss, after.anonymous - before.anonymous},
          pair.server().memory().held_bytes - held_before};
}

/// The flags that the programs of this folder share.
inline void add_flags(CLI::App& app, pair_options& options, extent& until) {
  app.add_option("--seconds", until.seconds, "How long to measure")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();
  app.add_option("--connections", options.at_once, "Connections at once")
      ->check(CLI::Range(1U, 60'000U))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--checksums", [&options](const std::string& text) { options.checksums = text == "on"; },
         "on: computed and verified (the default); off: left to the link")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_flag("--requests", options.requests, "Keep the connections, count requests");
  app.add_option("--first-port", options.first_port, "The client's first local port")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  app.add_option("--last-port", options.last_port, "The client's last local port")
      ->check(CLI::Range(1, 65'535))
      ->capture_default_str();
  app.add_option("--clients", options.clients, "Addresses of the client, used in turn")
      ->check(CLI::Range(1U, 60'000U))
      ->capture_default_str();
  app.add_option("--operations", until.operations,
                 "Exactly so many, in virtual time, in place of --seconds: repeats exactly");
}

/// Why the flags do not go together; empty when they do.
inline std::string disagreement(const pair_options& options, const extent& until) {
  if (options.first_port > options.last_port) return "--first-port is above --last-port.";
  if (until.operations > 0 && until.operations < options.at_once) {
    return "--operations is less than --connections; ask for at least as many.";
  }
  return {};
}

}  // namespace runnel::bench
