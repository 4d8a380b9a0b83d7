// What one connection and one keep-alive request count in the engine alone, both ends together, and
// what one entry of the server's table takes. In virtual time with fixed keys: the same figures on
// every run. Prints one line of JSON.
//
// Packets and allocations are those of the second half, when every tuple has been used before and
// every pool and table has its size.
//
//   engine_counts [--operations N] [--entries N]

#include "heap_count.hpp"

#include <cstdint>
#include <cstdio>
#include <exception>

#include "bench/engine/measure.hpp"

using namespace runnel;
using namespace runnel::bench;

namespace {

void count_operations(bool requests, std::uint64_t operations) {
  pair_options options;
  options.requests = requests;
  // So few that all are used again soon.
  options.last_port = static_cast<std::uint16_t>(options.first_port + 4095);
  engine_pair pair(options);
  constexpr auto step = std::chrono::microseconds(50);
  time_point now = epoch;
  const auto run_to = [&](std::uint64_t done) {
    while (pair.done() < done) pair.turn(now += step);
  };
  pair.start(now);
  run_to(operations);
  const std::uint64_t done = pair.done();
  const std::uint64_t packets = pair.packets();
  const std::uint64_t allocated = allocations;
  run_to(2 * operations);
  const auto counted = static_cast<double>(pair.done() - done);
  const char* name = requests ? "request" : "connection";
  std::printf("\"packets_per_%s\": %.4f, \"allocations_per_%s\": %.6f, ", name,
              static_cast<double>(pair.packets() - packets) / counted, name,
              static_cast<double>(allocations - allocated) / counted);
}

void count_bytes(table_entry kind, std::uint64_t entries) {
  engine_pair pair({});
  crafted_peers peers(pair.server(), pair.listener(), epoch);
  const filling filled = fill(pair, peers, kind, entries);
  std::printf("\"held_bytes_per_%s\": %.2f, ", to_string(kind), filled.each(filled.held));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What the engine counts for one connection; prints a line of JSON.",
               "engine_counts"};
  std::uint64_t operations = 16'384;
  std::uint64_t entries = 100'000;
  app.add_option("--operations", operations, "So many beforehand, and so many that count")
      ->check(CLI::Range(1000, 1'000'000))
      ->capture_default_str();
  app.add_option("--entries", entries, "So many of each kind in a table")
      ->check(CLI::Range(1000, 1'000'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    std::printf("{");
    for (const bool requests : {false, true}) count_operations(requests, operations);
    for (const auto kind : {table_entry::half_open, table_entry::idle, table_entry::time_wait}) {
      count_bytes(kind, entries);
    }
    const tcp::memory_table each = engine_pair({}).server().memory();
    std::printf("\"connection_bytes\": %zu, \"half_open_bytes\": %zu, \"time_wait_bytes\": %zu, ",
                each.connection_bytes, each.half_open_bytes, each.time_wait_bytes);
    std::printf("\"half_open_bytes_v6\": %zu, \"time_wait_bytes_v6\": %zu}\n",
                each.half_open_bytes_v6, each.time_wait_bytes_v6);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine_counts: %s\n", error.what());
    return 1;
  }
}
