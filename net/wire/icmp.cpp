#include "runnel/wire/icmp.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"

#include <algorithm>

namespace runnel::wire {
namespace {

constexpr std::size_t fixed_bytes = 8;
/// RFC 1812: the error's whole packet stays within 576 bytes; 20 are IP's and 8 are ICMP's.
constexpr std::size_t max_quote_bytes = 576 - 20 - 8;

/// IPv4's type numbers (RFC 792).
namespace v4_type {
constexpr std::uint8_t echo_reply = 0;
constexpr std::uint8_t unreachable = 3;
constexpr std::uint8_t echo_request = 8;
constexpr std::uint8_t time_exceeded = 11;
constexpr std::uint8_t parameter_problem = 12;
}  // namespace v4_type

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

/// The first eight bytes of a message, apart from the checksum.
struct v4_head {
  std::uint8_t type;
  std::uint8_t code;
  std::uint32_t rest;
};

/// The head that says this; false when IPv4 cannot say it.
bool make_v4_head(const icmp_message& message, v4_head& head) noexcept {
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
  if (!ip.source.is_v4() || !ip.carries(ip_protocol::icmp)) return icmp_error::not_icmp;
  if (message.size() < fixed_bytes) return icmp_error::too_short;
  if (checksum_of(message) != 0) return icmp_error::bad_checksum;

  const std::byte* const at = message.data();
  icmp_message result;
  result.code = load8(at + 1);
  result.kind = v4_kind(load8(at), result.code);
  result.body = message.subspan(fixed_bytes);
  switch (result.kind) {
    case icmp_kind::echo_request:
    case icmp_kind::echo_reply:
      result.identifier = load16(at + 4);
      result.sequence = load16(at + 6);
      break;
    case icmp_kind::packet_too_big:
      result.mtu = load16(at + 6);
      break;
    case icmp_kind::parameter_problem:
      result.pointer = load8(at + 4);
      break;
    default:
      break;
  }
  return result;
}

std::size_t emit_icmp(std::span<std::byte> out, const net::address& source,
                      const net::address& destination, const icmp_message& message) noexcept {
  const std::size_t size = icmp_bytes(message);
  v4_head head;
  if (!source.is_v4() || !destination.is_v4() || out.size() < size) return 0;
  if (!make_v4_head(message, head)) return 0;
  std::byte* const at = out.data();
  if (!message.body.empty()) {
    std::memmove(at + fixed_bytes, message.body.data(), message.body.size());
  }
  store8(at, head.type);
  store8(at + 1, head.code);
  store16(at + 2, 0);
  store32(at + 4, head.rest);
  store16(at + 2, checksum_of(out.first(size)));
  return size;
}

std::span<const std::byte> icmp_quote(std::span<const std::byte> packet) noexcept {
  const auto header = parse_quoted_ip(packet);
  if (!header) return {};
  return packet.first(
      std::min({packet.size(), std::size_t{header->total_length}, max_quote_bytes}));
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
