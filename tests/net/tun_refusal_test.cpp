#include <runnel/net/tun.hpp>

#include <runnel/loop.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace runnel;
using net::tun;
using net::tun_options;

namespace {

/// Nothing here gets as far as making a device.
std::string refusal(const tun_options& options) {
  loop driver;
  const auto opened = tun::open(driver, options);
  REQUIRE(opened.has_error());
  CHECK(opened.error().code());
  CHECK(opened.error().message().ends_with("."));
  CHECK(opened.error().message().find('\n') == std::string::npos);
  return opened.error().message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("tun: a name that the kernel would refuse is refused with a sentence") {
  for (const char* name :
       {"", "a-name-of-16-char", "a b", "a/b", "a:b", ".", "..", "a%s", "%d%d", "a%"}) {
    CAPTURE(name);
    CHECK(contains(refusal({.name = name}), "cannot name a network device"));
  }
}

TEST_CASE("tun: an address without prefix, or that is none, is refused with a sentence") {
  for (const char* address :
       {"10.77.0.1", "10.77.0.1/33", "nonsense", "0.0.0.0/24", "10.77.0/24"}) {
    CAPTURE(address);
    CHECK(contains(refusal({.address = address}), "as in 10.77.0.1/24"));
  }
}

TEST_CASE(
    "tun: a second address that is not of IPv6, or that the MTU has no room for, is refused") {
  for (const char* address : {"10.77.0.1/24", "fd77::1", "fd77::1/129", "::/64"}) {
    CAPTURE(address);
    CHECK(contains(refusal({.address_v6 = address}), "as in fd77::1/64"));
  }
  CHECK(contains(refusal({.address_v6 = "fd77::1/64", .mtu = 1279}), "1280"));
  CHECK(contains(refusal({.address = "fd77::1/64", .mtu = 1000}), "1280"));
}

TEST_CASE("tun: a node that is missing or is something else is refused with a sentence") {
  CHECK(contains(refusal({.node = "/dev/net/no-such-node"}), "does not exist: load"));
  CHECK(contains(refusal({.node = "/dev/null"}), "is not the TUN driver's"));
}

TEST_CASE("tun: a loop in virtual time is refused, and value() throws the sentence") {
  loop driver{loop_options{.simulated = 0}};
  const auto opened = tun::open(driver);
  REQUIRE(opened.has_error());
  CHECK(opened.error().code() == std::errc::not_supported);
  CHECK(contains(opened.error().message(), "virtual time"));
  try {
    static_cast<void>(opened.value());
    FAIL("nothing was thrown");
  } catch (const startup_error& error) {
    CHECK(error.what() == opened.error().message());
    CHECK(error.code() == std::errc::not_supported);
  }
}
