#pragma once

#include <cstddef>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace runnel::bench {

/// What the kernel says that this process holds, in bytes.
struct memory_use {
  std::size_t rss = 0;
  /// Of it, what no file backs.
  std::size_t anonymous = 0;
};

/// Reads /proc/self/smaps_rollup, which unlike VmRSS is exact.
inline memory_use memory_of_this_process() {
  std::ifstream file("/proc/self/smaps_rollup");
  memory_use use;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kilobytes = 0;
    words >> name >> kilobytes;
    if (name == "Rss:") use.rss = kilobytes << 10;
    if (name == "Anonymous:") use.anonymous = kilobytes << 10;
  }
  if (use.rss == 0) {
    throw std::runtime_error("/proc/self/smaps_rollup tells no Rss; Linux 4.14 or newer has it.");
  }
  return use;
}

}  // namespace runnel::bench
