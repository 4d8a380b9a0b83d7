#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/engine/engine_pair.hpp"
#include "bench/engine/segment.hpp"

namespace runnel::bench {

/// A host with 256 connections of peers that are made of segments. What is measured is done for all
/// of them in a row, so that reading the clock costs next to nothing; what prepares it is not
/// timed.
class peers {
 public:
  static constexpr std::uint32_t count = 256;

  struct peer {
    net::address at;
    std::uint16_t port = 0;
    std::uint32_t seq = 0;
    std::uint32_t ack = 0;
    std::uint32_t echo = 0;
    tcp::socket_id socket;
  };

  peers() : server(make_server()) {
    tcp::listener_policy policy;
    // What is to be acknowledged is acknowledged at once.
    policy.connection.quickack = true;
    listener = server.listen({{}, 80}, policy, 1).value;
    for (std::uint32_t i = 0; i < count; ++i) {
      peer& p = all.emplace_back();
      p.at = net::address::v4(10, 128, 0, static_cast<std::uint8_t>(1 + i % 250));
      p.port = static_cast<std::uint16_t>(2000 + i);
      p.seq = i * 7919;
    }
  }

  void establish() {
    for (peer& p : all) {
      give(p, wire::tcp_flag::syn);
      ++p.seq;
      take_output();
      give(p, wire::tcp_flag::ack);
      const auto accepted = server.accept(listener, 0);
      if (!accepted) throw std::runtime_error("a handshake came to nothing.");
      p.socket = accepted.value;
      take_output();
    }
  }

  net::packet segment(const peer& from, std::uint8_t flags, std::span<const std::byte> text = {}) {
    wire::tcp_header tcp;
    tcp.source_port = from.port;
    tcp.destination_port = 80;
    tcp.seq = from.seq;
    tcp.ack = (flags & wire::tcp_flag::ack) != 0 ? from.ack : 0;
    tcp.flags = flags;
    tcp.window = 502;
    tcp.options.timestamp = wire::tcp_timestamp{
        static_cast<std::uint32_t>(now.time_since_epoch() / std::chrono::milliseconds(1)),
        from.echo};
    if (flags == wire::tcp_flag::syn) {
      tcp.options.mss = 1460;
      tcp.options.sack_permitted = true;
      tcp.options.window_scale = 7;
      tcp.options.timestamp->echo = 0;
    }
    return make_segment(pool, from.at, tcp, text);
  }

  void give(const peer& from, std::uint8_t flags, std::span<const std::byte> text = {}) {
    server.on_packet(segment(from, flags, text), now);
  }

  /// Everything that the host has to say reaches its peer; gives how many packets it was.
  std::uint32_t take_output() {
    std::uint32_t packets = 0;
    while (const net::tx_packet* out = server.poll_transmit(now)) {
      ++packets;
      const auto parsed = wire::parse_tcp(out->pieces[0].subspan(20));
      if (!parsed) throw std::logic_error("the host sent what is no TCP segment.");
      peer& p = all[parsed->destination_port - 2000U];
      const auto text = out->size - 20 - parsed->header_bytes;
      p.ack = parsed->seq + text + (parsed->has(wire::tcp_flag::syn) ? 1 : 0);
      if (parsed->options.timestamp) p.echo = parsed->options.timestamp->value;
    }
    tcp::socket_event happened;
    while (server.poll_event(happened)) {
    }
    return packets;
  }

  /// Runs `act`, whose time is the iteration's, and lets a millisecond pass.
  template <class Act>
  void time(benchmark::State& state, Act&& act) {
    const auto begin = std::chrono::steady_clock::now();
    act();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    state.SetIterationTime(taken.count());
    now += std::chrono::milliseconds(1);
    if (server.poll_timeout() <= now) server.on_timeout(now);
  }

  net::packet_pool pool;
  tcp::host server;
  tcp::socket_id listener;
  time_point now = epoch;
  std::vector<peer> all;

 private:
  static tcp::host make_server() {
    tcp::host_options options;
    options.addresses = {server_address};
    options.keys = {{1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}};
    return tcp::host(std::move(options));
  }
};

}  // namespace runnel::bench
