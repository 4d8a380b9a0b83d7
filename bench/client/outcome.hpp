#pragma once

#include <sys/resource.h>

#include <cerrno>
#include <cstdint>

#include "histogram.hpp"

namespace bench {

/// The kinds of failures that are counted.
struct error_counts {
  std::uint64_t refused = 0;
  std::uint64_t reset = 0;
  std::uint64_t timeout = 0;
  /// The server ended the connection before its answer was whole.
  std::uint64_t short_answer = 0;
  /// No local address or port is left.
  std::uint64_t address = 0;
  /// No answer of status 200 with a Content-Length, or an error of the kernel's.
  std::uint64_t other = 0;

  void count(int error) noexcept {
    switch (error) {
      case ECONNREFUSED:
        ++refused;
        break;
      case ECONNRESET:
      case EPIPE:
        ++reset;
        break;
      case ETIMEDOUT:
        ++timeout;
        break;
      case ENODATA:
        ++short_answer;
        break;
      case EADDRNOTAVAIL:
      case EADDRINUSE:
        ++address;
        break;
      default:
        ++other;
    }
  }
  std::uint64_t sum() const noexcept {
    return refused + reset + timeout + short_answer + address + other;
  }
};

/// What the measured window brought.
struct outcome {
  std::uint64_t operations = 0;
  /// How many operations were to begin in the window; the open loop's only.
  std::uint64_t intended = 0;
  /// How many ended between the lines "begin" and "end", which is what the CPU time is for. In the
  /// open loop that may include some that began before, and lacks some of `operations`.
  std::uint64_t ended_in_window = 0;
  error_counts errors;
  histogram latency;
  histogram connect;
  rusage used_at_begin{};
  rusage used_at_end{};
};

}  // namespace bench
