#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <string_view>

#include "runnel/wire/time.hpp"

namespace runnel::http {

/// A point of the wall clock.
using wall_time = std::chrono::system_clock::time_point;

/// Where the wall time comes from: by default the system's clock; a test gives its own.
using wall_clock = wall_time (*)();

/// The number of characters of an IMF-fixdate, "Sun, 06 Nov 1994 08:49:37 GMT".
inline constexpr std::size_t date_size = 29;

/// Writes `when` as an IMF-fixdate (RFC 9110 section 5.6.7).
void format_date(wall_time when, std::span<char, date_size> out) noexcept;

/// Reads an IMF-fixdate; nothing else is a date here, as nobody has sent the two obsolete forms for
/// decades and a date that is not understood is ignored.
std::optional<wall_time> parse_date(std::string_view text) noexcept;

/// The value of the Date field, formatted anew when the second changes. It looks at the wall clock
/// once a second and at the caller's monotonic time otherwise, so that a response costs a
/// comparison and no clock call; a step of the wall clock shows within a second.
class date_cache {
 public:
  /// Reads `clock` once a second; it may be another one in tests.
  explicit date_cache(wall_clock clock = std::chrono::system_clock::now) noexcept : clock_(clock) {}

  /// The date at `now`; the view is valid until the next call.
  std::string_view at(time_point now) noexcept {
    if (now >= valid_until_) refresh(now);
    return {text_.data(), text_.size()};
  }

 private:
  void refresh(time_point now) noexcept;

  wall_clock clock_;
  time_point valid_until_ = time_point::min();
  std::array<char, date_size> text_{};
};

}  // namespace runnel::http
