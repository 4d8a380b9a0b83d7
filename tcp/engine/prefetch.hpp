#pragma once

#include <cstddef>

namespace runnel::tcp::detail {

inline constexpr std::size_t cache_line_bytes = 64;

/// Has the processor fetch an object that is about to be used, and mostly changed, while it goes on
/// with something else. Costs a few instructions; says nothing of whether the object is there.
template <class T>
void prefetch(const T& object) noexcept {
  const auto* const at = reinterpret_cast<const char*>(&object);
  for (std::size_t i = 0; i < sizeof(T); i += cache_line_bytes) __builtin_prefetch(at + i, 1);
}

}  // namespace runnel::tcp::detail
