#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

namespace runnel::tcp::sim {

/// Which transfers a cell of the table is about.
struct cell_key {
  std::uint32_t rtt_ms = 0;
  std::string trouble;
  std::uint32_t buffer_kib = 0;

  friend bool operator<(const cell_key& a, const cell_key& b) {
    return std::tie(a.rtt_ms, a.trouble, a.buffer_kib) <
           std::tie(b.rtt_ms, b.trouble, b.buffer_kib);
  }
};

/// Mbit/s over the seeds, and how often their senders' time-outs expired in all.
struct cell {
  double median = 0;
  double slowest = 0;
  double fastest = 0;
  std::uint64_t timeouts = 0;
};

using throughput_table = std::map<cell_key, cell>;

/// Reads what `write_table` wrote; throws `std::runtime_error` with the line that is no line of it.
throughput_table read_table(const std::string& file);
/// One line a cell, in this order of `troubles`; `head` stands above, each line behind a "#".
void write_table(const std::string& file, const std::string& head,
                 const std::vector<std::string>& troubles, const throughput_table& table);

}  // namespace runnel::tcp::sim
