// Reading and writing IP and TCP headers, with the options that Linux sends: none, the timestamps
// of every segment, those of a SYN, and timestamps with three SACK blocks.

#include <benchmark/benchmark.h>

#include <array>

#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"

using namespace runnel;

namespace {

enum class option_set : std::uint8_t { none, timestamps, syn, sacks };

wire::tcp_header header_with(option_set options) {
  wire::tcp_header tcp;
  tcp.source_port = 40'000;
  tcp.destination_port = 80;
  tcp.seq = 123'456;
  tcp.ack = 654'321;
  tcp.flags = wire::tcp_flag::ack;
  tcp.window = 502;
  if (options == option_set::none) return tcp;
  tcp.options.timestamp = wire::tcp_timestamp{1'000'000, 2'000'000};
  if (options == option_set::syn) {
    tcp.flags = wire::tcp_flag::syn;
    tcp.options.mss = 1460;
    tcp.options.sack_permitted = true;
    tcp.options.window_scale = 7;
  }
  if (options == option_set::sacks) {
    for (std::uint32_t i = 0; i < 3; ++i) tcp.options.add_sack({i * 10'000, i * 10'000 + 1460});
  }
  return tcp;
}

wire::ip_header ip_header_of(bool v6) {
  wire::ip_header ip;
  ip.source = v6 ? *net::address::parse("fd77::1") : net::address::v4(10, 0, 0, 1);
  ip.destination = v6 ? *net::address::parse("fd77::2") : net::address::v4(10, 0, 0, 2);
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  ip.total_length = static_cast<std::uint32_t>(wire::ip_header_bytes(ip)) + 32;
  return ip;
}

void parse_ip(benchmark::State& state, bool v6) {
  std::array<std::byte, 128> packet{};
  const auto ip = ip_header_of(v6);
  wire::emit_ip(packet, ip);
  const auto bytes = std::span(packet).first(ip.total_length);
  for (auto _ : state) {
    benchmark::DoNotOptimize(packet.data());
    auto parsed = wire::parse_ip(bytes);
    benchmark::DoNotOptimize(parsed);
  }
}

void parse_tcp(benchmark::State& state, option_set options) {
  std::array<std::byte, 128> segment{};
  const std::size_t size = wire::emit_tcp(segment, header_with(options));
  const auto bytes = std::span(segment).first(size);
  for (auto _ : state) {
    benchmark::DoNotOptimize(segment.data());
    auto parsed = wire::parse_tcp(bytes);
    benchmark::DoNotOptimize(parsed);
  }
}

void emit_ip(benchmark::State& state, bool v6) {
  std::array<std::byte, 128> packet{};
  auto ip = ip_header_of(v6);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ip);
    wire::emit_ip(packet, ip);
    benchmark::ClobberMemory();
  }
}

void emit_tcp(benchmark::State& state, option_set options) {
  std::array<std::byte, 128> segment{};
  auto tcp = header_with(options);
  for (auto _ : state) {
    benchmark::DoNotOptimize(tcp);
    wire::emit_tcp(segment, tcp);
    benchmark::ClobberMemory();
  }
}

}  // namespace

BENCHMARK_CAPTURE(parse_ip, v4, false);
BENCHMARK_CAPTURE(parse_ip, v6, true);
BENCHMARK_CAPTURE(parse_tcp, bare, option_set::none);
BENCHMARK_CAPTURE(parse_tcp, timestamps, option_set::timestamps);
BENCHMARK_CAPTURE(parse_tcp, syn, option_set::syn);
BENCHMARK_CAPTURE(parse_tcp, sacks, option_set::sacks);
BENCHMARK_CAPTURE(emit_ip, v4, false);
BENCHMARK_CAPTURE(emit_ip, v6, true);
BENCHMARK_CAPTURE(emit_tcp, bare, option_set::none);
BENCHMARK_CAPTURE(emit_tcp, timestamps, option_set::timestamps);
BENCHMARK_CAPTURE(emit_tcp, syn, option_set::syn);
