#include <doctest/doctest.h>

#include <bit>
#include <random>
#include <vector>

#include "tcp/engine/siphash.hpp"
#include "tcp/engine/syncookies.hpp"

// Cookies as numbers: what they keep, how long they are good, and what does not pass for one.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::detail;

namespace {

constexpr secret_key key_a = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
constexpr secret_key key_b = {0x1716151413121110, 0x1f1e1d1c1b1a1918};
constexpr secret_key key_c = {0x2726252423222120, 0x2f2e2d2c2b2a2928};
constexpr std::uint64_t count = 28'000'000;
constexpr std::uint32_t clock_ms = 0x89abcdef;

cookie_flow a_flow() {
  return {net::address::v4(10, 0, 0, 1),
          net::address::v4(10, 0, 0, 2),
          40000,
          80,
          sequence(1'000'000),
          4};
}

/// Every combination of options, with common and odd values.
std::vector<cookie_options> many_options() {
  std::vector<cookie_options> out;
  for (const std::uint16_t mss : std::initializer_list<std::uint16_t>{
           48, 536, 900, 1300, 1400, 1440, 1459, 1460, 8960, 65495}) {
    for (int scale = -1; scale <= 14; ++scale) {
      for (unsigned bits = 0; bits < 8; ++bits) {
        const auto shift = static_cast<std::uint8_t>(scale < 0 ? 0 : scale);
        out.push_back({mss, shift, scale >= 0, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
      }
    }
  }
  return out;
}

std::optional<std::uint32_t> echo_of(const cookie_options& options) {
  if (!options.timestamps) return std::nullopt;
  return cookie_timestamp(options, clock_ms);
}

}  // namespace

TEST_CASE("siphash: SipHash-2-4 gives the values of its authors") {
  CHECK(siphash_mac(key_a).finish() == 0x726fdb47dd0e0e31);
  CHECK(siphash_mac(key_a).add(0x0706050403020100).finish() == 0x93f5f5799a932462);
  CHECK(siphash_mac(key_a).add(0x0706050403020100).add(0x0f0e0d0c0b0a0908).finish() ==
        0x3f2acc7f57c29bdb);
}

TEST_CASE("S40: a cookie gives back every combination of options") {
  const key_ring keys(key_a);
  for (const cookie_options& asked : many_options()) {
    CAPTURE(asked.mss);
    CAPTURE(int{asked.snd_wscale});
    CAPTURE(asked.timestamps);
    const sequence iss = make_cookie(keys, a_flow(), asked, count);
    const auto kept = check_cookie(keys, a_flow(), iss, echo_of(asked), count);
    REQUIRE(kept.has_value());
    CHECK(*kept == as_kept(asked, net::family::v4));
    CHECK(kept->timestamps == asked.timestamps);
    CHECK(kept->sack_permitted == asked.sack_permitted);
    CHECK(kept->ecn == asked.ecn);
    CHECK(kept->window_scaled == asked.window_scaled);
  }
}

TEST_CASE("S40: the MSS comes back as one of four, as in Linux") {
  const auto kept = [](std::uint16_t mss) { return as_kept({.mss = mss}, net::family::v4).mss; };
  CHECK(kept(900) == 536);
  CHECK(kept(536) == 536);
  CHECK(kept(1299) == 536);
  CHECK(kept(1300) == 1300);
  CHECK(kept(1439) == 1300);
  CHECK(kept(1440) == 1440);
  CHECK(kept(1460) == 1460);
  CHECK(kept(8960) == 1460);
  CHECK(as_kept({.mss = 1440}, net::family::v6).mss == 1440);
  CHECK(as_kept({.mss = 9000}, net::family::v6).mss == 8940);
}

TEST_CASE("S41: the window shift is exact with timestamps, else rounded down to one of seven") {
  constexpr std::uint8_t rounded[] = {0, 0, 2, 2, 4, 4, 6, 7, 8, 8, 10, 10, 10, 10, 10};
  for (std::uint8_t shift = 0; shift <= 14; ++shift) {
    cookie_options asked{.snd_wscale = shift, .window_scaled = true};
    CHECK(as_kept(asked, net::family::v4).snd_wscale == rounded[shift]);
    asked.timestamps = true;
    CHECK(as_kept(asked, net::family::v4).snd_wscale == shift);
  }
}

TEST_CASE("S41: the timestamp with options is never ahead of the clock, nor 128 ms behind") {
  for (const cookie_options& asked : many_options()) {
    if (!asked.timestamps) continue;
    for (std::uint32_t clock :
         {0U, 1U, 63U, 64U, 0x7fffffffU, 0x80000000U, 0xffffffffU, clock_ms}) {
      const std::uint32_t behind = clock - cookie_timestamp(asked, clock);
      CHECK(behind < 128);
    }
  }
}

TEST_CASE("S40: a cookie is good for the minute it was made in and the next one") {
  const key_ring keys(key_a);
  for (const bool timestamps : {false, true}) {
    const cookie_options asked{.mss = 1460, .timestamps = timestamps};
    const sequence iss = make_cookie(keys, a_flow(), asked, count);
    const auto good_at = [&](std::uint64_t step) {
      return check_cookie(keys, a_flow(), iss, echo_of(asked), step).has_value();
    };
    CHECK(good_at(count));
    CHECK(good_at(count + 1));
    CHECK_FALSE(good_at(count + 2));
    CHECK_FALSE(good_at(count + 256));
    // Made by a machine whose clock is a little ahead.
    CHECK(good_at(count - 1));
    CHECK_FALSE(good_at(count - 2));
  }
}

TEST_CASE("S40: a cookie is for one peer, one port, one first number") {
  const key_ring keys(key_a);
  for (const cookie_options& asked : many_options()) {
    const sequence iss = make_cookie(keys, a_flow(), asked, count);
    const auto fails = [&](auto change) {
      cookie_flow other = a_flow();
      change(other);
      return !check_cookie(keys, other, iss, echo_of(asked), count);
    };
    CHECK(fails([](cookie_flow& f) { f.remote = net::address::v4(10, 0, 0, 3); }));
    CHECK(fails([](cookie_flow& f) { f.local = net::address::v4(10, 0, 0, 3); }));
    CHECK(fails([](cookie_flow& f) { f.remote_port ^= 1; }));
    CHECK(fails([](cookie_flow& f) { f.local_port ^= 1; }));
    CHECK(fails([](cookie_flow& f) { f.irs += 1; }));
    CHECK(fails([](cookie_flow& f) { f.rcv_wscale ^= 1; }));
  }
}

TEST_CASE("S40: no bit of a cookie or of its timestamp's options can be changed") {
  const key_ring keys(key_a);
  for (const cookie_options& asked : many_options()) {
    const sequence iss = make_cookie(keys, a_flow(), asked, count);
    const auto echo = echo_of(asked);
    for (unsigned bit = 0; bit < 32; ++bit) {
      CAPTURE(bit);
      const sequence forged(iss.value() ^ 1U << bit);
      CHECK_FALSE(check_cookie(keys, a_flow(), forged, echo, count));
      if (!echo || bit >= 6) continue;
      CHECK_FALSE(check_cookie(keys, a_flow(), iss, *echo ^ 1U << bit, count));
    }
    // Nor can the timestamp be left out or be added.
    const auto other = echo ? std::nullopt : std::optional(clock_ms);
    CHECK_FALSE(check_cookie(keys, a_flow(), iss, other, count));
  }
}

TEST_CASE("hostile cookies S40: guessed numbers pass as rarely as the hash bits left promise") {
  const std::uint64_t seed = 7;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const key_ring keys(key_a);
  int passed = 0;
  int passed_timed = 0;
  constexpr int tries = 1 << 18;
  for (int i = 0; i < tries; ++i) {
    const sequence guess(static_cast<std::uint32_t>(random()));
    if (check_cookie(keys, a_flow(), guess, std::nullopt, count)) ++passed;
    const auto echo = static_cast<std::uint32_t>(random());
    if (check_cookie(keys, a_flow(), guess, echo, count)) ++passed_timed;
  }
  // Half of the guesses have the right mark, and three steps are tried: 2^18 / 2 * 3 / 2^24 = 0.02
  // are expected, and a thirtieth of that with timestamps.
  CHECK(passed <= 1);
  CHECK(passed_timed <= 1);
}

TEST_CASE("S40: cookies of the key before are good, those of an older one are not") {
  for (const bool timestamps : {false, true}) {
    key_ring keys(key_a);
    const cookie_options asked{.mss = 1460, .sack_permitted = true, .timestamps = timestamps};
    const sequence iss = make_cookie(keys, a_flow(), asked, count);
    const auto good = [&] { return check_cookie(keys, a_flow(), iss, echo_of(asked), count); };
    keys.rotate(key_b);
    CHECK(good());
    CHECK(make_cookie(keys, a_flow(), asked, count) != iss);
    keys.rotate(key_c);
    CHECK_FALSE(good());
    keys.set(key_b, key_a);
    CHECK(good());
    keys.set(key_b, key_c);
    CHECK_FALSE(good());
  }
}

TEST_CASE("S40: the numbers of cookies show nothing of what they hold") {
  // Peers that ask for the same thing get numbers whose every bit is set half of the time.
  const key_ring keys(key_a);
  for (const bool timestamps : {false, true}) {
    std::array<int, 32> set{};
    constexpr int peers = 4096;
    for (int i = 0; i < peers; ++i) {
      cookie_flow flow = a_flow();
      flow.remote_port = static_cast<std::uint16_t>(i);
      const auto number = make_cookie(keys, flow, {.timestamps = timestamps}, count).value();
      for (unsigned bit = 0; bit < 32; ++bit) set[bit] += static_cast<int>(number >> bit & 1);
    }
    for (unsigned bit = 0; bit < 32; ++bit) {
      CAPTURE(bit);
      // Six standard deviations.
      CHECK(std::abs(set[bit] - peers / 2) < 192);
    }
  }
}
