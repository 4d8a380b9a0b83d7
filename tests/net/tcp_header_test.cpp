#include <runnel/wire/tcp.hpp>

#include "net/bytes.hpp"

#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

using namespace runnel::wire;
using namespace runnel::test;
using runnel::net::address;

namespace {

/// A header with these option bytes, padded to a multiple of four with end-of-options.
byte_string segment_with(std::initializer_list<int> options) {
  auto bytes = bytes_of({0x1f, 0x90, 0x00, 0x50, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
                         0x77, 0x88, 0x00, 0x12, 0xfa, 0xf0, 0xbe, 0xef, 0x00, 0x07});
  const auto tail = bytes_of(options);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  bytes.resize((bytes.size() + 3) / 4 * 4);
  bytes[12] = static_cast<std::byte>(bytes.size() / 4 << 4);
  return bytes;
}

tcp_options options_of(std::initializer_list<int> bytes) {
  // The span of a cookie would dangle; no test that uses this has one.
  const auto header = parse_tcp(segment_with(bytes));
  REQUIRE(header);
  return header->options;
}

byte_string emitted(const tcp_options& options) {
  tcp_header header;
  header.options = options;
  byte_string out(60);
  out.resize(emit_tcp(out, header));
  CHECK(out.size() == tcp_header_bytes(options));
  return {out.begin() + 20, out.end()};
}

tcp_header random_header(random_source& random, const byte_string& cookie) {
  tcp_header header;
  header.source_port = static_cast<std::uint16_t>(random());
  header.destination_port = static_cast<std::uint16_t>(random());
  header.seq = static_cast<std::uint32_t>(random());
  header.ack = static_cast<std::uint32_t>(random());
  header.flags = static_cast<std::uint8_t>(random());
  header.window = static_cast<std::uint16_t>(random());
  header.checksum = static_cast<std::uint16_t>(random());
  header.urgent = static_cast<std::uint16_t>(random());
  tcp_options& options = header.options;
  if (random.chance(40)) options.mss = static_cast<std::uint16_t>(random.below(65535) + 1);
  if (random.chance(40)) options.window_scale = static_cast<std::uint8_t>(random());
  options.sack_permitted = random.chance(40);
  if (random.chance(50)) {
    options.timestamp = {static_cast<std::uint32_t>(random()),
                         static_cast<std::uint32_t>(random())};
  }
  if (random.chance(30)) options.fast_open = cookie;
  const std::size_t room = (60 - tcp_header_bytes(options)) / 4;
  const std::size_t blocks = random.chance(40) && room > 2 ? random.below((room - 1) / 2 + 1) : 0;
  for (std::size_t i = 0; i < blocks; ++i) {
    options.add_sack({static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random())});
  }
  header.header_bytes = static_cast<std::uint8_t>(tcp_header_bytes(options));
  return header;
}

}  // namespace

TEST_CASE("tcp header: fixed fields are read") {
  const auto header = parse_tcp(segment_with({}));
  REQUIRE(header);
  CHECK(header->source_port == 8080);
  CHECK(header->destination_port == 80);
  CHECK(header->seq == 0x11223344);
  CHECK(header->ack == 0x55667788);
  CHECK(header->has(tcp_flag::syn | tcp_flag::ack));
  CHECK_FALSE(header->has(tcp_flag::syn | tcp_flag::fin));
  CHECK(header->window == 0xfaf0);
  CHECK(header->checksum == 0xbeef);
  CHECK(header->urgent == 7);
  CHECK(header->header_bytes == 20);
  CHECK(header->options == tcp_options{});
}

TEST_CASE("tcp header: options lie as Linux lays them") {
  tcp_options options;
  options.mss = 1460;
  options.sack_permitted = true;
  options.timestamp = tcp_timestamp{0x01020304, 0x05060708};
  options.window_scale = std::uint8_t{7};
  CHECK(emitted(options) ==
        bytes_of({2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7}));

  options.timestamp.reset();
  CHECK(emitted(options) == bytes_of({2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7}));

  tcp_options established;
  established.timestamp = tcp_timestamp{1, 2};
  CHECK(emitted(established) == bytes_of({1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}));
  established.add_sack({3, 4});
  CHECK(emitted(established) ==
        bytes_of({1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 3, 0, 0, 0, 4}));

  const auto cookie = bytes_of("cookie");
  tcp_options fast_open;
  fast_open.fast_open = cookie;
  CHECK(emitted(fast_open) == bytes_of({34, 8, 'c', 'o', 'o', 'k', 'i', 'e'}));
  fast_open.fast_open = std::span(cookie).first(4);
  CHECK(emitted(fast_open) == bytes_of({34, 6, 'c', 'o', 'o', 'k', 1, 1}));
  fast_open.fast_open = std::span<const std::byte>{};
  CHECK(emitted(fast_open) == bytes_of({34, 2, 1, 1}));
}

TEST_CASE("tcp header: options that do not fit are left out") {
  tcp_options options;
  options.timestamp = tcp_timestamp{};
  for (std::uint32_t i = 0; i < 5; ++i) options.add_sack({i, i + 1});
  CHECK(options.sack_count == 4);
  CHECK(tcp_header_bytes(options) == 20 + 12 + 4 + 3 * 8);
  options.mss = 1460;
  CHECK(tcp_header_bytes(options) == 20 + 4 + 12 + 4 + 2 * 8);

  const byte_string cookie(16, std::byte{7});
  options.fast_open = cookie;
  CHECK(tcp_header_bytes(options) == 20 + 4 + 12 + 4 + 2 * 8);
  options.sack_count = 0;
  CHECK(tcp_header_bytes(options) == 20 + 4 + 12 + 20);
  options.fast_open = std::span(cookie).first(5);
  CHECK(tcp_header_bytes(options) == 20 + 4 + 12);
}

TEST_CASE("tcp header: the timestamp row of ordinary segments is read") {
  const auto header = parse_tcp(segment_with({1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 2, 0}));
  REQUIRE(header);
  CHECK(header->header_bytes == 32);
  CHECK(header->options.timestamp == tcp_timestamp{256, 512});
  // The same length and another order, which Linux never sends but others do.
  CHECK(options_of({8, 10, 0, 0, 1, 0, 0, 0, 2, 0, 1, 1}).timestamp == tcp_timestamp{256, 512});
}

TEST_CASE("tcp header: a malformed option ends the reading and keeps what came before") {
  CHECK(options_of({2, 4, 5, 0xb4, 8, 0}).mss == 1460);
  CHECK(options_of({2, 4, 5, 0xb4, 8, 1, 4, 2}).mss == 1460);
  CHECK_FALSE(options_of({2, 4, 5, 0xb4, 8, 1, 4, 2}).sack_permitted);
  CHECK_FALSE(options_of({8, 0, 4, 2}).sack_permitted);
  CHECK_FALSE(options_of({2, 4, 5, 0xb4, 8, 10, 0, 0}).timestamp);
  CHECK_FALSE(options_of({1, 1, 1, 2}).mss);
  CHECK_FALSE(options_of({0, 0, 4, 2}).sack_permitted);
  CHECK_FALSE(options_of({99, 255, 4, 2}).sack_permitted);
}

TEST_CASE("tcp header: a known option of the wrong length and an unknown one are skipped") {
  CHECK_FALSE(options_of({2, 3, 5, 4, 2, 0, 0, 0}).mss);
  CHECK(options_of({2, 3, 5, 4, 2, 0, 0, 0}).sack_permitted);
  CHECK_FALSE(options_of({2, 4, 0, 0}).mss);
  CHECK(options_of({99, 5, 1, 2, 3, 3, 3, 9}).window_scale == 9);
  CHECK_FALSE(options_of({3, 4, 7, 7}).window_scale);
  CHECK_FALSE(options_of({4, 3, 0, 0}).sack_permitted);
  CHECK_FALSE(options_of({8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}).timestamp);
  CHECK(options_of({5, 2, 0, 0}).sack_count == 0);
  CHECK(options_of({5, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}).sack_count == 0);
  CHECK(options_of({2, 4, 1, 0, 2, 4, 2, 0}).mss == 512);
}

TEST_CASE("tcp header: cookies of every allowed length are read") {
  for (int size = 0; size <= 18; ++size) {
    CAPTURE(size);
    byte_string segment = segment_with({});
    segment.push_back(std::byte{34});
    segment.push_back(static_cast<std::byte>(2 + size));
    for (int i = 0; i < size; ++i) segment.push_back(static_cast<std::byte>(i));
    segment.resize(60);
    segment[12] = std::byte{0xf0};
    const auto header = parse_tcp(segment);
    REQUIRE(header);
    const bool allowed = size == 0 || (size >= 4 && size <= 16 && size % 2 == 0);
    REQUIRE(header->options.fast_open.has_value() == allowed);
    if (allowed) CHECK(header->options.fast_open->size() == static_cast<std::size_t>(size));
  }
}

TEST_CASE("tcp header: a header cut at any byte is refused, and so is a bad data offset") {
  const auto segment =
      segment_with({2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7});
  for (std::size_t size = 0; size < segment.size(); ++size) {
    CAPTURE(size);
    const auto cut = parse_tcp(copy_of(std::span(segment).first(size)));
    CHECK(cut.error() == (size < 20 ? tcp_error::too_short : tcp_error::bad_offset));
  }
  auto bad = segment;
  bad[12] = std::byte{0x40};
  CHECK(parse_tcp(bad).error() == tcp_error::bad_offset);
  CHECK(std::string(to_string(tcp_error::bad_offset)) == "bad_offset");
}

TEST_CASE("tcp header: what was written is read back, and written again byte for byte") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 5000; ++round) {
    const auto cookie = random.bytes(random.chance(20) ? 0 : 4 + 2 * random.below(7));
    const tcp_header header = random_header(random, cookie);
    byte_string out(header.header_bytes);
    REQUIRE(emit_tcp(out, header) == header.header_bytes);
    const auto again = parse_tcp(out);
    REQUIRE(again);
    REQUIRE(*again == header);
    byte_string twice(header.header_bytes);
    REQUIRE(emit_tcp(twice, *again) == header.header_bytes);
    REQUIRE(twice == out);
    REQUIRE(emit_tcp(std::span(out).first(out.size() - 1), header) == 0);
  }
}

TEST_CASE("tcp header: the checksum covers pseudo-header, header and payload") {
  const auto from = address::v4(10, 0, 0, 1);
  const auto to = address::v4(10, 0, 0, 2);
  auto segment = segment_with({1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 2, 0});
  const auto payload = bytes_of("odd");
  segment.insert(segment.end(), payload.begin(), payload.end());
  put_tcp_checksum(segment, 0);
  checksum sum;
  sum.add_pseudo_header(from, to, 6, static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  put_tcp_checksum(segment, sum.value());
  CHECK(tcp_checksum_intact(from, to, segment));
  CHECK_FALSE(tcp_checksum_intact(from, address::v4(10, 0, 0, 3), segment));
  for (std::byte& byte : segment) {
    byte ^= std::byte{0x10};
    CHECK_FALSE(tcp_checksum_intact(from, to, segment));
    byte ^= std::byte{0x10};
  }
}
