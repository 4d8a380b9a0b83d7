#include "ingress.hpp"

#include "runnel/wire/plain_tcp.hpp"

// From a packet to a segment: everything that is checked before TCP sees it.

namespace runnel::tcp::detail {

namespace {

bool is_ipv6(const net::packet& packet) noexcept {
  return packet && !packet.bytes().empty() &&
         std::to_integer<unsigned>(packet.bytes().front()) >> 4 == 6;
}

/// As Linux counts: a data offset that is too small is an error, a segment that is too short for
/// its header is only dropped.
bool small_data_offset(std::span<const std::byte> bytes) noexcept {
  constexpr std::size_t fixed_bytes = 20;
  return bytes.size() >= fixed_bytes &&
         (std::to_integer<unsigned>(bytes[12]) >> 4) * 4 < fixed_bytes;
}

bool checksum_good(const core& host, const net::address& source, const net::address& destination,
                   const net::packet& packet, std::span<const std::byte> text) noexcept {
  if (host.checksum_offload_rx && packet->offload.checksum != net::checksum_state::unverified) {
    return true;
  }
  return wire::tcp_checksum_intact(source, destination, text);
}

/// The segment's text is what lies behind both headers in the packet.
void take_segment(core& host, segment& seg, net::packet packet, std::uint32_t total_length) {
  seg.len = total_length - seg.header_bytes;
  if (host.checksum_offload_rx) seg.gso_size = packet->offload.gso_size;
  packet->end = packet->begin + total_length;
  packet->begin += seg.header_bytes;
  seg.payload = std::move(packet);
  on_segment(host, seg);
}

void note_bad_checksum(core& host) noexcept {
  ++host.count.in_csum_errors;
  ++host.count.in_errs;
}

/// What nearly every packet is, at one go. False when it is something else, or its headers are
/// faulty: nothing has happened then, and the general way says what it is.
bool on_plain_tcp(core& host, net::packet& packet) {
  const wire::plain_tcp_view plain(packet.bytes());
  if (!plain) return false;
  const net::address source = plain.source();
  const net::address destination = plain.destination();
  const int local = host.local_index(destination);
  if (local < 0 || bad_source(host, source)) return false;
  ++host.count.in_segs;
  if (!checksum_good(host, source, destination, packet, plain.segment())) {
    note_bad_checksum(host);
    return true;
  }
  wire::tcp_options options;
  if (plain.has_timestamp()) options.timestamp = plain.timestamp();
  segment seg;
  // One by one: what is copied from fields just written in smaller pieces would stall.
  seg.key.remote = source;
  seg.key.remote_port = plain.source_port();
  seg.key.local_port = plain.destination_port();
  seg.key.local_index = static_cast<std::uint16_t>(local);
  seg.seq = sequence(plain.seq());
  seg.ack = sequence(plain.ack());
  seg.window = plain.window();
  seg.flags = plain.flags();
  seg.ecn = plain.tos() & ecn_mask;
  seg.options = &options;
  seg.header_bytes = static_cast<std::uint16_t>(plain.header_bytes());
  take_segment(host, seg, std::move(packet), plain.total_length());
  return true;
}

void on_tcp(core& host, const wire::ip_header& ip, std::uint16_t local_index, net::packet packet) {
  ++host.count.in_segs;
  const std::span<const std::byte> bytes = ip.payload(packet.bytes());
  const auto header = wire::parse_tcp(bytes);
  if (!header) {
    if (small_data_offset(bytes)) ++host.count.in_errs;
    return;
  }
  if (!checksum_good(host, ip.source, ip.destination, packet, bytes)) {
    return note_bad_checksum(host);
  }
  segment seg;
  seg.key.remote = ip.source;
  seg.key.remote_port = header->source_port;
  seg.key.local_port = header->destination_port;
  seg.key.local_index = local_index;
  seg.seq = sequence(header->seq);
  seg.ack = sequence(header->ack);
  seg.window = header->window;
  seg.flags = header->flags;
  seg.ecn = ip.tos & ecn_mask;
  seg.options = &header->options;
  seg.header_bytes = static_cast<std::uint16_t>(ip.header_bytes + header->header_bytes);
  take_segment(host, seg, std::move(packet), ip.total_length);
}

/// A whole packet for this host.
void deliver(core& host, const wire::ip_header& ip, int local_index, net::packet packet) {
  if (ip.carries(wire::ip_protocol::tcp)) {
    on_tcp(host, ip, static_cast<std::uint16_t>(local_index), std::move(packet));
  } else if (ip.carries(wire::icmp_protocol(ip.source.family()))) {
    on_icmp(host, ip, std::move(packet));
  } else if (!ip.source.is_v6() || !ip.carries(wire::ip_protocol::no_next_header)) {
    reject_datagram(host, ip, packet);
  }
}

/// The counters of what came in pieces are the reassembler's.
void copy_reassembly_counters(core& host) noexcept {
  const wire::reassembly_counters& v4 = host.fragments.counters(net::family::v4);
  host.count.reasm_reqds = v4.reasm_reqds;
  host.count.reasm_oks = v4.reasm_oks;
  host.count.reasm_fails = v4.reasm_fails;
  host.count.reasm_timeout = v4.reasm_timeout;
  host.count.reasm_overlaps = v4.reasm_overlaps;
  const wire::reassembly_counters& v6 = host.fragments.counters(net::family::v6);
  host.count.reasm6_reqds = v6.reasm_reqds;
  host.count.reasm6_oks = v6.reasm_oks;
  host.count.reasm6_fails = v6.reasm_fails;
  host.count.reasm6_timeout = v6.reasm_timeout;
}

void on_fragment(core& host, const wire::ip_header& ip, int local_index, net::packet packet) {
  if (host.shard.count > 1) {
    const std::uint32_t assembler = assembler_of(host, ip);
    if (assembler != host.shard.index) return hand_over(host, std::move(packet), assembler);
  }
  auto outcome = host.fragments.on_fragment(std::move(packet), ip, host.now);
  copy_reassembly_counters(host);
  if (outcome.problem && may_reject(host, ip.source)) {
    ++host.count.icmp6_out_parm_problems;
    send_icmp(host, ip.destination, ip.source, *outcome.problem);
  }
  if (outcome.verdict != wire::reassembly_verdict::complete) return;
  const auto whole = wire::parse_ip(outcome.packet.bytes());
  if (!whole || whole->is_fragment()) {
    ++(ip.source.is_v6() ? host.count.ip6_in_hdr_errors : host.count.ip_in_hdr_errors);
    return;
  }
  // Where its pieces meet is not yet where the whole belongs.
  host.shard.handed = false;
  deliver(host, *whole, local_index, std::move(outcome.packet));
}

/// What IPv6 refuses is explained to its sender (RFC 8200 §4).
void explain_refusal(core& host, const net::packet& packet) {
  const auto problem = wire::problem_of(packet.bytes());
  if (!problem) return;
  const auto ip = wire::parse_quoted_ip(packet.bytes());
  if (!ip || host.local_index(ip->destination) < 0 || bad_source(host, ip->source)) return;
  if (!may_reject(host, ip->source)) return;
  ++host.count.icmp6_out_parm_problems;
  send_icmp(host, ip->destination, ip->source, *problem);
}

}  // namespace

// RFC 1122 §3.2.1.3; Linux calls them martian. Our own address only a LAND attack uses on a link.
// The broadcast address of a subnet is not known to be one: a host has addresses, no prefixes.
bool bad_source(const core& host, const net::address& source) noexcept {
  if (source.is_v4()) {
    const std::uint32_t number = source.to_v4_number();
    const std::uint32_t first = number >> 24;
    if (first == 0 || first == 127 || first >> 4 == 14 || number == UINT32_MAX) return true;
  } else if (source.is_any() || source.is_multicast() || source.is_loopback() ||
             source.is_v4_mapped()) {
    return true;
  }
  return host.local_index(source) >= 0;
}

wire::reassembly_policy reassembly_of(const core& host) noexcept {
  wire::reassembly_policy out;
  out.high_thresh = host.shard.share(host.policy.ipfrag_high_thresh);
  out.ipfrag_time = host.policy.ipfrag_time;
  out.ip6frag_time = host.policy.ip6frag_time;
  return out;
}

void expire_fragments(core& host) {
  while (const net::packet first = host.fragments.poll_expired(host.now)) {
    const auto ip = wire::parse_quoted_ip(first.bytes());
    if (!ip || !may_reject(host, ip->source)) continue;
    wire::icmp_message message;
    message.kind = wire::icmp_kind::time_exceeded;
    message.code = wire::time_exceeded_code::in_reassembly;
    message.body = wire::icmp_quote(first.bytes());
    ++(ip->source.is_v6() ? host.count.icmp6_out_time_excds : host.count.icmp_out_time_excds);
    send_icmp(host, ip->destination, ip->source, message);
  }
  copy_reassembly_counters(host);
}

void on_ip_packet(core& host, net::packet packet) {
  const bool v6 = is_ipv6(packet);
  ++(v6 ? host.count.ip6_in_receives : host.count.ip_in_receives);
  if (packet && packet->references != 1) {
    // Somebody else looks at it, a duplicate on its way perhaps, and what follows moves its edges.
    net::packet mine = host.pool.copy_of(packet.bytes());
    if (mine) mine->offload = packet->offload;
    packet = std::move(mine);
  }
  if (!packet) {
    ++(v6 ? host.count.ip6_in_discards : host.count.ip_in_discards);
    return;
  }
  if (on_plain_tcp(host, packet)) return;
  const auto ip = wire::parse_ip(packet.bytes());
  if (!ip) {
    ++(v6 ? host.count.ip6_in_hdr_errors : host.count.ip_in_hdr_errors);
    if (v6) explain_refusal(host, packet);
    return;
  }
  if (v6 && ip->destination.is_multicast()) {
    // Neighbour and router discovery, which the kernel talks on any device that is up.
    ++host.count.ip6_in_discards;
    return;
  }
  const int local = host.local_index(ip->destination);
  if (local < 0 || bad_source(host, ip->source)) {
    ++(v6 ? host.count.ip6_in_addr_errors : host.count.ip_in_addr_errors);
    return;
  }
  if (ip->is_fragment()) return on_fragment(host, *ip, local, std::move(packet));
  deliver(host, *ip, local, std::move(packet));
}

}  // namespace runnel::tcp::detail
