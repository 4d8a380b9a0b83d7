// What a segment costs the engine, checksums included: a SYN, a bare acknowledgement of new bytes,
// and text in order, as they arrive; a SYN-ACK, an acknowledgement and text, as they leave. Time
// and items are those of one segment.

#include <string>

#include "peers.hpp"

using namespace runnel;
using bench::peers;

namespace {

std::span<const std::byte> text_of(std::int64_t size) {
  static const std::string letters(65'536, 'x');
  return std::as_bytes(std::span(letters)).first(static_cast<std::size_t>(size));
}

void finish(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * peers::count);
  state.counters["each"] = benchmark::Counter(
      static_cast<double>(peers::count),
      benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

/// Sends this much on all connections.
void queue_text(peers& with, std::int64_t size) {
  for (const auto& p : with.all) {
    if (!with.server.send(p.socket, text_of(size), with.now)) {
      throw std::runtime_error("the host took no text.");
    }
  }
}

/// Reads everything.
void read_all(peers& with) {
  std::byte room[2048];
  for (const auto& p : with.all) {
    while (with.server.receive(p.socket, room, with.now)) {
    }
  }
}

void acknowledge_all(peers& with) {
  for (const auto& p : with.all) with.give(p, wire::tcp_flag::ack);
}

void arrive(peers& with, benchmark::State& state, std::vector<net::packet>& packets) {
  with.time(state, [&] {
    for (auto& packet : packets) with.server.on_packet(std::move(packet), with.now);
  });
  packets.clear();
}

/// Times how everything that is due leaves; every peer must get one packet.
void leave(peers& with, benchmark::State& state) {
  std::uint32_t packets = 0;
  with.time(state, [&] {
    while (const net::tx_packet* out = with.server.poll_transmit(with.now)) {
      benchmark::DoNotOptimize(out->pieces.data());
      ++packets;
    }
  });
  if (packets != peers::count) state.SkipWithError("not every peer was sent a packet.");
}

void reset_half_opens(peers& with) {
  for (auto& p : with.all) {
    ++p.seq;
    with.give(p, wire::tcp_flag::rst);
  }
  with.take_output();
}

void arrival_syn(benchmark::State& state) {
  peers with;
  std::vector<net::packet> packets;
  for (auto _ : state) {
    for (const auto& p : with.all) packets.push_back(with.segment(p, wire::tcp_flag::syn));
    arrive(with, state, packets);
    with.take_output();
    reset_half_opens(with);
  }
  finish(state);
}

void arrival_ack(benchmark::State& state) {
  peers with;
  with.establish();
  std::vector<net::packet> packets;
  for (auto _ : state) {
    queue_text(with, 100);
    with.take_output();
    for (const auto& p : with.all) packets.push_back(with.segment(p, wire::tcp_flag::ack));
    arrive(with, state, packets);
    with.take_output();
  }
  finish(state);
}

void arrival_text(benchmark::State& state) {
  peers with;
  with.establish();
  std::vector<net::packet> packets;
  const auto text = text_of(state.range(0));
  for (auto _ : state) {
    for (auto& p : with.all) {
      packets.push_back(with.segment(p, wire::tcp_flag::ack | wire::tcp_flag::psh, text));
      p.seq += static_cast<std::uint32_t>(text.size());
    }
    arrive(with, state, packets);
    read_all(with);
    with.take_output();
  }
  finish(state);
}

void emit_syn_ack(benchmark::State& state) {
  peers with;
  for (auto _ : state) {
    for (const auto& p : with.all) with.give(p, wire::tcp_flag::syn);
    leave(with, state);
    reset_half_opens(with);
  }
  finish(state);
}

void emit_ack(benchmark::State& state) {
  peers with;
  with.establish();
  const auto text = text_of(1448);
  for (auto _ : state) {
    for (auto& p : with.all) {
      with.give(p, wire::tcp_flag::ack | wire::tcp_flag::psh, text);
      p.seq += static_cast<std::uint32_t>(text.size());
    }
    read_all(with);
    leave(with, state);
    with.take_output();
  }
  finish(state);
}

void emit_text(benchmark::State& state) {
  peers with;
  with.establish();
  for (auto _ : state) {
    queue_text(with, state.range(0));
    leave(with, state);
    for (auto& p : with.all) p.ack += static_cast<std::uint32_t>(state.range(0));
    acknowledge_all(with);
    with.take_output();
  }
  finish(state);
}

}  // namespace

BENCHMARK(arrival_syn)->UseManualTime();
BENCHMARK(arrival_ack)->UseManualTime();
BENCHMARK(arrival_text)->Arg(100)->Arg(1448)->UseManualTime();
BENCHMARK(emit_syn_ack)->UseManualTime();
BENCHMARK(emit_ack)->UseManualTime();
BENCHMARK(emit_text)->Arg(100)->Arg(1448)->UseManualTime();
