#include <runnel/wire/reassembly.hpp>

#include "net/fragments.hpp"

#include <runnel/wire/checksum.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace runnel;
using namespace runnel::wire;
using namespace runnel::test;
using net::family;
using std::chrono::seconds;

namespace {

/// A payload whose every byte says where it belongs.
byte_string counting(std::size_t size) {
  byte_string bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

bool equal(const net::packet& packet, const byte_string& expected) {
  return packet && std::ranges::equal(packet.bytes(), expected);
}

}  // namespace

TEST_CASE("reassembly: fragments in order become the packet that was sent") {
  for (const family of : {family::v4, family::v6}) {
    CAPTURE(static_cast<int>(of));
    reassembly_bench bench;
    const auto payload = counting(3000);
    const auto pieces = fragments({.family = of}, payload, 1232);
    REQUIRE(pieces.size() == 3);
    CHECK(bench.verdict(pieces[0]) == "kept");
    CHECK(bench.verdict(pieces[1]) == "kept");
    CHECK(bench.under_test.datagrams() == 1);
    CHECK(bench.under_test.used_bytes() == bench.pool.used_bytes());
    const auto result = bench.give(pieces[2]);
    CHECK(result.verdict == reassembly_verdict::complete);
    auto expected = whole_packet(of, payload);
    if (of == family::v4) {
      store16(&expected[4], 7);
      store16(&expected[10], load16(result.packet.bytes().data() + 10));
    }
    CHECK(equal(result.packet, expected));
    const auto header = parse_ip(result.packet.bytes());
    REQUIRE(header);
    CHECK_FALSE(header->is_fragment());
    CHECK(header->carries(ip_protocol::udp));
    CHECK(bench.under_test.datagrams() == 0);
    CHECK(bench.under_test.used_bytes() == 0);
    CHECK_FALSE(bench.under_test.deadline());
    CHECK(bench.under_test.counters(of).reasm_reqds == 3);
    CHECK(bench.under_test.counters(of).reasm_oks == 1);
    CHECK(bench.under_test.counters(of).reasm_fails == 0);
    CHECK(bench.under_test.counters(of == family::v4 ? family::v6 : family::v4).reasm_reqds == 0);
  }
}

TEST_CASE("reassembly: the first fragment's options and extension headers stay") {
  reassembly_bench bench;
  const auto first =
      v6_packet(0, joined({padding_header(60), padding_header(44), fragment_header(60, 0, true),
                           padding_header(6), plain_tcp(4)}));
  const auto last = v6_packet(44, joined({fragment_header(6, 32, false), bytes_of({1, 2, 3})}));
  CHECK(bench.verdict(last) == "kept");
  const auto result = bench.give(first);
  CHECK(equal(result.packet,
              v6_packet(0, joined({padding_header(60), padding_header(60), padding_header(6),
                                   plain_tcp(4), bytes_of({1, 2, 3})}))));
  CHECK(parse_ip(result.packet.bytes())->carries(ip_protocol::tcp));

  auto with_options = fragment({}, counting(16));
  with_options.insert(with_options.begin() + 20, 4, std::byte{1});
  with_options[0] = std::byte{0x46};
  store16(&with_options[2], 40);
  store16(&with_options[10], 0);
  store16(&with_options[10], checksum_of(std::span(with_options).first(24)));
  REQUIRE(parse_ip(with_options));
  CHECK(bench.verdict(with_options) == "kept");
  const auto whole = bench.give(fragment({.offset = 16, .more = false}, counting(5)));
  REQUIRE(whole.packet);
  const auto header = parse_ip(whole.packet.bytes());
  REQUIRE(header);
  CHECK(header->header_bytes == 24);
  CHECK(header->total_length == 45);
}

TEST_CASE("reassembly: any order, loss made good and duplicates give the original") {
  random_source random{seed()};
  INFO("RUNNEL_SEED=", seed());
  for (int round = 0; round < 300; ++round) {
    const family of = random.chance(50) ? family::v4 : family::v6;
    reassembly_bench bench;
    const auto payload = random.bytes(1000 + random.below(20'000));
    auto pieces = fragments({.family = of}, payload, 8 * (60 + random.below(120)));
    // Each twice or three times, a third of them lost; then all once more.
    std::vector<byte_string> sent;
    for (const auto& piece : pieces) {
      for (std::size_t i = random.below(3) + 1; i > 0; --i) {
        if (random.chance(66)) sent.push_back(piece);
      }
    }
    std::shuffle(sent.begin(), sent.end(), std::mt19937_64(random()));
    std::shuffle(pieces.begin(), pieces.end(), std::mt19937_64(random()));
    sent.insert(sent.end(), pieces.begin(), pieces.end());
    bool whole = false;
    for (const auto& piece : sent) {
      const auto result = bench.give(piece);
      if (result.verdict != reassembly_verdict::complete) {
        REQUIRE((result.verdict == reassembly_verdict::kept ||
                 result.verdict == reassembly_verdict::duplicate));
        continue;
      }
      const auto header = parse_ip(result.packet.bytes());
      REQUIRE(header);
      REQUIRE(std::ranges::equal(header->payload(result.packet.bytes()), payload));
      whole = true;
      break;
    }
    REQUIRE(whole);
  }
}

TEST_CASE("reassembly: the largest packet fits, one byte more does not") {
  for (const family of : {family::v4, family::v6}) {
    reassembly_bench bench;
    const std::size_t most = of == family::v4 ? 65535 - 20 : 65535;
    const auto payload = counting(most);
    const auto pieces = fragments({.family = of}, payload, 1232);
    reassembly_result result;
    for (const auto& piece : pieces) result = bench.give(piece);
    REQUIRE(result.verdict == reassembly_verdict::complete);
    CHECK(std::ranges::equal(parse_ip(result.packet.bytes())->payload(result.packet.bytes()),
                             payload));

    const auto offset = static_cast<std::uint16_t>(most / 8 * 8);
    const auto refused = bench.give(
        fragment({.family = of, .offset = offset, .more = false}, byte_string(most - offset + 1)));
    CHECK(refused.verdict == reassembly_verdict::oversized);
    CHECK(bench.under_test.datagrams() == 0);
    CHECK(refused.problem.has_value() == (of == family::v6));
    if (refused.problem) {
      CHECK(refused.problem->code == parameter_code::header_field);
      CHECK(refused.problem->pointer == 42);
      CHECK(refused.problem->body.data() == refused.packet.bytes().data());
    }
  }
}

TEST_CASE("reassembly: a long header in the first fragment counts towards the limit") {
  reassembly_bench bench;
  CHECK(bench.verdict(v6_packet(44, joined({fragment_header(17, 65528, false), byte_string(7)}))) ==
        "kept");
  byte_string rest(65528);
  for (std::size_t at = 1232; at < rest.size(); at += 1232) {
    const std::size_t size = std::min<std::size_t>(1232, rest.size() - at);
    CHECK(bench.verdict(
              v6_packet(44, joined({fragment_header(17, static_cast<std::uint16_t>(at), true),
                                    byte_string(size)}))) == "kept");
  }
  CHECK(bench.verdict(v6_packet(60, joined({padding_header(44), fragment_header(17, 0, true),
                                            byte_string(1232)}))) == "oversized");
  CHECK(bench.under_test.datagrams() == 0);
}

TEST_CASE("reassembly: fragments that are wrong by themselves are refused, others stay") {
  for (const family of : {family::v4, family::v6}) {
    CAPTURE(static_cast<int>(of));
    reassembly_bench bench;
    CHECK(bench.verdict(fragment({.family = of}, counting(16))) == "kept");
    CHECK(bench.verdict(fragment({.family = of, .offset = 16}, {})) == "empty");
    CHECK(bench.verdict(fragment({.family = of, .offset = 16, .more = false}, {})) == "empty");
    const auto odd = bench.give(fragment({.family = of, .offset = 16}, counting(15)));
    CHECK(odd.verdict == reassembly_verdict::bad_length);
    CHECK(odd.problem.has_value() == (of == family::v6));
    if (odd.problem) CHECK(odd.problem->pointer == 4);
    CHECK(bench.under_test.datagrams() == 1);
    CHECK(bench.under_test.counters(of).reasm_fails == 3);
    CHECK(bench.verdict(fragment({.family = of, .offset = 16, .more = false}, counting(15))) ==
          "complete");
  }
}

TEST_CASE("reassembly: a TCP header is whole in the first fragment (RFC 1858, RFC 3128)") {
  reassembly_bench bench;
  const auto tcp = [&](family of, std::uint16_t offset, const byte_string& payload) {
    return bench.verdict(fragment({.family = of, .offset = offset, .protocol = 6}, payload));
  };
  auto with_options = plain_tcp(12);
  CHECK(tcp(family::v4, 0, byte_string(16)) == "tiny");
  CHECK(tcp(family::v4, 8, counting(64)) == "tiny");
  CHECK(tcp(family::v4, 16, counting(64)) == "tiny");
  CHECK(tcp(family::v6, 8, counting(64)) == "tiny");
  with_options[12] = std::byte{0x90};
  CHECK(tcp(family::v4, 0, with_options) == "tiny");
  with_options[12] = std::byte{0x80};
  CHECK(tcp(family::v4, 0, with_options) == "kept");
  CHECK(tcp(family::v4, 32, counting(64)) == "kept");
  // IPv6's is refused where the header is read, as RFC 7112 says.
  CHECK(parse_ip(fragment({.family = family::v6, .protocol = 6}, byte_string(16))).error() ==
        ip_error::incomplete_chain);
}

TEST_CASE("reassembly: an overlap drops the whole datagram (RFC 5722)") {
  for (const family of : {family::v4, family::v6}) {
    for (const auto& [offset, size] : {std::pair<int, int>{24, 16},
                                       {40, 16},
                                       {16, 48},
                                       {32, 8},
                                       {40, 8},
                                       {24, 40},
                                       {32, 24},
                                       {0, 40}}) {
      CAPTURE(offset);
      CAPTURE(size);
      reassembly_bench bench;
      CHECK(bench.verdict(fragment({.family = of, .offset = 32}, counting(16))) == "kept");
      CHECK(bench.verdict(fragment({.family = of, .offset = static_cast<std::uint16_t>(offset)},
                                   counting(static_cast<std::size_t>(size)))) == "overlap");
      CHECK(bench.under_test.datagrams() == 0);
      CHECK(bench.pool.used_bytes() == 0);
      CHECK(bench.under_test.counters(of).reasm_fails == 1);
      CHECK(bench.under_test.counters(of).reasm_overlaps == 1);
    }
  }
}

TEST_CASE("reassembly: the same fragment again is ignored, whatever it says") {
  reassembly_bench bench;
  const auto pieces = fragments({}, counting(64), 16);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(bench.verdict(pieces[i]) == "kept");
    for (std::size_t j = 0; j <= i; ++j) CHECK(bench.verdict(pieces[j]) == "duplicate");
  }
  auto other = pieces[1];
  other[25] ^= std::byte{1};
  CHECK(bench.verdict(other) == "duplicate");
  const auto result = bench.give(pieces[3]);
  CHECK(std::ranges::equal(parse_ip(result.packet.bytes())->payload(result.packet.bytes()),
                           counting(64)));
  CHECK(bench.under_test.counters(family::v4).reasm_fails == 0);
}

TEST_CASE("reassembly: contradictions about the end drop the whole datagram") {
  const auto second = [](const fragment_of& before, std::size_t size, const fragment_of& what,
                         std::size_t then) {
    reassembly_bench bench;
    CHECK(bench.verdict(fragment(before, counting(size))) == "kept");
    const auto verdict = bench.verdict(fragment(what, counting(then)));
    CHECK(bench.under_test.datagrams() == (verdict == "bad_end" ? 0U : 1U));
    return verdict;
  };
  const fragment_of end{.offset = 32, .more = false};
  CHECK(second(end, 16, {.offset = 48}, 8) == "bad_end");
  CHECK(second(end, 16, {.offset = 48, .more = false}, 8) == "bad_end");
  CHECK(second(end, 16, {.offset = 16, .more = false}, 8) == "bad_end");
  CHECK(second({.offset = 32}, 16, {.offset = 16, .more = false}, 8) == "bad_end");
  CHECK(second({.offset = 32}, 16, {.offset = 48, .more = false}, 8) == "kept");
}

TEST_CASE("reassembly: too many pieces drop the whole datagram") {
  reassembly_bench bench{{.max_fragments = 4}};
  for (std::uint16_t i = 0; i < 4; ++i) {
    CHECK(bench.verdict(fragment({.offset = static_cast<std::uint16_t>(8 * i)}, counting(8))) ==
          "kept");
  }
  CHECK(bench.verdict(fragment({.offset = 32}, counting(8))) == "too_many");
  CHECK(bench.under_test.datagrams() == 0);
  CHECK(bench.pool.used_bytes() == 0);
}

TEST_CASE("reassembly: fragments belong together by source, destination, id, and v4's protocol") {
  const auto joins = [](const fragment_of& a, const fragment_of& b) {
    reassembly_bench bench;
    bench.give(fragment(a, counting(16)));
    fragment_of last = b;
    last.offset = 16;
    last.more = false;
    return bench.verdict(fragment(last, counting(3))) == "complete";
  };
  CHECK(joins({}, {}));
  CHECK_FALSE(joins({}, {.id = 8}));
  CHECK_FALSE(joins({}, {.host = 2}));
  CHECK_FALSE(joins({}, {.protocol = 1}));
  const fragment_of v6{.family = family::v6};
  CHECK(joins(v6, v6));
  CHECK_FALSE(joins(v6, {.family = family::v6, .id = 8}));
  CHECK_FALSE(joins(v6, {.family = family::v6, .host = 2}));
  // RFC 8200 section 4.5: only the first fragment's next header counts.
  CHECK(joins(v6, {.family = family::v6, .protocol = 60}));
}

TEST_CASE("reassembly: congestion that one fragment met is the whole packet's (RFC 3168 5.3)") {
  const auto with = [](family of, int first, int second) -> std::string {
    reassembly_bench bench;
    bench.give(fragment({.family = of, .tos = 0xb8 | first}, counting(16)));
    const auto result = bench.give(
        fragment({.family = of, .offset = 16, .more = false, .tos = 0xb8 | second}, counting(3)));
    if (!result.packet) return to_string(result.verdict);
    return std::to_string(parse_ip(result.packet.bytes())->tos - 0xb8);
  };
  for (const family of : {family::v4, family::v6}) {
    CHECK(with(of, 0, 0) == "0");
    CHECK(with(of, 1, 2) == "1");
    CHECK(with(of, 2, 2) == "2");
    CHECK(with(of, 2, 3) == "3");
    CHECK(with(of, 3, 1) == "3");
    CHECK(with(of, 3, 3) == "3");
    CHECK(with(of, 0, 3) == "bad_ecn");
    CHECK(with(of, 2, 0) == "bad_ecn");
  }
}

TEST_CASE("reassembly: time ends 30 s after the first fragment in IPv4, 60 s in IPv6") {
  reassembly_bench bench;
  const time_point start = bench.now;
  const auto first = fragment({}, counting(16));
  const auto first_v6 = fragment({.family = family::v6}, counting(16));
  bench.give(first_v6);
  CHECK(bench.under_test.deadline() == start + seconds(60));
  bench.give(first);
  CHECK(bench.under_test.deadline() == start + seconds(30));
  // What comes later does not move it.
  bench.now = start + seconds(20);
  bench.give(fragment({.offset = 32}, counting(16)));
  CHECK(bench.under_test.deadline() == start + seconds(30));

  CHECK_FALSE(bench.under_test.poll_expired(start + seconds(30) - std::chrono::nanoseconds(1)));
  auto owed = bench.under_test.poll_expired(start + seconds(30));
  CHECK(equal(owed, first));
  CHECK_FALSE(bench.under_test.poll_expired(start + seconds(30)));
  CHECK(bench.under_test.deadline() == start + seconds(60));
  CHECK(bench.under_test.counters(family::v4).reasm_timeout == 1);
  CHECK(bench.under_test.counters(family::v4).reasm_fails == 1);
  owed = bench.under_test.poll_expired(start + seconds(61));
  CHECK(equal(owed, first_v6));
  CHECK(bench.under_test.counters(family::v6).reasm_timeout == 1);
  CHECK_FALSE(bench.under_test.deadline());
  owed = {};
  CHECK(bench.pool.used_bytes() == 0);
}

TEST_CASE("reassembly: time exceeded is owed only where the first fragment tells about whom") {
  reassembly_bench bench;
  bench.give(fragment({.offset = 16}, counting(16)));
  bench.give(fragment({.id = 8, .protocol = 1}, bytes_of({3, 1, 0, 0, 0, 0, 0, 0})));
  bench.give(fragment({.id = 9, .protocol = 1}, bytes_of({8, 0, 0, 0, 0, 0, 0, 0})));
  bench.now += seconds(31);
  const auto owed = bench.under_test.poll_expired(bench.now);
  REQUIRE(owed);
  CHECK(parse_ip(owed.bytes())->id == 9);
  CHECK_FALSE(bench.under_test.poll_expired(bench.now));
  CHECK(bench.under_test.counters(family::v4).reasm_timeout == 3);
}

TEST_CASE("reassembly: a flood of first fragments stays within the bound, the newest survive") {
  for (const family of : {family::v4, family::v6}) {
    constexpr std::size_t bound = 256 << 10;
    reassembly_bench bench{{.high_thresh = bound}};
    for (std::uint32_t i = 0; i < 5000; ++i) {
      bench.now += std::chrono::microseconds(1);
      const std::size_t size = i % 3 == 0 ? 1232 : 64;
      REQUIRE(bench.verdict(fragment({.family = of, .id = i, .host = i % 7}, counting(size))) ==
              "kept");
      REQUIRE(bench.under_test.used_bytes() <= bound);
      REQUIRE(bench.pool.used_bytes() == bench.under_test.used_bytes());
    }
    CHECK(bench.under_test.datagrams() > 100);
    CHECK(bench.under_test.counters(of).reasm_fails == 5000 - bench.under_test.datagrams());
    CHECK(bench.verdict(
              fragment({.family = of, .offset = 1232, .more = false, .id = 4998, .host = 4998 % 7},
                       counting(5))) == "complete");
    CHECK(bench.verdict(fragment({.family = of, .offset = 1232, .more = false, .id = 3, .host = 3},
                                 counting(5))) == "kept");
  }
}

TEST_CASE("reassembly: what waits leaves half of a small pool to receive from") {
  reassembly_bench bench;
  net::packet_pool small(std::size_t{1} << 20);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const auto piece = fragment({.family = family::v4, .id = i}, counting(1232));
    const auto ip = parse_ip(piece);
    REQUIRE(ip);
    net::packet packet = small.copy_of(piece);
    REQUIRE(packet);
    bench.under_test.on_fragment(std::move(packet), *ip, bench.now);
    REQUIRE_FALSE(small.scarce());
  }
  CHECK(bench.under_test.datagrams() > 100);
  bench.under_test.set_policy({.high_thresh = 0});
  CHECK(small.used_bytes() == 0);
}

TEST_CASE("reassembly: the number of datagrams is bounded") {
  reassembly_bench bench;
  for (std::uint32_t i = 0; i < 3 * reassembler::max_datagrams; ++i) {
    bench.give(fragment({.family = i % 2 == 0 ? family::v4 : family::v6, .id = i}, counting(8)));
    REQUIRE(bench.under_test.datagrams() <= reassembler::max_datagrams);
  }
  CHECK(bench.under_test.datagrams() == reassembler::max_datagrams);
}

TEST_CASE("reassembly: one hash value for all still finds each") {
  net::packet_pool pool;
  int calls = 0;
  const auto hash = [](const void* context, std::span<const std::byte> key) noexcept {
    CHECK(key.size() % 8 == 0);
    ++*static_cast<int*>(const_cast<void*>(context));
    return std::uint64_t{42};
  };
  reassembler under_test{{}, hash, &calls};
  const auto give = [&](const byte_string& packet) {
    return under_test.on_fragment(pool.copy_of(packet), *parse_ip(packet), {}).verdict;
  };
  for (std::uint32_t id = 0; id < 50; ++id) give(fragment({.id = id}, counting(8)));
  for (std::uint32_t id = 0; id < 50; id += 3) {
    CHECK(give(fragment({.offset = 8, .more = false, .id = id}, counting(3))) ==
          reassembly_verdict::complete);
  }
  CHECK(calls == 67);
  CHECK(under_test.datagrams() == 33);
}

TEST_CASE("reassembly: a lower bound holds at once, and zero refuses fragments") {
  reassembly_bench bench;
  for (std::uint32_t id = 0; id < 20; ++id) bench.give(fragment({.id = id}, counting(8)));
  auto policy = bench.under_test.policy();
  policy.high_thresh = 2000;
  bench.under_test.set_policy(policy);
  CHECK(bench.under_test.used_bytes() <= 2000);
  CHECK(bench.under_test.datagrams() == 3);
  policy.high_thresh = 0;
  bench.under_test.set_policy(policy);
  CHECK(bench.under_test.datagrams() == 0);
  CHECK(bench.verdict(fragment({}, counting(8))) == "no_memory");
  policy.ipfrag_time = seconds(1);
  policy.high_thresh = 4096;
  bench.under_test.set_policy(policy);
  bench.give(fragment({}, counting(8)));
  CHECK(bench.under_test.deadline() == bench.now + seconds(1));
}

TEST_CASE("reassembly: a datagram that alone exceeds the bound is given up") {
  reassembly_bench bench{{.high_thresh = 6000}};
  CHECK(bench.verdict(fragment({}, counting(1232))) == "kept");
  CHECK(bench.verdict(fragment({.offset = 1232}, counting(1232))) == "kept");
  CHECK(bench.verdict(fragment({.offset = 2464}, counting(1232))) == "no_memory");
  CHECK(bench.under_test.datagrams() == 0);
}

TEST_CASE("reassembly: a pool without memory for the whole packet loses it, and nothing else") {
  net::packet_pool pool{100'000};
  reassembler under_test;
  reassembly_verdict verdict{};
  for (const auto& piece : fragments({}, counting(60'000), 1480)) {
    net::packet packet = pool.copy_of(piece);
    if (!packet) break;
    verdict = under_test.on_fragment(std::move(packet), *parse_ip(piece), {}).verdict;
  }
  CHECK(verdict == reassembly_verdict::no_memory);
  CHECK(pool.used_bytes() == 0);
}

TEST_CASE("reassembly: what is held is no larger than it needs to be and nobody else's") {
  reassembly_bench bench;
  const auto small = fragment({}, counting(64));
  net::packet roomy = bench.pool.allocate(60'000);
  std::ranges::copy(small, roomy.room().begin());
  roomy.resize(small.size() + 30);
  bench.under_test.on_fragment(std::move(roomy), *parse_ip(small), bench.now);
  CHECK(bench.under_test.used_bytes() == net::packet_pool::truesize_for(small.size()));

  const auto other = fragment({.offset = 64, .more = false}, counting(64));
  const net::packet watched = bench.pool.copy_of(other);
  const auto result = bench.under_test.on_fragment(watched, *parse_ip(other), bench.now);
  CHECK(result.verdict == reassembly_verdict::complete);
  CHECK(std::ranges::equal(watched.bytes(), other));
  CHECK(parse_ip(result.packet.bytes())->payload_bytes() == 128);
}

TEST_CASE("reassembly: what is no fragment passes as it is (RFC 6946)") {
  reassembly_bench bench;
  const auto atomic = v6_packet(44, joined({fragment_header(6, 0, false), plain_tcp()}));
  const auto result = bench.give(atomic);
  CHECK(result.verdict == reassembly_verdict::complete);
  CHECK(equal(result.packet, atomic));
  CHECK(bench.under_test.counters(family::v6).reasm_reqds == 0);
  // Even while others with its id wait.
  CHECK(bench.verdict(fragment({.family = family::v6, .id = 0x01020304}, counting(16))) == "kept");
  CHECK(bench.verdict(atomic) == "complete");
}
