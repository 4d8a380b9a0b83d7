#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/parsed.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace runnel::wire {

/// What an ICMP message says, whichever family's numbers it says it with.
enum class icmp_kind : std::uint8_t {
  /// A type or code that this stack does nothing with; neighbour discovery among them, which a link
  /// without link layer does not need.
  other,
  echo_request,
  echo_reply,
  /// Destination unreachable; the code says how.
  unreachable,
  /// The packet did not fit the path and must not be fragmented: IPv4's unreachable code 4
  /// (RFC 1191), ICMPv6's type 2.
  packet_too_big,
  time_exceeded,
  parameter_problem,
};

/// Codes of IPv4's destination unreachable (RFC 792, RFC 1122 section 3.2.2.1).
namespace unreachable_code {
/// No route to the network.
inline constexpr std::uint8_t net = 0;
/// No route to the host.
inline constexpr std::uint8_t host = 1;
/// The host does not know the transport protocol.
inline constexpr std::uint8_t protocol = 2;
/// Nobody listens on the port.
inline constexpr std::uint8_t port = 3;
/// Too long, and must not be cut (RFC 1191).
inline constexpr std::uint8_t fragmentation_needed = 4;
/// A filter says no (RFC 1812 section 5.2.7.1).
inline constexpr std::uint8_t administratively_prohibited = 13;
}  // namespace unreachable_code

/// Codes of ICMPv6's destination unreachable (RFC 4443 section 3.1).
namespace unreachable_code_v6 {
/// No route to the destination.
inline constexpr std::uint8_t no_route = 0;
/// A filter says no.
inline constexpr std::uint8_t administratively_prohibited = 1;
/// The source address has no meaning where the destination is.
inline constexpr std::uint8_t beyond_scope = 2;
/// The address could not be reached for another reason.
inline constexpr std::uint8_t address = 3;
/// Nobody listens on the port.
inline constexpr std::uint8_t port = 4;
/// A filter says no because of the source address.
inline constexpr std::uint8_t source_policy = 5;
/// The route to the destination is one that rejects.
inline constexpr std::uint8_t reject_route = 6;
}  // namespace unreachable_code_v6

/// Codes of time exceeded, the same in both families (RFC 792, RFC 4443 section 3.3).
namespace time_exceeded_code {
/// The hop limit was used up on the way.
inline constexpr std::uint8_t in_transit = 0;
/// Fragments were missing for too long.
inline constexpr std::uint8_t in_reassembly = 1;
}  // namespace time_exceeded_code

/// Codes of ICMPv6's parameter problem (RFC 4443 section 3.4, RFC 7112 section 6, RFC 8883 section
/// 3).
namespace parameter_code {
/// A field of a header has a wrong value.
inline constexpr std::uint8_t header_field = 0;
/// A next header that is not known.
inline constexpr std::uint8_t next_header = 1;
/// An IPv6 option that is not known and asks for this answer.
inline constexpr std::uint8_t option = 2;
/// The first fragment does not hold all headers (RFC 7112).
inline constexpr std::uint8_t incomplete_chain = 3;
/// The headers take more bytes than are looked at (RFC 8883).
inline constexpr std::uint8_t chain_too_long = 7;
/// More extension headers than are walked (RFC 8883).
inline constexpr std::uint8_t too_many_extensions = 8;
/// More options in one header than are looked at (RFC 8883).
inline constexpr std::uint8_t too_many_options = 9;
}  // namespace parameter_code

/// The meaning of an ICMP message. Numbers are in host order.
struct icmp_message {
  /// What it says; the fields below hold what this kind has.
  icmp_kind kind = icmp_kind::other;
  /// The code, where the kind leaves one open, in its family's numbers; `packet_too_big` fixes its
  /// own when emitted.
  std::uint8_t code = 0;
  /// Echo only.
  std::uint16_t identifier = 0;
  /// Echo only.
  std::uint16_t sequence = 0;
  /// Packet too big only: what fits, in bytes; 0 from routers older than RFC 1191.
  std::uint32_t mtu = 0;
  /// Parameter problem only: where in the quoted packet.
  std::uint32_t pointer = 0;
  /// What follows the eight bytes of header: the echoed data, or the quoted packet. As read, it
  /// points into the message.
  std::span<const std::byte> body{};

  /// Whether this reports on a packet that it quotes.
  constexpr bool is_error() const noexcept { return kind >= icmp_kind::unreachable; }
};

/// Why bytes are not an ICMP message.
enum class icmp_error : std::uint8_t {
  none = 0,
  /// Fewer than eight bytes.
  too_short,
  /// The checksum is wrong.
  bad_checksum,
  /// The header's protocol is not the ICMP of its family.
  not_icmp,
};

/// The name of the reason, as an identifier: "bad_checksum".
const char* to_string(icmp_error error) noexcept;

/// Reads the ICMP or ICMPv6 message that is the payload of a whole packet with this header, and
/// verifies its checksum (RFC 792; RFC 4443 section 2.3, with the pseudo-header). Reads nothing
/// outside `message`.
parsed<icmp_message, icmp_error> parse_icmp(const ip_header& ip,
                                            std::span<const std::byte> message) noexcept;

/// How many bytes `emit_icmp` writes.
constexpr std::size_t icmp_bytes(const icmp_message& message) noexcept {
  return 8 + message.body.size();
}

/// Writes the message, which will be the payload of a packet from `source` to `destination`, with
/// its checksum, and returns its length; 0 when `out` is too small, the addresses' families differ
/// or are none, the kind is `other`, or the pointer or MTU does not fit its field. `body` may
/// already lie in its place in `out`.
std::size_t emit_icmp(std::span<std::byte> out, const net::address& source,
                      const net::address& destination, const icmp_message& message) noexcept;

/// The part of an offending packet that an ICMP error about it quotes: as much as keeps an IPv4
/// error within 576 bytes (RFC 1812 section 4.3.2.3) and an ICMPv6 error within 1280 (RFC 4443
/// section 2.4 (c)). Empty when `packet` is no IP packet.
std::span<const std::byte> icmp_quote(std::span<const std::byte> packet) noexcept;

/// Whether an ICMP error may be sent about this packet, as far as the packet tells (RFC 1122
/// section 3.2.2, RFC 4443 section 2.4 (e)): not about an ICMP error or redirect, a fragment but
/// the first, what went to many, or what does not name one sender. `to_many` lets a multicast
/// destination pass, which ICMPv6 allows for packet too big and for option problems.
bool may_report_on(std::span<const std::byte> packet, bool to_many = false) noexcept;

/// The parameter problem that is owed for a packet that `parse_ip` refused, to be sent to its
/// source and within the rate limit: which header, field or option was wrong (RFC 8200 section 4).
/// Nothing for IPv4, for faults that are silently dropped, and where `may_report_on` forbids it.
/// The body points into `packet`. Reads the packet again: call it only for what was refused.
std::optional<icmp_message> problem_of(std::span<const std::byte> packet) noexcept;

/// What an ICMP error says about the packet that caused it.
struct quoted_packet {
  /// Its IP header, which was sent by this host if the quote is honest.
  ip_header ip{};
  /// Whether the first bytes of the transport header came along; without them ports and sequence
  /// number are zero.
  bool has_transport = false;
  /// The port it was sent from.
  std::uint16_t source_port = 0;
  /// The port it was sent to.
  std::uint16_t destination_port = 0;
  /// TCP only.
  std::uint32_t seq = 0;
};

/// Reads the packet that an ICMP error quotes in its body, behind its extension headers too. The
/// quote comes from a stranger: compare it with what was really sent before believing it (RFC
/// 5927).
parsed<quoted_packet, ip_error> parse_quote(std::span<const std::byte> body) noexcept;

}  // namespace runnel::wire
