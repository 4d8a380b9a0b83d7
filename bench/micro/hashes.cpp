// The keyed hashes: of a tuple, for its place in the look-up table, and of a SYN cookie, when one
// is made and when one is checked, a good one and a forged one.

#include <benchmark/benchmark.h>

#include <array>

#include "tcp/engine/siphash.hpp"
#include "tcp/engine/syncookies.hpp"

using namespace runnel;
using namespace runnel::tcp::detail;

namespace {

constexpr tcp::secret_key key{0x0123456789abcdef, 0xfedcba9876543210};
constexpr std::uint64_t step = 1000;

template <class Hash>
void siphash_of_words(benchmark::State& state) {
  std::uint64_t word = 1;
  for (auto _ : state) {
    Hash hash(key);
    for (std::int64_t i = 0; i < state.range(0); ++i) hash.add(word++);
    benchmark::DoNotOptimize(hash.finish());
  }
}

cookie_flow flow_of(std::uint32_t n) {
  cookie_flow flow;
  flow.remote = net::address::v4(10, 0, 1, 1);
  flow.local = net::address::v4(10, 0, 0, 2);
  flow.remote_port = static_cast<std::uint16_t>(1024 + n % 60'000);
  flow.local_port = 80;
  flow.irs = tcp::sequence(n * 7919);
  flow.rcv_wscale = 7;
  return flow;
}

cookie_options options_asked(bool timestamps) {
  cookie_options asked;
  asked.mss = 1460;
  asked.snd_wscale = 7;
  asked.window_scaled = true;
  asked.sack_permitted = true;
  asked.timestamps = timestamps;
  return asked;
}

void syncookie_make(benchmark::State& state, bool timestamps) {
  const key_ring keys(key);
  const cookie_options asked = options_asked(timestamps);
  std::uint32_t n = 0;
  for (auto _ : state) benchmark::DoNotOptimize(make_cookie(keys, flow_of(n++), asked, step));
}

/// `changed` is what the peer brings back changed: 0 for a good one.
void syncookie_check(benchmark::State& state, std::uint32_t changed) {
  const key_ring keys(key);
  const cookie_options asked = options_asked(true);
  const cookie_flow flow = flow_of(7);
  const tcp::sequence cookie = make_cookie(keys, flow, asked, step) + changed;
  const std::uint32_t echo = cookie_timestamp(asked, 5'000'000);
  if (check_cookie(keys, flow, cookie, echo, step).has_value() != (changed == 0)) {
    state.SkipWithError("the cookie is not what it should be.");
  }
  for (auto _ : state) {
    auto found = check_cookie(keys, flow, cookie, echo, step);
    benchmark::DoNotOptimize(found);
  }
}

}  // namespace

BENCHMARK_TEMPLATE(siphash_of_words, siphash)->Arg(2)->Arg(5);
BENCHMARK_TEMPLATE(siphash_of_words, siphash_mac)->Arg(2)->Arg(5);
BENCHMARK_CAPTURE(syncookie_make, bare, false);
BENCHMARK_CAPTURE(syncookie_make, timestamps, true);
BENCHMARK_CAPTURE(syncookie_check, good, 0);
BENCHMARK_CAPTURE(syncookie_check, forged, 64);
