#pragma once

#include "runnel/wire/reassembly.hpp"

// What a single fragment tells, and what becomes of its header: reassembly without the table.
namespace runnel::wire {

/// What an IPv4 packet or an IPv6 payload may have.
constexpr std::uint32_t max_datagram_bytes = 65535;

/// Whether one fragment violates a bound by itself; `kept` when it does not.
reassembly_verdict judge_fragment(const ip_header& ip, std::span<const std::byte> payload) noexcept;

/// The ICMPv6 error that RFC 8200 section 4.5 wants for these verdicts.
std::optional<icmp_message> problem_with(reassembly_verdict why, const ip_header& ip,
                                         std::span<const std::byte> packet) noexcept;

/// `joined_ecn` of what does not go together.
constexpr std::uint8_t bad_ecn = 0xff;
/// RFC 3168 section 5.3 as Linux's ip_frag_ecn_table: what the whole one's ECN field gets besides
/// the first fragment's, given which of the four values were seen, a bit each.
std::uint8_t joined_ecn(std::uint8_t seen) noexcept;

/// Makes the payload the live bytes; the header stays in front of them.
void mark_fragment(net::packet_buffer& fragment, const ip_header& ip) noexcept;
/// Undoes it.
void unmark_fragment(net::packet_buffer& fragment) noexcept;
/// Where a marked fragment's payload belongs.
inline std::uint32_t offset_of(const net::packet_buffer& fragment) noexcept {
  return static_cast<std::uint32_t>(fragment.tag >> 16);
}
/// Where it ends.
inline std::uint32_t end_of(const net::packet_buffer& fragment) noexcept {
  return offset_of(fragment) + fragment.size();
}
/// How long its header is.
inline std::uint32_t header_of(const net::packet_buffer& fragment) noexcept {
  return static_cast<std::uint32_t>(fragment.tag & 0xffff);
}
/// What of that counts against `max_datagram_bytes` beside the payload.
std::uint32_t counted_header(const net::packet_buffer& fragment) noexcept;

/// Writes the header of a first fragment as that of the whole packet, and returns its length.
std::size_t whole_header(std::span<std::byte> out, const net::packet_buffer& first,
                         std::uint32_t payload, std::uint8_t ecn) noexcept;

}  // namespace runnel::wire
