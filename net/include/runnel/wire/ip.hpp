#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/parsed.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::wire {

/// IANA protocol numbers that this stack knows.
enum class ip_protocol : std::uint8_t { icmp = 1, tcp = 6, udp = 17, icmp_v6 = 58 };

/// The meaning of an IP header of either family. Numbers are in host order.
struct ip_header {
  net::address source{};
  net::address destination{};
  /// What the payload is; see `ip_protocol`.
  std::uint8_t protocol = 0;
  /// Time to live; the hop limit of IPv6.
  std::uint8_t ttl = 64;
  /// DSCP in the upper six bits, ECN in the lower two (RFC 3168).
  std::uint8_t tos = 0;
  bool dont_fragment = false;
  bool more_fragments = false;
  /// Where this fragment's payload belongs, in bytes; a multiple of eight.
  std::uint16_t fragment_offset = 0;
  /// The identification that fragments of one packet share: 16 bits in IPv4, 32 in IPv6.
  std::uint32_t id = 0;
  /// Header and payload, in bytes; what follows it in the buffer is padding.
  std::uint32_t total_length = 0;
  /// The length of the header with its options or extension headers. Set by parsing, not read by
  /// emitting.
  std::uint16_t header_bytes = 0;

  /// Whether this is one piece of a larger packet.
  constexpr bool is_fragment() const noexcept { return more_fragments || fragment_offset != 0; }
  /// Bytes after the header.
  constexpr std::uint32_t payload_bytes() const noexcept { return total_length - header_bytes; }
  /// Whether the protocol field names this one.
  constexpr bool carries(ip_protocol what) const noexcept {
    return protocol == static_cast<std::uint8_t>(what);
  }
  /// The packet's payload, given the packet that this header was parsed from.
  constexpr std::span<const std::byte> payload(std::span<const std::byte> packet) const noexcept {
    return packet.subspan(header_bytes, payload_bytes());
  }

  friend constexpr bool operator==(const ip_header&, const ip_header&) noexcept = default;
};

/// Why bytes are not an IP packet.
enum class ip_error : std::uint8_t {
  none = 0,
  /// Fewer bytes than the shortest header.
  too_short,
  /// The version field is neither 4 nor 6.
  bad_version,
  /// The version is one that this build does not speak.
  unsupported_family,
  /// The header claims to be shorter than 20 bytes, or longer than the bytes at hand.
  bad_header_length,
  /// The packet claims to be shorter than its header, or longer than the bytes at hand.
  bad_total_length,
  /// The header checksum is wrong.
  bad_checksum,
};

/// The name of the reason, as an identifier: "bad_checksum".
const char* to_string(ip_error error) noexcept;

/// Reads the IP header at the start of `packet`, whatever its family (RFC 791, RFC 1122 section
/// 3.2.1). IPv4 options are checked for their length only and skipped. Bytes after the total length
/// are allowed. Reads nothing outside `packet`.
parsed<ip_header, ip_error> parse_ip(std::span<const std::byte> packet) noexcept;

/// Reads an IP header whose packet was cut short, as ICMP errors quote it: the total length may
/// exceed the bytes at hand and the header checksum is not looked at, because routers on the way
/// may have changed fields without repairing it.
parsed<ip_header, ip_error> parse_quoted_ip(std::span<const std::byte> quote) noexcept;

/// How many bytes `emit_ip` writes for packets of this family; 0 when it cannot write them.
constexpr std::size_t ip_header_bytes(net::family family) noexcept {
  return family == net::family::v4 ? 20 : 0;
}

/// Writes the header, checksum included, to the start of `out` and returns its length; 0 when `out`
/// is too small, the addresses' family is not supported, or a number does not fit its field.
std::size_t emit_ip(std::span<std::byte> out, const ip_header& header) noexcept;

}  // namespace runnel::wire
