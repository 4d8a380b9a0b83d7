#include "bench/client/histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

using bench::histogram;

namespace {

/// The percentile by sorting, which is what the histogram comes close to.
std::int64_t exact(const std::vector<std::int64_t>& sorted, double percent) {
  const double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size()) - 1e-6);
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

}  // namespace

TEST_CASE("histogram: an empty one has no percentiles") {
  const histogram empty;
  CHECK(empty.count() == 0);
  CHECK(empty.percentile_ns(50) == 0);
  CHECK(empty.max_ns() == 0);
  CHECK(empty.mean_ns() == 0);
}

TEST_CASE("histogram: every value is told within a thousandth, and never too small") {
  for (std::int64_t value = 1; value <= histogram::largest_ns; value += 1 + value / 37) {
    histogram one;
    one.record(value);
    // A larger record, so that the bucket's end is told and not the maximum.
    one.record(histogram::largest_ns);
    const std::int64_t told = one.percentile_ns(50);
    CAPTURE(value);
    CHECK(told >= value);
    CHECK(told - value <= value / 1000);
  }
}

TEST_CASE("histogram: the only record is every percentile, exactly") {
  histogram one;
  one.record(123'456'789);
  CHECK(one.percentile_ns(0) == 123'456'789);
  CHECK(one.percentile_ns(50) == 123'456'789);
  CHECK(one.percentile_ns(100) == 123'456'789);
  CHECK(one.mean_ns() == doctest::Approx(123'456'789));
}

TEST_CASE("histogram: what lies outside the range is moved to its ends") {
  histogram wide;
  wide.record(-5);
  wide.record(std::int64_t{3'600} * 1'000'000'000);
  CHECK(wide.count() == 2);
  CHECK(wide.percentile_ns(50) == 0);
  CHECK(wide.max_ns() == histogram::largest_ns);
}

TEST_CASE("histogram: percentiles are by nearest rank") {
  histogram thousand;
  for (std::int64_t value = 1; value <= 1'000; ++value) thousand.record(value);
  CHECK(thousand.percentile_ns(50) == 500);
  CHECK(thousand.percentile_ns(50.01) == 501);
  CHECK(thousand.percentile_ns(99) == 990);
  CHECK(thousand.percentile_ns(99.9) == 999);
  CHECK(thousand.percentile_ns(100) == 1'000);
  CHECK(thousand.mean_ns() == doctest::Approx(500.5));
}

TEST_CASE("histogram: percentiles of many records lie within a thousandth of the sorted ones") {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> spread(11, 2);
  histogram seen;
  std::vector<std::int64_t> sorted;
  for (int i = 0; i < 20'000; ++i) {
    sorted.push_back(std::min(static_cast<std::int64_t>(spread(random)), histogram::largest_ns));
    seen.record(sorted.back());
  }
  std::sort(sorted.begin(), sorted.end());
  for (const double percent : {1.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    CAPTURE(percent);
    const std::int64_t wanted = exact(sorted, percent);
    CHECK(seen.percentile_ns(percent) >= wanted);
    CHECK(seen.percentile_ns(percent) <= wanted + wanted / 1000);
  }
  CHECK(seen.max_ns() == sorted.back());
}
