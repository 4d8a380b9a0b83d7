#include "runnel/net/http/date.hpp"

#include <algorithm>

#include "text.hpp"

namespace runnel::http {
namespace {

constexpr std::string_view days = "SunMonTueWedThuFriSat";
constexpr std::string_view months = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_number(char* out, unsigned value, std::size_t digits) noexcept {
  for (std::size_t i = digits; i > 0; --i) {
    out[i - 1] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
}

std::optional<unsigned> read_number(std::string_view digits) noexcept {
  unsigned value = 0;
  for (const char c : digits) {
    if (!detail::is_digit(c)) return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value;
}

}  // namespace

void format_date(wall_time when, std::span<char, date_size> out) noexcept {
  namespace chrono = std::chrono;
  const auto day = chrono::floor<chrono::days>(when);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss time{chrono::floor<chrono::seconds>(when - day)};
  std::ranges::copy(std::string_view{"Sun, 00 Jan 0000 00:00:00 GMT"}, out.begin());
  char* text = out.data();
  std::ranges::copy(days.substr(3 * chrono::weekday{day}.c_encoding(), 3), text);
  put_number(text + 5, static_cast<unsigned>(date.day()), 2);
  std::ranges::copy(months.substr(3 * (static_cast<unsigned>(date.month()) - 1), 3), text + 8);
  put_number(text + 12, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  put_number(text + 17, static_cast<unsigned>(time.hours().count()), 2);
  put_number(text + 20, static_cast<unsigned>(time.minutes().count()), 2);
  put_number(text + 23, static_cast<unsigned>(time.seconds().count()), 2);
}

std::optional<wall_time> parse_date(std::string_view text) noexcept {
  namespace chrono = std::chrono;
  if (text.size() != date_size || text.substr(3, 2) != ", " || text.substr(25) != " GMT" ||
      text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':') {
    return std::nullopt;
  }
  const std::size_t month = months.find(text.substr(8, 3));
  const auto day = read_number(text.substr(5, 2));
  const auto year = read_number(text.substr(12, 4));
  const auto hour = read_number(text.substr(17, 2));
  const auto minute = read_number(text.substr(20, 2));
  const auto second = read_number(text.substr(23, 2));
  if (month == std::string_view::npos || month % 3 != 0) return std::nullopt;
  if (!day || !year || !hour || !minute || !second) return std::nullopt;
  // A leap second is written as 60 (RFC 9110 section 5.6.7).
  if (*hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const chrono::year_month_day date{chrono::year{static_cast<int>(*year)},
                                    chrono::month{static_cast<unsigned>(month / 3 + 1)},
                                    chrono::day{*day}};
  if (!date.ok()) return std::nullopt;
  return chrono::sys_days{date} + chrono::hours{*hour} + chrono::minutes{*minute} +
         chrono::seconds{*second};
}

void date_cache::refresh(time_point now) noexcept {
  const wall_time wall = clock_();
  format_date(wall, text_);
  const auto whole = std::chrono::floor<std::chrono::seconds>(wall);
  valid_until_ = now + std::chrono::duration_cast<duration>(whole + std::chrono::seconds{1} - wall);
}

}  // namespace runnel::http
