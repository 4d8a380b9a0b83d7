#pragma once

#include <algorithm>

namespace runnel::testing {

/// Whether tests that repeat one thing very often play all of it. Without optimisation or under a
/// sanitizer a round takes ten times as long, and the last nine tenths of them meet nothing new.
#if defined(__OPTIMIZE__) && !defined(RUNNEL_SANITIZED)
inline constexpr bool full_pace = true;
#else
inline constexpr bool full_pace = false;
#endif

/// How many of that many rounds this build plays: all, or a tenth but at least one.
template <class Count>
constexpr Count worthwhile(Count all) {
  return full_pace ? all : std::max<Count>(1, all / 10);
}

}  // namespace runnel::testing
