#pragma once

#include <cstdint>
#include <limits>

namespace runnel {

/// A fast generator for everything that is not a secret: jitter, tie-breaking, simulated faults.
/// splitmix64; a UniformRandomBitGenerator. The same seed gives the same numbers on every machine.
/// Never make keys with it: take those from getrandom(2).
class random_source {
 public:
  using result_type = std::uint64_t;

  /// Begins the sequence that belongs to `seed`.
  explicit constexpr random_source(std::uint64_t seed) noexcept : state_(seed) {}

  /// The least that a call gives: 0.
  static constexpr result_type min() noexcept { return 0; }
  /// The most that a call gives: 2^64 - 1.
  static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }

  /// The next 64 bits.
  constexpr result_type operator()() noexcept {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  /// A number in [0, bound), even enough for any bound below 2^32; 0 when `bound` is 0.
  constexpr std::uint64_t below(std::uint32_t bound) noexcept {
    return (((*this)() >> 32) * bound) >> 32;
  }

 private:
  std::uint64_t state_;
};

}  // namespace runnel
