#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/parsed.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::wire {

/// IANA protocol numbers that this stack knows.
enum class ip_protocol : std::uint8_t {
  icmp = 1,
  tcp = 6,
  udp = 17,
  icmp_v6 = 58,
  /// Nothing follows; what does is ignored (RFC 8200 section 4.7).
  no_next_header = 59,
};

/// The ICMP of a family.
constexpr ip_protocol icmp_protocol(net::family family) noexcept {
  return family == net::family::v6 ? ip_protocol::icmp_v6 : ip_protocol::icmp;
}

/// No IPv6 link has a smaller MTU (RFC 8200 section 5).
inline constexpr std::uint32_t min_mtu_v6 = 1280;
/// How many IPv6 extension headers one packet may have (RFC 8504 section 5.3).
inline constexpr std::size_t max_extension_headers = 8;
/// How many bytes they may take together: what the smallest IPv6 MTU leaves (RFC 7112 section 4).
inline constexpr std::size_t max_extension_bytes = min_mtu_v6 - 40;
/// How many options, padding apart, one of them may have: Linux's max_dst_opts_number and
/// max_hbh_opts_number.
inline constexpr std::size_t max_extension_options = 8;

/// The meaning of an IP header of either family. Numbers are in host order.
///
/// IPv6's extension headers belong to the header: they are walked, checked and passed over, so that
/// `protocol` and the payload are the same thing in both families.
struct ip_header {
  /// The sender. An address from the wire has no zone; who knows the link adds it.
  net::address source{};
  /// The receiver; as `source`.
  net::address destination{};
  /// What the payload is; see `ip_protocol`. The payload of an IPv6 fragment is a piece of what
  /// followed its fragment header, and this names the extension header it may begin with.
  std::uint8_t protocol = 0;
  /// Time to live; the hop limit of IPv6.
  std::uint8_t ttl = 64;
  /// DSCP in the upper six bits, ECN in the lower two (RFC 3168); the traffic class of IPv6.
  std::uint8_t tos = 0;
  /// IPv4 only: IPv6 packets are never fragmented on their way.
  bool dont_fragment = false;
  /// Whether other fragments of the packet lie behind this one.
  bool more_fragments = false;
  /// Where this fragment's payload belongs, in bytes; a multiple of eight.
  std::uint16_t fragment_offset = 0;
  /// The identification that fragments of one packet share: 16 bits in IPv4, 32 in IPv6, where only
  /// fragments have one.
  std::uint32_t id = 0;
  /// IPv6 only: 20 bits (RFC 6437).
  std::uint32_t flow_label = 0;
  /// Header and payload, in bytes; what follows it in the buffer is padding.
  std::uint32_t total_length = 0;
  /// The length of the header with its options or extension headers. Set by parsing, not read by
  /// emitting.
  std::uint16_t header_bytes = 0;
  /// Where `protocol` was read, from the first byte of the packet: where an ICMPv6 error points
  /// that says it is unknown. Set by parsing, not read by emitting.
  std::uint16_t protocol_at = 0;

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
  /// The header claims to be shorter than 20 bytes, or is longer than the packet with its extension
  /// headers.
  bad_header_length,
  /// The packet claims to be shorter than its header, or longer than the bytes at hand.
  bad_total_length,
  /// The header checksum is wrong. IPv4 only; what follows is IPv6 only.
  bad_checksum,
  /// Longer than 65,575 bytes by the jumbo payload option (RFC 2675), or by a payload length of
  /// zero before a hop-by-hop header.
  jumbogram,
  /// A hop-by-hop header elsewhere than right behind the IPv6 header (RFC 8200 section 4.1).
  misplaced_hop_by_hop,
  /// More than `max_extension_headers`.
  too_many_extensions,
  /// More than `max_extension_bytes`.
  extensions_too_long,
  /// An option runs past the end of its extension header.
  bad_option_length,
  /// An option that this stack does not know and that must not be passed over (RFC 8200 section
  /// 4.2).
  unknown_option,
  /// More than `max_extension_options`, or more than seven bytes of padding in a row.
  too_many_options,
  /// A routing header that has segments left, whatever its type: this is a host, and type 0 has not
  /// been followed since RFC 5095. With none left it is passed over.
  source_routed,
  /// More than one fragment header.
  repeated_fragment,
  /// The first fragment does not hold all headers up to the transport's and the whole of that one
  /// (RFC 7112 section 5).
  incomplete_chain,
};

/// The name of the reason, as an identifier: "bad_checksum".
const char* to_string(ip_error error) noexcept;

/// Reads the IP header at the start of `packet`, whatever its family (RFC 791, RFC 1122 section
/// 3.2.1, RFC 8200). IPv4 options are checked for their length only and skipped. Bytes after the
/// total length are allowed. Reads nothing outside `packet`.
///
/// IPv6 is walked as far as its last extension header, or, in a fragment, as far as the fragment
/// header: `wire::reassembler` makes a packet of that. A fragment header on a packet that is whole
/// (RFC 6946) is passed over like any other. AH, ESP and what else is unknown counts as the
/// payload's protocol. Which ICMPv6 error a refused packet deserves is told by `problem_of`.
parsed<ip_header, ip_error> parse_ip(std::span<const std::byte> packet) noexcept;

/// Reads an IP header whose packet was cut short, as ICMP errors quote it: the total length may
/// exceed the bytes at hand and the header checksum is not looked at, because routers on the way
/// may have changed fields without repairing it.
///
/// IPv6 extension headers, those behind a fragment header too, are passed over without a look at
/// what they say; where they are cut short, or follow in another fragment, `protocol` names the
/// first one that is not there.
parsed<ip_header, ip_error> parse_quoted_ip(std::span<const std::byte> quote) noexcept;

/// How many bytes `emit_ip` writes for whole packets of this family; 0 when it cannot write them.
constexpr std::size_t ip_header_bytes(net::family family) noexcept {
  return family == net::family::v4 ? 20 : family == net::family::v6 ? 40 : 0;
}

/// How many bytes `emit_ip` writes for this header: eight more in an IPv6 fragment.
constexpr std::size_t ip_header_bytes(const ip_header& header) noexcept {
  return ip_header_bytes(header.source.family()) +
         (header.source.is_v6() && header.is_fragment() ? 8 : 0);
}

/// Writes the header, IPv4's checksum or IPv6's fragment header included, to the start of `out` and
/// returns its length; 0 when `out` is too small, the addresses' families differ or are none, or a
/// number does not fit its field. Of IPv6, extension headers other than the one that makes it a
/// fragment are not written, nor is the id of what is none.
std::size_t emit_ip(std::span<std::byte> out, const ip_header& header) noexcept;

}  // namespace runnel::wire
