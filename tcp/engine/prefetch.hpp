#pragma once

#include <cstddef>
#include <cstdint>

namespace runnel::tcp::detail {

inline constexpr std::uintptr_t cache_line_bytes = 64;

/// Has the processor fetch an object that is about to be used, and mostly changed, while it goes on
/// with something else. Costs a few instructions; says nothing of whether the object is there.
template <class T>
void prefetch(const T& object) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(&object);
  for (std::uintptr_t line = begin & ~(cache_line_bytes - 1); line < begin + sizeof(T);
       line += cache_line_bytes) {
    __builtin_prefetch(reinterpret_cast<const void*>(line), 1);
  }
}

}  // namespace runnel::tcp::detail
