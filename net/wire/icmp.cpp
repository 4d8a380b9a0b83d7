#include "runnel/wire/icmp.hpp"

#include "ipv6.hpp"
#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"

#include <algorithm>

namespace runnel::wire {
namespace {

constexpr std::size_t fixed_bytes = 8;
/// RFC 1812: the error's whole packet stays within 576 bytes; 20 are IP's and 8 are ICMP's.
constexpr std::size_t max_quote_v4 = 576 - 20 - 8;
/// RFC 4443: within the smallest MTU.
constexpr std::size_t max_quote_v6 = min_mtu_v6 - 40 - 8;

/// IPv4's type numbers (RFC 792).
namespace v4_type {
constexpr std::uint8_t echo_reply = 0;
constexpr std::uint8_t unreachable = 3;
constexpr std::uint8_t source_quench = 4;
constexpr std::uint8_t redirect = 5;
constexpr std::uint8_t echo_request = 8;
constexpr std::uint8_t time_exceeded = 11;
constexpr std::uint8_t parameter_problem = 12;
}  // namespace v4_type

/// IPv6's (RFC 4443; the redirect is RFC 4861's). Errors are those below 128.
namespace v6_type {
constexpr std::uint8_t unreachable = 1;
constexpr std::uint8_t packet_too_big = 2;
constexpr std::uint8_t time_exceeded = 3;
constexpr std::uint8_t parameter_problem = 4;
constexpr std::uint8_t first_informational = 128;
constexpr std::uint8_t echo_request = 128;
constexpr std::uint8_t echo_reply = 129;
constexpr std::uint8_t redirect = 137;
}  // namespace v6_type

icmp_kind v4_kind(std::uint8_t type, std::uint8_t code) noexcept {
  switch (type) {
    case v4_type::echo_reply:
      return icmp_kind::echo_reply;
    case v4_type::echo_request:
      return icmp_kind::echo_request;
    case v4_type::unreachable:
      return code == unreachable_code::fragmentation_needed ? icmp_kind::packet_too_big
                                                            : icmp_kind::unreachable;
    case v4_type::time_exceeded:
      return icmp_kind::time_exceeded;
    case v4_type::parameter_problem:
      return icmp_kind::parameter_problem;
    default:
      return icmp_kind::other;
  }
}

icmp_kind v6_kind(std::uint8_t type) noexcept {
  switch (type) {
    case v6_type::echo_reply:
      return icmp_kind::echo_reply;
    case v6_type::echo_request:
      return icmp_kind::echo_request;
    case v6_type::unreachable:
      return icmp_kind::unreachable;
    case v6_type::packet_too_big:
      return icmp_kind::packet_too_big;
    case v6_type::time_exceeded:
      return icmp_kind::time_exceeded;
    case v6_type::parameter_problem:
      return icmp_kind::parameter_problem;
    default:
      return icmp_kind::other;
  }
}

/// The first eight bytes of a message, apart from the checksum.
struct icmp_head {
  std::uint8_t type;
  std::uint8_t code;
  std::uint32_t rest;
};

/// The head that says this; false when IPv4 cannot say it.
bool make_v4_head(const icmp_message& message, icmp_head& head) noexcept {
  const std::uint32_t echo = std::uint32_t{message.identifier} << 16 | message.sequence;
  switch (message.kind) {
    case icmp_kind::echo_request:
      head = {v4_type::echo_request, message.code, echo};
      return true;
    case icmp_kind::echo_reply:
      head = {v4_type::echo_reply, message.code, echo};
      return true;
    case icmp_kind::unreachable:
      head = {v4_type::unreachable, message.code, 0};
      return true;
    case icmp_kind::packet_too_big:
      head = {v4_type::unreachable, unreachable_code::fragmentation_needed, message.mtu};
      return message.mtu <= 0xffff;
    case icmp_kind::time_exceeded:
      head = {v4_type::time_exceeded, message.code, 0};
      return true;
    case icmp_kind::parameter_problem:
      head = {v4_type::parameter_problem, message.code, message.pointer << 24};
      return message.pointer <= 0xff;
    case icmp_kind::other:
      break;
  }
  return false;
}

/// The same for IPv6.
bool make_v6_head(const icmp_message& message, icmp_head& head) noexcept {
  const std::uint32_t echo = std::uint32_t{message.identifier} << 16 | message.sequence;
  switch (message.kind) {
    case icmp_kind::echo_request:
      head = {v6_type::echo_request, message.code, echo};
      return true;
    case icmp_kind::echo_reply:
      head = {v6_type::echo_reply, message.code, echo};
      return true;
    case icmp_kind::unreachable:
      head = {v6_type::unreachable, message.code, 0};
      return true;
    case icmp_kind::packet_too_big:
      head = {v6_type::packet_too_big, 0, message.mtu};
      return true;
    case icmp_kind::time_exceeded:
      head = {v6_type::time_exceeded, message.code, 0};
      return true;
    case icmp_kind::parameter_problem:
      head = {v6_type::parameter_problem, message.code, message.pointer};
      return true;
    case icmp_kind::other:
      break;
  }
  return false;
}

/// The sum that the checksum starts from: ICMPv6's covers a pseudo-header.
checksum start_of_sum(const net::address& source, const net::address& destination,
                      std::size_t size) noexcept {
  checksum sum;
  if (source.is_v6()) {
    sum.add_pseudo_header(source, destination, static_cast<std::uint8_t>(ip_protocol::icmp_v6),
                          static_cast<std::uint32_t>(size));
  }
  return sum;
}

/// Whether the payload of this packet is an ICMP message that no error may be sent about.
bool is_unanswerable(const ip_header& ip, std::span<const std::byte> packet) noexcept {
  const bool v6 = ip.source.is_v6();
  if (!ip.carries(icmp_protocol(ip.source.family()))) return false;
  // Without its type it may be one.
  if (packet.size() <= ip.header_bytes) return true;
  const std::uint8_t type = load8(packet.data() + ip.header_bytes);
  if (v6) return type < v6_type::first_informational || type == v6_type::redirect;
  return type == v4_type::unreachable || type == v4_type::source_quench ||
         type == v4_type::redirect || type == v4_type::time_exceeded ||
         type == v4_type::parameter_problem;
}

}  // namespace

const char* to_string(icmp_error error) noexcept {
  switch (error) {
    case icmp_error::none:
      return "none";
    case icmp_error::too_short:
      return "too_short";
    case icmp_error::bad_checksum:
      return "bad_checksum";
    case icmp_error::not_icmp:
      return "not_icmp";
  }
  return "unknown";
}

parsed<icmp_message, icmp_error> parse_icmp(const ip_header& ip,
                                            std::span<const std::byte> message) noexcept {
  const bool v6 = ip.source.is_v6();
  if (!ip.carries(icmp_protocol(ip.source.family()))) return icmp_error::not_icmp;
  if (message.size() < fixed_bytes) return icmp_error::too_short;
  checksum sum = start_of_sum(ip.source, ip.destination, message.size());
  sum.add(message);
  if (!sum.intact()) return icmp_error::bad_checksum;

  const std::byte* const at = message.data();
  icmp_message result;
  result.code = load8(at + 1);
  result.kind = v6 ? v6_kind(load8(at)) : v4_kind(load8(at), result.code);
  result.body = message.subspan(fixed_bytes);
  switch (result.kind) {
    case icmp_kind::echo_request:
    case icmp_kind::echo_reply:
      result.identifier = load16(at + 4);
      result.sequence = load16(at + 6);
      break;
    case icmp_kind::packet_too_big:
      result.mtu = v6 ? load32(at + 4) : load16(at + 6);
      break;
    case icmp_kind::parameter_problem:
      result.pointer = v6 ? load32(at + 4) : load8(at + 4);
      break;
    default:
      break;
  }
  return result;
}

std::size_t emit_icmp(std::span<std::byte> out, const net::address& source,
                      const net::address& destination, const icmp_message& message) noexcept {
  const std::size_t size = icmp_bytes(message);
  const bool v6 = source.is_v6();
  icmp_head head;
  if (source.bytes().empty() || source.family() != destination.family()) return 0;
  if (out.size() < size) return 0;
  if (!(v6 ? make_v6_head(message, head) : make_v4_head(message, head))) return 0;
  std::byte* const at = out.data();
  if (!message.body.empty()) {
    std::memmove(at + fixed_bytes, message.body.data(), message.body.size());
  }
  store8(at, head.type);
  store8(at + 1, head.code);
  store16(at + 2, 0);
  store32(at + 4, head.rest);
  checksum sum = start_of_sum(source, destination, size);
  sum.add(out.first(size));
  store16(at + 2, sum.value());
  return size;
}

std::span<const std::byte> icmp_quote(std::span<const std::byte> packet) noexcept {
  const auto header = parse_quoted_ip(packet);
  if (!header) return {};
  const std::size_t most = header->source.is_v6() ? max_quote_v6 : max_quote_v4;
  return packet.first(std::min({packet.size(), std::size_t{header->total_length}, most}));
}

bool may_report_on(std::span<const std::byte> packet, bool to_many) noexcept {
  const auto ip = parse_quoted_ip(packet);
  if (!ip || ip->fragment_offset != 0) return false;
  if (ip->source.is_any() || ip->source.is_multicast() || ip->source.is_limited_broadcast()) {
    return false;
  }
  if (ip->destination.is_limited_broadcast()) return false;
  if (ip->destination.is_multicast() && !(to_many && ip->destination.is_v6())) return false;
  return !is_unanswerable(*ip, packet);
}

std::optional<icmp_message> problem_of(std::span<const std::byte> packet) noexcept {
  if (packet.empty() || load8(packet.data()) >> 4 != 6) return std::nullopt;
  ip_header header;
  chain_notes notes;
  static_cast<void>(read_v6(header, packet, &notes));
  if (!notes.problem.owed) return std::nullopt;
  if (!may_report_on(packet, notes.problem.code == parameter_code::option)) return std::nullopt;
  icmp_message message;
  message.kind = icmp_kind::parameter_problem;
  message.code = notes.problem.code;
  message.pointer = notes.problem.pointer;
  message.body = icmp_quote(packet);
  return message;
}

parsed<quoted_packet, ip_error> parse_quote(std::span<const std::byte> body) noexcept {
  const auto header = parse_quoted_ip(body);
  if (!header) return header.error();
  quoted_packet result;
  result.ip = *header;
  const auto transport = body.subspan(header->header_bytes);
  const bool has_ports = header->carries(ip_protocol::tcp) || header->carries(ip_protocol::udp);
  if (!has_ports || header->fragment_offset != 0 || transport.size() < 8) return result;
  result.has_transport = true;
  result.source_port = load16(transport.data());
  result.destination_port = load16(transport.data() + 2);
  if (header->carries(ip_protocol::tcp)) result.seq = load32(transport.data() + 4);
  return result;
}

}  // namespace runnel::wire
