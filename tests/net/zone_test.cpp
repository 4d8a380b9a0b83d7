#include <runnel/net/zone.hpp>

#include <doctest/doctest.h>

#include <string>

using runnel::net::address;
using runnel::net::system_zones;

TEST_CASE("zones: the kernel's interfaces by name and number") {
  const std::uint32_t loopback = system_zones().zone_of("lo");
  REQUIRE(loopback != 0);
  const auto scoped = address::parse("fe80::1%lo", system_zones());
  REQUIRE(scoped);
  CHECK(scoped->scope_id() == loopback);
  CHECK(scoped->to_string(system_zones()) == "fe80::1%lo");
  CHECK_FALSE(address::parse("fe80::1%no-such-if", system_zones()));
  CHECK_FALSE(address::parse("fe80::1%" + std::string(40, 'x'), system_zones()));
  CHECK(address::parse("fe80::1%4000000000", system_zones())->to_string(system_zones()) ==
        "fe80::1%4000000000");
}
