// How the cost of a connection grows with the number of connections that are open beside it: the
// same as memory_link, with 10, 100, ... idle established connections in the server's table, a
// fresh pair of hosts for each number. A straight line is the claim.
//
// Prints an array of JSON, one point for each number.
//
//   growth [--most N] [--least N] [the flags of memory_link but --with-...]

#include <cstdint>
#include <cstdio>
#include <exception>

#include "measure.hpp"

using namespace runnel;
using namespace runnel::bench;

namespace {

struct range {
  std::uint64_t least = 10;
  std::uint64_t most = 1'000'000;
};

void point(const pair_options& options, const extent& until, std::uint64_t open) {
  engine_pair pair(options);
  crafted_peers peers(pair.server(), pair.listener(), epoch);
  const filling filled = fill(pair, peers, table_entry::idle, open);
  const measurement result = measure(pair, until);
  std::printf(
      "{\"open\": %llu, \"mode\": \"%s\", \"connections\": %u, \"operations\": %llu, "
      "\"seconds\": %.6f, \"rate\": %.1f, \"ns_each\": %.1f, \"packets_each\": %.4f, "
      "\"held_each\": %.1f}",
      static_cast<unsigned long long>(open), options.requests ? "requests" : "connections",
      options.at_once, static_cast<unsigned long long>(result.operations), result.seconds,
      result.rate(), result.ns_each(), result.packets_each(), filled.each(filled.held));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The cost of a connection beside 10 to 1,000,000 open ones; prints JSON.", "growth"};
  pair_options options;
  extent until;
  range open;
  add_flags(app, options, until);
  app.add_option("--least", open.least, "Open connections at the first point; ten times more each")
      ->check(CLI::Range(1, 4'000'000))
      ->capture_default_str();
  app.add_option("--most", open.most, "No point has more")
      ->check(CLI::Range(1, 4'000'000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    if (const std::string why = disagreement(options, until); !why.empty()) {
      throw std::runtime_error(why);
    }
    if (until.operations > 0) options.operations = until.operations;
    std::printf("[");
    for (std::uint64_t each = open.least; each <= open.most; each *= 10) {
      std::printf(each == open.least ? "\n" : ",\n");
      point(options, until, each);
    }
    std::printf("\n]\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "growth: %s\n", error.what());
    return 1;
  }
}
