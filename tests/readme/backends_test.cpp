// docs/backends.md, run.
#include <doctest/doctest.h>

#include <pages/backends.hpp>

TEST_CASE("docs backends: a loop says what it runs on") {
  CHECK(page_backends::which({.simulated = 1}).find("simulated") != std::string::npos);
  CHECK(page_backends::which({}) != "nothing");
}

TEST_CASE("docs backends: a day passes in no time") {
  CHECK(page_backends::simulated_day() == std::chrono::hours{24});
}
