#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <span>
#include <string_view>
#include <vector>

namespace runnel::test {

using byte_string = std::vector<std::byte>;

/// Bytes written as numbers.
inline byte_string bytes_of(std::initializer_list<int> numbers) {
  byte_string result;
  for (const int number : numbers) result.push_back(static_cast<std::byte>(number));
  return result;
}

/// The bytes of a text.
inline byte_string bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// A copy that ends exactly where its allocation ends, so that a sanitizer sees a read beyond it.
inline byte_string copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

/// The seed of randomised tests: RUNNEL_SEED, or always the same one.
inline std::uint64_t seed() {
  const char* const text = std::getenv("RUNNEL_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 0) : 20260917;
}

/// Random numbers of a test.
class random_source {
 public:
  explicit random_source(std::uint64_t from) : engine_(from) {}
  std::uint64_t operator()() { return engine_(); }
  /// From 0 up to, not including, `bound`.
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(engine_() % bound); }
  bool chance(int percent) { return below(100) < static_cast<std::size_t>(percent); }
  byte_string bytes(std::size_t size) {
    byte_string result(size);
    for (std::byte& byte : result) byte = static_cast<std::byte>(engine_());
    return result;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace runnel::test
