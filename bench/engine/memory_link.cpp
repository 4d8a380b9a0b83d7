// What the engine costs alone: two hosts in one thread, every packet handed from one to the other
// in memory. Each connection is opened, carries a request and a response, is closed by the server
// and then by the client, with 60 s of TIME_WAIT, RFC 6528 ISNs and timestamps on; with --requests
// the connections stay and requests are counted. With --with-time-wait, --with-idle and
// --with-half-open the server's table is filled first, by segments of peers that do not exist
// otherwise, while time stands still: tells what an entry takes, and the rate beside them.
// Half-open entries repeat their SYN-ACK after 1 s as ever; what is measured for longer includes
// that.
//
// Prints one line of JSON. "rss_each" and "anonymous_each" are what the process has grown by for
// each entry, "held_each" what the host took from the system for it, all in bytes.
//
//   memory_link [--seconds S] [--connections N] [--checksums on|off] [--requests]
//               [--clients N] [--first-port P] [--last-port P] [--operations N]
//               [--with-time-wait N] [--with-idle N] [--with-half-open N]

#include <array>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <utility>
#include <vector>

#include "measure.hpp"

using namespace runnel;
using namespace runnel::bench;

namespace {

struct wanted_entries {
  table_entry kind;
  const char* flag;
  std::uint64_t count = 0;
};

void print_filling(table_entry kind, const filling& filled, bool first) {
  std::printf(
      "%s{\"kind\": \"%s\", \"count\": %llu, \"fill_seconds\": %.3f, \"rss_each\": %.1f, "
      "\"anonymous_each\": %.1f, \"held_each\": %.1f}",
      first ? "" : ", ", to_string(kind), static_cast<unsigned long long>(filled.count),
      filled.seconds, filled.each(filled.grown.rss), filled.each(filled.grown.anonymous),
      filled.each(filled.held));
}

void print_table(const tcp::host& server) {
  const tcp::memory_table held = server.memory();
  const auto& counted = server.counters();
  std::printf(
      "\"time_wait\": %zu, \"time_wait_reopened\": %llu, \"time_wait_overflow\": %llu, "
      "\"open\": %zu, \"half_open\": %zu, \"connection_bytes\": %zu, \"half_open_bytes\": %zu, "
      "\"time_wait_bytes\": %zu, \"held_bytes\": %zu",
      held.time_wait, static_cast<unsigned long long>(counted.time_wait_reopened),
      static_cast<unsigned long long>(counted.time_wait_overflow), held.connections, held.half_open,
      held.connection_bytes, held.half_open_bytes, held.time_wait_bytes, held.held_bytes);
}

void run(const pair_options& options, const extent& until, std::span<const wanted_entries> wanted) {
  engine_pair pair(options);
  crafted_peers peers(pair.server(), pair.listener(), epoch);
  std::vector<std::pair<table_entry, filling>> filled;
  for (const wanted_entries& each : wanted) {
    if (each.count > 0) filled.emplace_back(each.kind, fill(pair, peers, each.kind, each.count));
  }
  const measurement result = measure(pair, until);
  std::printf("{\"filled\": [");
  for (std::size_t i = 0; i < filled.size(); ++i) {
    print_filling(filled[i].first, filled[i].second, i == 0);
  }
  std::printf(
      "], \"mode\": \"%s\", \"checksums\": \"%s\", \"connections\": %u, \"clients\": %u, "
      "\"operations\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"ns_each\": %.1f, "
      "\"packets_each\": %.4f, ",
      options.requests ? "requests" : "connections", options.checksums ? "on" : "off",
      options.at_once, options.clients, static_cast<unsigned long long>(result.operations),
      result.seconds, result.rate(), result.ns_each(), result.packets_each());
  print_table(pair.server());
  std::printf("}\n");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What the engine costs alone, two hosts in one thread; prints a line of JSON.",
               "memory_link"};
  pair_options options;
  extent until;
  std::array<wanted_entries, 3> wanted{{{table_entry::time_wait, "--with-time-wait"},
                                        {table_entry::idle, "--with-idle"},
                                        {table_entry::half_open, "--with-half-open"}}};
  add_flags(app, options, until);
  for (wanted_entries& each : wanted) {
    app.add_option(each.flag, each.count, "Entries in the server's table beforehand")
        ->check(CLI::Range(0, 4'000'000));
  }
  CLI11_PARSE(app, argc, argv);
  try {
    if (const std::string why = disagreement(options, until); !why.empty()) {
      throw std::runtime_error(why);
    }
    if (wanted[0].count > 0 && until.seconds > 50) {
      throw std::runtime_error("TIME_WAIT ends after 60 s; measure for no more than 50 beside it.");
    }
    if (until.operations > 0) options.operations = until.operations;
    run(options, until, wanted);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "memory_link: %s\n", error.what());
    return 1;
  }
}
