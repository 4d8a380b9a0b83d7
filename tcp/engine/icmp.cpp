#include "runnel/wire/icmp.hpp"

#include <algorithm>

#include "emit.hpp"
#include "ingress.hpp"
#include "siphash.hpp"

// ICMP as a host speaks it (RFC 1122 §3.2.2, RFC 4443): echo, and telling that nobody serves a
// protocol.

namespace runnel::tcp::detail {

namespace {

void queue_raw(core& host, net::packet out) {
  if (!host.raw_replies.push(std::move(out))) ++host.count.reject_limited;
}

/// Cuts a message that is longer than the link takes (RFC 791 §3.2, RFC 8200 §4.5).
void queue_in_fragments(core& host, wire::ip_header ip, std::span<const std::byte> message) {
  // RFC 7739: the next one of IPv6 is not to be foreseen.
  ip.id = ip.source.is_v6()
              ? static_cast<std::uint32_t>(siphash(host.keys.tuple).add(++host.fragmented).finish())
              : next_ip_id(host, ip.destination, 1);
  wire::ip_header first = ip;
  first.more_fragments = true;
  const std::size_t piece_bytes = (host.mtu - wire::ip_header_bytes(first)) / 8 * 8;
  // A part of them is of no use to anybody.
  if (host.raw_replies.room() < message.size() / piece_bytes + 1) {
    ++host.count.reject_limited;
    return;
  }
  std::size_t offset = 0;
  while (offset < message.size()) {
    ip.fragment_offset = static_cast<std::uint16_t>(offset);
    ip.more_fragments = true;
    const std::size_t header = wire::ip_header_bytes(ip);
    const std::size_t size = std::min(piece_bytes, message.size() - offset);
    ip.more_fragments = offset + size < message.size();
    ip.total_length = static_cast<std::uint32_t>(header + size);
    net::packet piece = host.pool.allocate(ip.total_length);
    if (!piece) return;
    wire::emit_ip(piece.room(), ip);
    std::ranges::copy(message.subspan(offset, size), piece.room().subspan(header).begin());
    piece.resize(ip.total_length);
    queue_raw(host, std::move(piece));
    offset += size;
  }
}

void count_in(core& host, const wire::ip_header& ip,
              const wire::parsed<wire::icmp_message, wire::icmp_error>& message) noexcept {
  const bool v6 = ip.source.is_v6();
  ++(v6 ? host.count.icmp6_in_msgs : host.count.icmp_in_msgs);
  if (message) return;
  ++(v6 ? host.count.icmp6_in_errors : host.count.icmp_in_errors);
  if (message.error() != wire::icmp_error::bad_checksum) return;
  ++(v6 ? host.count.icmp6_in_csum_errors : host.count.icmp_in_csum_errors);
}

}  // namespace

void send_icmp(core& host, const net::address& from, const net::address& to,
               const wire::icmp_message& message) {
  const std::size_t ip_bytes = wire::ip_header_bytes(to.family());
  const std::size_t size = ip_bytes + wire::icmp_bytes(message);
  net::packet out = host.pool.allocate(size);
  if (!out) return;
  wire::ip_header ip;
  ip.source = from;
  ip.destination = to;
  ip.protocol = static_cast<std::uint8_t>(wire::icmp_protocol(to.family()));
  ip.ttl = *host.connection_defaults.ttl;
  ip.total_length = static_cast<std::uint32_t>(size);
  if (wire::emit_ip(out.room(), ip) == 0) return;
  if (wire::emit_icmp(out.room().subspan(ip_bytes), from, to, message) == 0) return;
  out.resize(size);
  if (size > host.mtu) return queue_in_fragments(host, ip, out.bytes().subspan(ip_bytes));
  queue_raw(host, std::move(out));
}

void on_icmp(core& host, const wire::ip_header& ip, net::packet packet) {
  const auto message = wire::parse_icmp(ip, ip.payload(packet.bytes()));
  if (host.shard.count > 1 && message && message->is_error()) {
    const auto about = flow_of_error(host, ip.source.family(), *message);
    if (about && is_foreign(host, *about)) {
      return hand_over(host, std::move(packet), owner_of(host, *about));
    }
  }
  count_in(host, ip, message);
  if (!message) return;
  const net::family family = ip.source.family();
  if (message->is_error()) return on_icmp_error(host, family, *message);
  if (message->kind != wire::icmp_kind::echo_request) return;
  const bool v6 = family == net::family::v6;
  ++(v6 ? host.count.icmp6_in_echos : host.count.icmp_in_echos);
  if (!may_reject(host, ip.source)) return;
  wire::icmp_message answer = *message;
  answer.kind = wire::icmp_kind::echo_reply;
  ++(v6 ? host.count.icmp6_out_echo_replies : host.count.icmp_out_echo_reps);
  send_icmp(host, ip.destination, ip.source, answer);
}

void reject_datagram(core& host, const wire::ip_header& ip, const net::packet& packet) {
  if (!may_reject(host, ip.source)) return;
  const bool v6 = ip.source.is_v6();
  const bool udp = ip.carries(wire::ip_protocol::udp);
  wire::icmp_message message;
  message.body = wire::icmp_quote(packet.bytes());
  if (message.body.empty()) return;
  if (v6 && !udp) {
    // RFC 8200 §4: which byte named what nobody knows.
    message.kind = wire::icmp_kind::parameter_problem;
    message.code = wire::parameter_code::next_header;
    message.pointer = ip.protocol_at;
    ++host.count.icmp6_out_parm_problems;
  } else {
    message.kind = wire::icmp_kind::unreachable;
    message.code = v6    ? wire::unreachable_code_v6::port
                   : udp ? wire::unreachable_code::port
                         : wire::unreachable_code::protocol;
    ++(v6 ? host.count.icmp6_out_dest_unreachs : host.count.icmp_out_dest_unreachs);
  }
  send_icmp(host, ip.destination, ip.source, message);
}

}  // namespace runnel::tcp::detail
