// docs/backends.md, run.
#include <doctest/doctest.h>

#include <pages/backends.hpp>

TEST_CASE("docs backends: a loop says what it runs on") {
  CHECK(pages::backends::which({.simulated = 1}).find("simulated") != std::string::npos);
  CHECK(pages::backends::which({}) != "nothing");
}

TEST_CASE("docs backends: a day passes in no time") {
  CHECK(pages::backends::simulated_day() == std::chrono::hours{24});
}
