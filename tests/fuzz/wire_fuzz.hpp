#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/icmp.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/offload.hpp>
#include <runnel/wire/tcp.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// A header that was read can be written, and, where nothing that is not written belongs to it,
/// reads the same again.
inline void fuzz_header(const wire::ip_header& ip, std::span<const std::byte> packet) {
  std::array<std::byte, 48> out;
  const std::size_t size = wire::emit_ip(out, ip);
  require(size == wire::ip_header_bytes(ip), "a parsed ip header cannot be emitted");
  if (size != ip.header_bytes) return;
  std::vector<std::byte> again(packet.begin(), packet.end());
  std::copy_n(out.begin(), size, again.begin());
  const auto header = wire::parse_ip(again);
  require(header && *header == ip, "an emitted ip header parses to something else");
}

/// What is owed for a packet that cannot be read can be said.
inline void fuzz_problem(std::span<const std::byte> packet) {
  const auto problem = wire::problem_of(packet);
  if (!problem) return;
  require(!wire::parse_ip(packet), "a problem with a packet that can be read");
  const auto quote = wire::parse_quote(problem->body);
  require(quote.has_value(), "a problem that quotes no packet");
  std::array<std::byte, 1240> out;
  require(wire::emit_icmp(out, quote->ip.destination, quote->ip.source, *problem) != 0,
          "a problem that cannot be emitted");
}

/// An address, endpoint or prefix that was read prints as something that reads the same and prints
/// the same.
template <class Value>
void fuzz_text_as(std::string_view text) {
  const auto value = Value::parse(text);
  if (!value) return;
  const std::string printed = value->to_string();
  const auto again = Value::parse(printed);
  require(again && *again == *value, "a printed address reads as something else");
  require(again->to_string() == printed, "an address prints in two ways");
}
inline void fuzz_text(std::string_view text) {
  fuzz_text_as<net::address>(text);
  fuzz_text_as<net::endpoint>(text);
  fuzz_text_as<net::prefix>(text);
}

/// What a virtio-net header says can be relied on where it is taken, and written again.
inline void fuzz_vnet(std::span<const std::byte> bytes) {
  const std::size_t size = std::min(bytes.size(), wire::vnet_header_bytes);
  const auto packet = bytes.subspan(size);
  const auto facts = wire::parse_vnet(bytes.first(size), packet);
  if (!facts) return;
  const bool partial = facts->checksum == net::checksum_state::partial;
  if (partial) {
    require(wire::has_checksum_place(*facts, packet.size()), "a checksum outside its packet");
    const std::array<std::span<const std::byte>, 2> pieces{packet.first(packet.size() / 3),
                                                           packet.subspan(packet.size() / 3)};
    static_cast<void>(wire::completed_checksum(pieces, *facts));
  } else {
    require(facts->checksum_start == 0 && facts->checksum_offset == 0, "a place of no checksum");
  }
  if (facts->gso_size == 0) return;
  require(facts->gso_size < packet.size(), "a segment longer than its packet");
  if (!partial) return;
  std::array<std::byte, wire::vnet_header_bytes> out;
  require(wire::emit_vnet(out, *facts, packet), "a parsed virtio header cannot be emitted");
  const auto again = wire::parse_vnet(out, packet);
  require(again && *again == *facts, "an emitted virtio header parses to something else");
}

/// Reads bytes as a packet and everything in it; aborts where a property does not hold.
inline void fuzz_packet(std::span<const std::byte> packet) {
  fuzz_text({reinterpret_cast<const char*>(packet.data()), packet.size()});
  fuzz_tcp(packet);
  fuzz_vnet(packet);
  static_cast<void>(wire::parse_quote(packet));
  require(wire::icmp_quote(packet).size() <= packet.size(), "a quote longer than its packet");
  static_cast<void>(wire::may_report_on(packet));
  fuzz_problem(packet);
  const auto ip = wire::parse_ip(packet);
  if (!ip) return;
  require(ip->header_bytes + ip->payload_bytes() == ip->total_length, "ip lengths do not add up");
  require(ip->total_length <= packet.size(), "ip packet longer than its bytes");
  fuzz_header(*ip, packet);
  const auto payload = ip->payload(packet);
  fuzz_tcp(payload);
  static_cast<void>(wire::tcp_checksum_intact(ip->source, ip->destination, payload));
  if (const auto icmp = wire::parse_icmp(*ip, payload); icmp && icmp->is_error()) {
    static_cast<void>(wire::parse_quote(icmp->body));
  }
}

}  // namespace runnel::fuzz
