#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>

#include "runnel/net/http/date.hpp"

namespace http = runnel::http;
using namespace std::chrono_literals;

namespace {

std::string formatted(http::wall_time when) {
  std::string text(http::date_size, '?');
  http::format_date(when, std::span<char, http::date_size>{text.data(), text.size()});
  return text;
}

http::wall_time fake_wall{};
int clock_calls = 0;

http::wall_time fake_clock() {
  ++clock_calls;
  return fake_wall;
}

}  // namespace

TEST_CASE("http date: the example of RFC 9110") {
  const http::wall_time when{784111777s};
  CHECK(formatted(when) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(http::parse_date("Sun, 06 Nov 1994 08:49:37 GMT") == when);
}

TEST_CASE("http date: what is formatted is parsed back, through leap years and ends of years") {
  for (std::int64_t second = 0; second < 4'102'444'800; second += 7'654'321) {
    const http::wall_time when{std::chrono::seconds{second}};
    REQUIRE(http::parse_date(formatted(when)) == when);
  }
  CHECK(formatted(http::wall_time{951'782'400s}) == "Tue, 29 Feb 2000 00:00:00 GMT");
}

TEST_CASE("http date: anything else is not a date") {
  for (const std::string_view text :
       {"", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 ovD 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:3x GMT"}) {
    CAPTURE(text);
    CHECK_FALSE(http::parse_date(text));
  }
}

TEST_CASE("http date: the cache asks the wall clock once a second") {
  fake_wall = http::wall_time{784111777s + 250ms};
  clock_calls = 0;
  http::date_cache cache{fake_clock};
  const runnel::time_point start{10s};
  CHECK(cache.at(start) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(cache.at(start + 749ms) == "Sun, 06 Nov 1994 08:49:37 GMT");
  CHECK(clock_calls == 1);
  fake_wall += 750ms;
  CHECK(cache.at(start + 750ms) == "Sun, 06 Nov 1994 08:49:38 GMT");
  CHECK(clock_calls == 2);
  fake_wall += 1h;
  CHECK(cache.at(start + 1749ms) == "Sun, 06 Nov 1994 08:49:38 GMT");
  CHECK(cache.at(start + 1750ms) == "Sun, 06 Nov 1994 09:49:38 GMT");
}
