#include "core.hpp"

// From a packet to a segment: everything that is checked before TCP sees it.

namespace runnel::tcp::detail {

namespace {

/// Sources that no answer may be sent to (RFC 1122 §3.2.1.3; Linux calls them martian), and our own
/// address, which only a LAND attack uses on a link. The broadcast address of a subnet is not known
/// to be one: a host has addresses, no prefixes.
bool bad_source(const core& host, const net::address& source) noexcept {
  const bool this_network = source.is_v4() && source.to_v4_number() >> 24 == 0;
  return this_network || source.is_any() || source.is_multicast() ||
         source.is_limited_broadcast() || source.is_loopback() || host.local_index(source) >= 0;
}

/// As Linux counts: a data offset that is too small is an error, a segment that is too short for
/// its header is only dropped.
bool small_data_offset(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t fixed_bytes = 20;
  return bytes.size() >= fixed_bytes &&
         (std::to_integer<unsigned>(bytes[12]) >> 4) * 4 < fixed_bytes;
}

bool checksum_good(const core& host, const wire::ip_header& ip, const net::packet& packet,
                   std::span<const std::byte> text) noexcept {
  if (host.checksum_offload_rx && packet->offload.checksum != net::checksum_state::unverified) {
    return true;
  }
  return wire::tcp_checksum_intact(ip.source, ip.destination, text);
}

bool is_ipv6(const net::packet& packet) noexcept {
  return packet && !packet.bytes().empty() &&
         std::to_integer<unsigned>(packet.bytes().front()) >> 4 == 6;
}

void on_tcp(core& host, const wire::ip_header& ip, std::uint16_t local_index, net::packet packet) {
  ++host.count.in_segs;
  const std::span<const std::byte> bytes = ip.payload(packet.bytes());
  const auto header = wire::parse_tcp(bytes);
  if (!header) {
    if (small_data_offset(bytes)) ++host.count.in_errs;
    return;
  }
  if (!checksum_good(host, ip, packet, bytes)) {
    ++host.count.in_csum_errors;
    ++host.count.in_errs;
    return;
  }
  segment seg;
  seg.key = {ip.source, header->source_port, header->destination_port, local_index};
  seg.seq = sequence(header->seq);
  seg.ack = sequence(header->ack);
  seg.window = header->window;
  seg.flags = header->flags;
  seg.ecn = ip.tos & ecn_mask;
  seg.len = static_cast<std::uint32_t>(bytes.size()) - header->header_bytes;
  if (host.checksum_offload_rx) seg.gso_size = packet->offload.gso_size;
  seg.options = &header->options;
  const std::uint32_t skip = std::uint32_t{ip.header_bytes} + header->header_bytes;
  packet->end = packet->begin + skip + seg.len;
  packet->begin += skip;
  seg.payload = std::move(packet);
  on_segment(host, seg);
}

}  // namespace

void on_ip_packet(core& host, net::packet packet) {
  if (is_ipv6(packet)) {
    // The kernel says such things on any device that is up; on an IPv4 host they are no errors.
    ++host.count.ip6_in_discards;
    return;
  }
  ++host.count.ip_in_receives;
  if (packet && packet->references != 1) {
    // Somebody else looks at it, a duplicate on its way perhaps, and what follows moves its edges.
    net::packet mine = host.pool.copy_of(packet.bytes());
    if (mine) mine->offload = packet->offload;
    packet = std::move(mine);
  }
  if (!packet) {
    ++host.count.ip_in_discards;
    return;
  }
  const auto ip = wire::parse_ip(packet.bytes());
  if (!ip) {
    ++host.count.ip_in_hdr_errors;
    return;
  }
  const int local = host.local_index(ip->destination);
  if (local < 0 || bad_source(host, ip->source)) {
    ++host.count.ip_in_addr_errors;
    return;
  }
  if (ip->is_fragment()) {
    ++host.count.ip_fragments_dropped;
    return;
  }
  if (ip->carries(wire::ip_protocol::tcp)) {
    on_tcp(host, *ip, static_cast<std::uint16_t>(local), std::move(packet));
  } else if (ip->carries(wire::ip_protocol::icmp)) {
    on_icmp(host, *ip, std::move(packet));
  } else {
    reject_datagram(host, *ip, packet);
  }
}

}  // namespace runnel::tcp::detail
