#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bench {

/// How long things took, in nanoseconds, with three significant digits from a microsecond to a
/// minute and a fixed cost for each record.
///
/// Buckets are log-linear: below 2,048 ns each value has its own, above it each doubling is cut
/// into 1,024 of equal width, so that no bucket is wider than a thousandth of what it holds. What
/// took more than a minute counts as a minute; what took less than nothing as nothing.
class histogram {
 public:
  static constexpr std::int64_t largest_ns = 60'000'000'000;

  histogram() : counts_(index_of(largest_ns) + 1) {}

  void record(std::int64_t value_ns) noexcept {
    const std::int64_t value = std::clamp<std::int64_t>(value_ns, 0, largest_ns);
    ++counts_[index_of(value)];
    ++count_;
    sum_ns_ += value;
    max_ns_ = std::max(max_ns_, value);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::int64_t max_ns() const noexcept { return max_ns_; }
  double mean_ns() const noexcept {
    return count_ == 0 ? 0 : static_cast<double>(sum_ns_) / static_cast<double>(count_);
  }

  /// The least value that at least this part of the records do not exceed, rounded up to the end of
  /// its bucket but never above the largest record; 0 when there are none.
  std::int64_t percentile_ns(double percent) const noexcept {
    const double wanted = std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(count_);
    // A percentage such as 99.9 is no binary number, so that the product may lie a hair above.
    const auto rank = static_cast<std::uint64_t>(std::max(1.0, std::ceil(wanted - 1e-6)));
    std::uint64_t seen = 0;
    for (std::size_t index = 0; index < counts_.size(); ++index) {
      seen += counts_[index];
      if (seen >= rank) return std::min(last_of(index), max_ns_);
    }
    return 0;
  }

 private:
  static constexpr int part_bits = 10;

  static std::size_t index_of(std::int64_t value) noexcept {
    const auto number = static_cast<std::uint64_t>(value);
    const int shift = std::max(0, static_cast<int>(std::bit_width(number)) - part_bits - 1);
    return (static_cast<std::size_t>(shift) << part_bits) + (number >> shift);
  }

  /// The largest value that lies in the bucket.
  static std::int64_t last_of(std::size_t index) noexcept {
    const std::size_t doublings = index >> part_bits;
    const int shift = doublings == 0 ? 0 : static_cast<int>(doublings) - 1;
    const std::size_t part = index - (static_cast<std::size_t>(shift) << part_bits);
    return (static_cast<std::int64_t>(part + 1) << shift) - 1;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::int64_t sum_ns_ = 0;
  std::int64_t max_ns_ = 0;
};

}  // namespace bench
