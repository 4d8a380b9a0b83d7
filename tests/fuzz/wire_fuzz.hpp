#pragma once

#include <runnel/wire/icmp.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/tcp.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <span>

namespace runnel::fuzz {

/// Aborts, which every fuzzer and test notices, when `held` is false.
inline void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "wire fuzz: %s\n", what);
  std::abort();
}

/// A segment that can be read can be written, and reads the same again.
inline void fuzz_tcp(std::span<const std::byte> segment) {
  const auto header = wire::parse_tcp(segment);
  if (!header) return;
  require(header->header_bytes <= segment.size(), "tcp header longer than the segment");
  require(header->options.sack_count <= wire::tcp_options::max_sack_blocks, "too many sack blocks");
  std::array<std::byte, 60> out;
  const std::size_t size = wire::emit_tcp(out, *header);
  require(size >= 20 && size <= 60 && size % 4 == 0, "tcp header of an impossible length");
  const auto again = wire::parse_tcp(std::span(out).first(size));
  require(again.has_value(), "an emitted tcp header does not parse");
  require(again->header_bytes == size && again->seq == header->seq && again->ack == header->ack &&
              again->flags == header->flags && again->window == header->window &&
              again->options.mss == header->options.mss &&
              again->options.timestamp == header->options.timestamp &&
              again->options.window_scale == header->options.window_scale &&
              again->options.sack_permitted == header->options.sack_permitted,
          "an emitted tcp header parses to something else");
}

/// Reads bytes as a packet and everything in it; aborts where a property does not hold.
inline void fuzz_packet(std::span<const std::byte> packet) {
  fuzz_tcp(packet);
  static_cast<void>(wire::parse_quote(packet));
  require(wire::icmp_quote(packet).size() <= packet.size(), "a quote longer than its packet");
  const auto ip = wire::parse_ip(packet);
  if (!ip) return;
  require(ip->header_bytes + ip->payload_bytes() == ip->total_length, "ip lengths do not add up");
  require(ip->total_length <= packet.size(), "ip packet longer than its bytes");
  std::array<std::byte, 20> out;
  require(wire::emit_ip(out, *ip) == out.size(), "a parsed ip header cannot be emitted");
  const auto payload = ip->payload(packet);
  fuzz_tcp(payload);
  static_cast<void>(wire::tcp_checksum_intact(ip->source, ip->destination, payload));
  if (const auto icmp = wire::parse_icmp(*ip, payload); icmp && icmp->is_error()) {
    static_cast<void>(wire::parse_quote(icmp->body));
  }
}

}  // namespace runnel::fuzz
