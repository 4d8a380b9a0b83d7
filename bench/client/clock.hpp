#pragma once

#include <time.h>

#include <cstdint>

namespace bench {

inline constexpr std::int64_t second_ns = 1'000'000'000;

inline std::int64_t now_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * second_ns + now.tv_nsec;
}

}  // namespace bench
