#include "table.hpp"

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace runnel::tcp::sim {

namespace {

constexpr std::size_t trouble_width = 26;

std::string trimmed(const std::string& of) {
  const std::size_t end = of.find_last_not_of(' ');
  return end == std::string::npos ? std::string() : of.substr(0, end + 1);
}

}  // namespace

throughput_table read_table(const std::string& file) {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot read " + file);
  throughput_table out;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    cell_key key;
    cell value;
    if (line.size() < trouble_width) throw std::runtime_error(file + ": no cell: " + line);
    key.trouble = trimmed(line.substr(0, trouble_width));
    std::istringstream rest(line.substr(trouble_width));
    rest >> key.rtt_ms >> key.buffer_kib >> value.median >> value.slowest >> value.fastest >>
        value.timeouts;
    if (!rest) throw std::runtime_error(file + ": no cell: " + line);
    out[key] = value;
  }
  return out;
}

void write_table(const std::string& file, const std::string& head,
                 const std::vector<std::string>& troubles, const throughput_table& table) {
  std::ofstream out(file);
  std::istringstream lines(head);
  for (std::string line; std::getline(lines, line);) {
    out << (line.empty() ? "#" : "# " + line) << "\n";
  }
  std::set<std::uint32_t> round_trips;
  for (const auto& [key, value] : table) round_trips.insert(key.rtt_ms);
  for (const std::uint32_t rtt_ms : round_trips) {
    char title[120];
    std::snprintf(title, sizeof title, "%-*s%6s%9s%9s%9s%9s%10s", static_cast<int>(trouble_width),
                  "# trouble", "RTT ms", "KiB", "median", "slowest", "fastest", "timeouts");
    out << "\n" << title << "\n";
    for (const std::string& trouble : troubles) {
      for (const auto& [key, value] : table) {
        if (key.rtt_ms != rtt_ms || key.trouble != trouble) continue;
        char line[120];
        std::snprintf(line, sizeof line, "%-*s%6u%9u%9.2f%9.2f%9.2f%10llu",
                      static_cast<int>(trouble_width), trouble.c_str(), key.rtt_ms, key.buffer_kib,
                      value.median, value.slowest, value.fastest,
                      static_cast<unsigned long long>(value.timeouts));
        out << line << "\n";
      }
    }
  }
  if (!out.flush()) throw std::runtime_error("cannot write " + file);
}

}  // namespace runnel::tcp::sim
