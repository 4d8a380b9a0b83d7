// The Internet checksum of headers, a small, a full and the largest packet, alone and behind the
// copy that a receiver or sender makes anyway.

#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "runnel/wire/checksum.hpp"

using namespace runnel;

namespace {

std::vector<std::byte> bytes_of_size(std::int64_t size) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37 + 11);
  return bytes;
}

void checksum_alone(benchmark::State& state) {
  const auto bytes = bytes_of_size(state.range(0));
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes.data());
    wire::checksum sum;
    sum.add(bytes);
    benchmark::DoNotOptimize(sum.value());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void checksum_and_copy(benchmark::State& state) {
  const auto bytes = bytes_of_size(state.range(0));
  std::vector<std::byte> copy(bytes.size());
  for (auto _ : state) {
    std::memcpy(copy.data(), bytes.data(), bytes.size());
    benchmark::ClobberMemory();
    wire::checksum sum;
    sum.add(copy);
    benchmark::DoNotOptimize(sum.value());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void checksum_pseudo_header(benchmark::State& state) {
  const auto from = net::address::v4(10, 0, 0, 1);
  const auto to = net::address::v4(10, 0, 0, 2);
  for (auto _ : state) {
    wire::checksum sum;
    sum.add_pseudo_header(from, to, 6, 1480);
    benchmark::DoNotOptimize(sum.value());
  }
}

}  // namespace

BENCHMARK(checksum_alone)->Arg(20)->Arg(64)->Arg(1460)->Arg(65'535);
BENCHMARK(checksum_and_copy)->Arg(20)->Arg(64)->Arg(1460)->Arg(65'535);
BENCHMARK(checksum_pseudo_header);
