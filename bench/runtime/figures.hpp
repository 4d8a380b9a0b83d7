#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

/// What the programs of this folder share: they are called with the name of a case and a count, and
/// print "name value unit" lines, which runtime.py reads.
namespace figures {

using clock = std::chrono::steady_clock;

inline void print(const char* name, double value, const char* unit) {
  std::printf("%s %.4g %s\n", name, value, unit);
}

/// What one of `count` took since `begin`.
inline void print_each(const char* name, clock::time_point begin, std::uint64_t count) {
  const std::chrono::duration<double, std::nano> took = clock::now() - begin;
  print(name, took.count() / static_cast<double>(count), "ns");
}

/// The middle and the last percent of round trips.
inline void print_latencies(std::vector<std::int64_t>& nanoseconds) {
  std::sort(nanoseconds.begin(), nanoseconds.end());
  const auto at = [&](std::size_t percent) {
    return static_cast<double>(nanoseconds[nanoseconds.size() * percent / 100]);
  };
  print("wake_p50", at(50), "ns");
  print("wake_p99", at(99), "ns");
}

struct request {
  std::string_view name;
  std::uint64_t count = 0;
};

inline request parse(int argc, char** argv) {
  if (argc != 3 || std::atoll(argv[2]) <= 0) {
    std::fprintf(stderr, "usage: %s CASE COUNT; runtime.py calls it, see its --help.\n", argv[0]);
    std::exit(2);
  }
  return {argv[1], static_cast<std::uint64_t>(std::atoll(argv[2]))};
}

[[noreturn]] inline void unknown(const request& asked) {
  std::fprintf(stderr, "No case is called '%.*s'.\n", static_cast<int>(asked.name.size()),
               asked.name.data());
  std::exit(2);
}

}  // namespace figures
