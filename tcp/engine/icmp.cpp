#include "runnel/wire/icmp.hpp"
#include "core.hpp"

// ICMP as a host speaks it (RFC 1122 §3.2.2): echo, and telling that nobody serves a protocol.

namespace runnel::tcp::detail {

namespace {

/// Sends an ICMP message as a packet of its own.
void send_icmp(core& host, const net::address& from, const net::address& to,
               const wire::icmp_message& message) {
  const std::size_t ip_bytes = wire::ip_header_bytes(to.family());
  const std::size_t size = ip_bytes + wire::icmp_bytes(message);
  net::packet out = host.pool.allocate(size);
  if (!out) return;
  wire::ip_header ip;
  ip.source = from;
  ip.destination = to;
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::icmp);
  ip.ttl = *host.connection_defaults.ttl;
  ip.total_length = static_cast<std::uint32_t>(size);
  wire::emit_ip(out.room(), ip);
  if (wire::emit_icmp(out.room().subspan(ip_bytes), from, to, message) == 0) return;
  out.resize(size);
  if (!host.raw_replies.push(std::move(out))) ++host.count.reject_limited;
}

}  // namespace

void on_icmp(core& host, const wire::ip_header& ip, net::packet packet) {
  const auto message = wire::parse_icmp(ip, ip.payload(packet.bytes()));
  ++host.count.icmp_in_msgs;
  if (!message) {
    ++host.count.icmp_in_errors;
    if (message.error() == wire::icmp_error::bad_checksum) ++host.count.icmp_in_csum_errors;
    return;
  }
  if (message->is_error()) return on_icmp_error(host, *message);
  if (message->kind != wire::icmp_kind::echo_request) return;
  ++host.count.icmp_in_echos;
  if (!may_reject(host, ip.source)) return;
  wire::icmp_message answer = *message;
  answer.kind = wire::icmp_kind::echo_reply;
  ++host.count.icmp_out_echo_reps;
  send_icmp(host, ip.destination, ip.source, answer);
}

void reject_datagram(core& host, const wire::ip_header& ip, const net::packet& packet) {
  if (!may_reject(host, ip.source)) return;
  wire::icmp_message message;
  message.kind = wire::icmp_kind::unreachable;
  message.code = ip.carries(wire::ip_protocol::udp) ? wire::unreachable_code::port
                                                    : wire::unreachable_code::protocol;
  message.body = wire::icmp_quote(packet.bytes());
  if (message.body.empty()) return;
  ++host.count.icmp_out_dest_unreachs;
  send_icmp(host, ip.destination, ip.source, message);
}

}  // namespace runnel::tcp::detail
