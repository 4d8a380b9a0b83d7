#include <runnel/wire/checksum.hpp>

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>

#include <doctest/doctest.h>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

/// RFC 1071 as it reads: 16-bit words, big-endian, end-around carry.
std::uint16_t plain_sum(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const std::uint32_t high = load8(&bytes[i]);
    const std::uint32_t low = i + 1 < bytes.size() ? load8(&bytes[i + 1]) : 0;
    sum += high << 8 | low;
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

TEST_CASE("checksum: the example of RFC 1071 section 3") {
  const auto bytes = bytes_of({0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7});
  checksum sum;
  sum.add(bytes);
  CHECK(sum.sum() == 0xddf2);
  CHECK(sum.value() == 0x220d);
  CHECK(checksum_of(bytes) == 0x220d);
}

TEST_CASE("checksum: every length and alignment agrees with the plain sum") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  const auto bytes = random.bytes(400);
  for (std::size_t start = 0; start < 9; ++start) {
    for (std::size_t size = 0; size + start <= bytes.size(); ++size) {
      const auto part = copy_of(std::span(bytes).subspan(start, size));
      checksum sum;
      sum.add(part);
      REQUIRE(sum.sum() == plain_sum(part));
    }
  }
}

TEST_CASE("checksum: nothing is lost where every word is full") {
  const byte_string bytes(65535, std::byte{0xff});
  CHECK(checksum_of(bytes) == static_cast<std::uint16_t>(~plain_sum(bytes)));
  checksum sum;
  for (int i = 0; i < 100; ++i) sum.add(bytes);
  byte_string all;
  for (int i = 0; i < 100; ++i) all.insert(all.end(), bytes.begin(), bytes.end());
  CHECK(sum.sum() == plain_sum(all));
}

TEST_CASE("checksum: pieces of any length sum to the whole") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 2000; ++round) {
    const auto bytes = random.bytes(random.below(300));
    checksum sum;
    for (std::span<const std::byte> rest{bytes}; !rest.empty();) {
      const std::size_t size = random.below(rest.size() + 1);
      sum.add(rest.first(size));
      rest = rest.subspan(size);
    }
    REQUIRE(sum.sum() == plain_sum(bytes));
  }
}

TEST_CASE("checksum: the pseudo-header of either family") {
  byte_string pseudo = bytes_of({10, 0, 0, 1, 192, 168, 255, 254, 0, 6, 0x12, 0x34});
  checksum v4;
  v4.add_pseudo_header(address::v4(10, 0, 0, 1), address::v4(192, 168, 255, 254), 6, 0x1234);
  CHECK(v4.sum() == plain_sum(pseudo));
  CHECK(checksum{v4.sum()}.sum() == v4.sum());

  const auto from = address::parse("2001:db8::1234").value();
  const auto to = address::parse("fe80::ffff:1").value();
  pseudo.clear();
  for (const auto& side : {from, to}) {
    for (const std::uint8_t byte : side.bytes()) pseudo.push_back(std::byte{byte});
  }
  for (const int byte : {0, 1, 0x23, 0x45, 0, 0, 0, 58}) pseudo.push_back(std::byte(byte));
  checksum v6;
  v6.add_pseudo_header(from, to, 58, 0x12345);
  CHECK(v6.sum() == plain_sum(pseudo));
}

TEST_CASE("checksum: an update equals summing anew") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 5000; ++round) {
    auto bytes = random.bytes(20);
    if (random.chance(10)) bytes.assign(20, std::byte{0xff});
    const std::uint16_t before = checksum_of(bytes);
    const std::size_t at = random.below(8) * 2;
    const std::uint32_t old_number = load32(&bytes[at]);
    const auto new_number = static_cast<std::uint32_t>(random());
    store32(&bytes[at], new_number);
    REQUIRE(update_checksum32(before, old_number, new_number) == checksum_of(bytes));
    const std::uint16_t middle = checksum_of(bytes);
    const std::uint16_t old_word = load16(&bytes[at]);
    store16(&bytes[at], static_cast<std::uint16_t>(old_word + 1));
    REQUIRE(update_checksum(middle, old_word, static_cast<std::uint16_t>(old_word + 1)) ==
            checksum_of(bytes));
  }
}
