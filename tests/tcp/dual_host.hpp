#pragma once

#include <vector>

#include "packets.hpp"
#include "runnel/wire/icmp.hpp"

namespace runnel::tcp::test {

inline net::address address_of(std::string_view text) {
  return net::address::parse(text).value();
}

/// A host of both families, 10.0.0.2 and fd00::2, and packets of any kind for it.
struct dual_host {
  explicit dual_host(const std::function<void(host_options&)>& adjust = {})
      : engine(make(adjust)) {}
  static host_options make(const std::function<void(host_options&)>& adjust) {
    host_options options;
    options.addresses = {address_of("10.0.0.2"), address_of("fd00::2")};
    options.keys = keys_from(6);
    if (adjust) adjust(options);
    return options;
  }

  void give(wire::ip_header ip, std::span<const std::byte> payload) {
    const std::size_t header = wire::ip_header_bytes(ip);
    ip.total_length = static_cast<std::uint32_t>(header + payload.size());
    net::packet packet = pool.allocate(ip.total_length);
    packet.resize(ip.total_length);
    wire::emit_ip(packet.bytes(), ip);
    std::ranges::copy(payload, packet.bytes().subspan(header).begin());
    engine.on_packet(std::move(packet), now);
  }
  void give_raw(std::span<const std::byte> bytes) { engine.on_packet(pool.copy_of(bytes), now); }
  void give_icmp(const net::address& from, const net::address& to,
                 const wire::icmp_message& message) {
    std::vector<std::byte> bytes(wire::icmp_bytes(message));
    wire::emit_icmp(bytes, from, to, message);
    give(header(from, to, wire::icmp_protocol(from.family())), bytes);
  }
  void give_segment(const net::endpoint& from, const net::endpoint& to, const wire::tcp_header& tcp,
                    std::string_view text = {}) {
    engine.on_packet(make_packet(pool, from, to, tcp, bytes_of(text)), now);
  }
  static wire::ip_header header(const net::address& from, const net::address& to,
                                wire::ip_protocol protocol) {
    wire::ip_header ip;
    ip.source = from;
    ip.destination = to;
    ip.protocol = static_cast<std::uint8_t>(protocol);
    return ip;
  }

  /// The next packet out; empty when there is none.
  std::vector<std::byte> next() {
    const net::tx_packet* out = engine.poll_transmit(now);
    if (out == nullptr) return {};
    const net::packet flat = flatten(pool, *out);
    return {flat.bytes().begin(), flat.bytes().end()};
  }
  seen_packet next_segment() {
    const auto bytes = next();
    REQUIRE(!bytes.empty());
    return look_at(bytes, now, 0, true);
  }
  std::size_t answers() {
    std::size_t count = 0;
    while (!next().empty()) ++count;
    return count;
  }
  void pass(duration span) {
    const time_point until = now + span;
    while (engine.poll_timeout() <= until) {
      now = std::max(now, engine.poll_timeout());
      engine.on_timeout(now);
      while (!next().empty()) {
      }
    }
    now = until;
  }
  /// Opens with three segments what a listener on this port gives.
  void open(const net::endpoint& from, const net::endpoint& to) {
    wire::tcp_header tcp;
    tcp.flags = wire::tcp_flag::syn;
    tcp.window = 65'535;
    tcp.seq = 1000;
    give_segment(from, to, tcp);
    const seen_packet answer = next_segment();
    REQUIRE(answer.flags() == "SA");
    tcp.flags = wire::tcp_flag::ack;
    tcp.seq = 1001;
    tcp.ack = answer.tcp.seq + 1;
    give_segment(from, to, tcp);
  }
  const tcp::counters& count() const { return engine.counters(); }

  net::packet_pool pool;
  time_point now = time_point(std::chrono::seconds(1000));
  host engine;
};

}  // namespace runnel::tcp::test
