#pragma once

namespace runnel::detail {

/// Prints one sentence to standard error and aborts: for broken contracts, in every build.
[[noreturn]] void fail(const char* sentence) noexcept;

inline void check(bool holds, const char* sentence) noexcept {
  if (!holds) [[unlikely]] {
    fail(sentence);
  }
}

}  // namespace runnel::detail
