#include "runnel/wire/ip.hpp"

#include "ipv6.hpp"
#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"

namespace runnel::wire {
namespace {

constexpr std::size_t v4_bytes = 20;
constexpr std::uint16_t v4_dont_fragment = 0x4000;
constexpr std::uint16_t v4_more_fragments = 0x2000;
constexpr std::uint16_t v4_offset_mask = 0x1fff;

enum class strictness : bool { quoted, whole };

/// Whether the sum over a header of this length is right. Nearly all have no options.
bool header_intact(const std::byte* at, std::size_t bytes) noexcept {
  if (bytes != v4_bytes) return checksum_of({at, bytes}) == 0;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < v4_bytes; i += 4) sum += load32(at + i);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return (sum >> 16) + (sum & 0xffff) == 0xffff;
}

ip_error read_v4(ip_header& header, std::span<const std::byte> packet, strictness how) noexcept {
  if (packet.size() < v4_bytes) return ip_error::too_short;
  const std::byte* const at = packet.data();

  header.header_bytes = static_cast<std::uint16_t>((load8(at) & 0xf) * 4);
  if (header.header_bytes < v4_bytes || header.header_bytes > packet.size()) {
    return ip_error::bad_header_length;
  }
  header.total_length = load16(at + 2);
  if (header.total_length < header.header_bytes) return ip_error::bad_total_length;
  if (how == strictness::whole) {
    if (header.total_length > packet.size()) return ip_error::bad_total_length;
    if (!header_intact(at, header.header_bytes)) return ip_error::bad_checksum;
  }
  header.tos = load8(at + 1);
  header.id = load16(at + 4);
  const std::uint16_t fragment = load16(at + 6);
  header.dont_fragment = (fragment & v4_dont_fragment) != 0;
  header.more_fragments = (fragment & v4_more_fragments) != 0;
  header.fragment_offset = static_cast<std::uint16_t>((fragment & v4_offset_mask) * 8);
  header.ttl = load8(at + 8);
  header.protocol = load8(at + 9);
  header.protocol_at = 9;
  header.source = net::address::v4(load32(at + 12));
  header.destination = net::address::v4(load32(at + 16));
  return ip_error::none;
}

parsed<ip_header, ip_error> read(std::span<const std::byte> packet, strictness how) noexcept {
  return parsed<ip_header, ip_error>::from([&](ip_header& header) noexcept {
    if (packet.empty()) return ip_error::too_short;
    const unsigned version = load8(packet.data()) >> 4;
    if (version == 4) return read_v4(header, packet, how);
    if (version != 6) return ip_error::bad_version;
    return how == strictness::whole ? read_v6(header, packet) : read_quoted_v6(header, packet);
  });
}

std::size_t emit_v4(std::span<std::byte> out, const ip_header& header) noexcept {
  const bool fits = header.source.is_v4() && header.destination.is_v4() && out.size() >= v4_bytes &&
                    header.total_length <= 0xffff && header.id <= 0xffff &&
                    header.fragment_offset % 8 == 0;
  if (!fits) return 0;
  std::byte* const at = out.data();
  const auto fragment = static_cast<std::uint16_t>((header.dont_fragment ? v4_dont_fragment : 0) |
                                                   (header.more_fragments ? v4_more_fragments : 0) |
                                                   header.fragment_offset / 8);
  store8(at, 0x45);
  store8(at + 1, header.tos);
  store16(at + 2, static_cast<std::uint16_t>(header.total_length));
  store16(at + 4, static_cast<std::uint16_t>(header.id));
  store16(at + 6, fragment);
  store8(at + 8, header.ttl);
  store8(at + 9, header.protocol);
  const std::uint32_t source = header.source.to_v4_number();
  const std::uint32_t destination = header.destination.to_v4_number();
  store32(at + 12, source);
  store32(at + 16, destination);
  // From the numbers: reading back what was just written in smaller pieces would stall.
  checksum sum;
  sum.add_word(static_cast<std::uint16_t>(0x4500 | header.tos));
  sum.add_word(static_cast<std::uint16_t>(header.total_length));
  sum.add_word(static_cast<std::uint16_t>(header.id));
  sum.add_word(fragment);
  sum.add_word(static_cast<std::uint16_t>(header.ttl << 8 | header.protocol));
  for (const std::uint32_t number : {source, destination}) {
    sum.add_word(static_cast<std::uint16_t>(number >> 16));
    sum.add_word(static_cast<std::uint16_t>(number));
  }
  store16(at + 10, sum.value());
  return v4_bytes;
}

}  // namespace

const char* to_string(ip_error error) noexcept {
  switch (error) {
    case ip_error::none:
      return "none";
    case ip_error::too_short:
      return "too_short";
    case ip_error::bad_version:
      return "bad_version";
    case ip_error::bad_header_length:
      return "bad_header_length";
    case ip_error::bad_total_length:
      return "bad_total_length";
    case ip_error::bad_checksum:
      return "bad_checksum";
    case ip_error::jumbogram:
      return "jumbogram";
    case ip_error::misplaced_hop_by_hop:
      return "misplaced_hop_by_hop";
    case ip_error::too_many_extensions:
      return "too_many_extensions";
    case ip_error::extensions_too_long:
      return "extensions_too_long";
    case ip_error::bad_option_length:
      return "bad_option_length";
    case ip_error::unknown_option:
      return "unknown_option";
    case ip_error::too_many_options:
      return "too_many_options";
    case ip_error::source_routed:
      return "source_routed";
    case ip_error::repeated_fragment:
      return "repeated_fragment";
    case ip_error::incomplete_chain:
      return "incomplete_chain";
  }
  return "unknown";
}

parsed<ip_header, ip_error> parse_ip(std::span<const std::byte> packet) noexcept {
  return read(packet, strictness::whole);
}

parsed<ip_header, ip_error> parse_quoted_ip(std::span<const std::byte> quote) noexcept {
  return read(quote, strictness::quoted);
}

std::size_t emit_ip(std::span<std::byte> out, const ip_header& header) noexcept {
  return header.source.is_v6() ? emit_v6(out, header) : emit_v4(out, header);
}

}  // namespace runnel::wire
