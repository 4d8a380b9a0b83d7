#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "runnel/wire/address.hpp"

// Tests that hold for both families are run twice: with IPv4, and with RUNNEL_TEST_FAMILY=6 in the
// environment. They name their addresses by `test_address`, and their links by `test_mtu`, so that
// the segments on the wire are the same.

namespace runnel::tcp::test {

/// Whether this run speaks IPv6.
inline bool speaks_v6() {
  static const bool wanted = [] {
    const char* const family = std::getenv("RUNNEL_TEST_FAMILY");
    return family != nullptr && std::string_view(family) == "6";
  }();
  return wanted;
}

/// 10.0.0.1, or fd00:0:0:1::a00:1: each is of a network of its own, as a peer of IPv6 has one.
inline net::address test_address(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  if (!speaks_v6()) return net::address::v4(a, b, c, d);
  std::array<std::uint8_t, 16> bytes{0xfd};
  bytes[5] = b;
  bytes[6] = c;
  bytes[7] = d;
  bytes[12] = a;
  bytes[13] = b;
  bytes[14] = c;
  bytes[15] = d;
  return net::address::v6(bytes);
}

inline net::address test_address(std::uint32_t number) {
  const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(number >> shift); };
  return test_address(byte(24), byte(16), byte(8), byte(0));
}

/// What IPv6's header has more than IPv4's.
inline std::uint32_t longer_header() {
  return speaks_v6() ? 20 : 0;
}

/// The MTU with room for the same segments as `v4` has with IPv4.
inline std::uint32_t test_mtu(std::uint32_t v4) {
  return std::min(v4 + longer_header(), 65'535U);
}

/// The same of a small one, as far as IPv6 allows small ones.
inline std::uint32_t small_mtu(std::uint32_t v4) {
  return speaks_v6() ? std::max(v4 + 20, 1280U) : v4;
}

}  // namespace runnel::tcp::test
