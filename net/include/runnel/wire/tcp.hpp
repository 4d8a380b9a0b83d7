#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/parsed.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace runnel::wire {

/// The control bits of a TCP header (RFC 9293 section 3.1), to be combined with `|`.
namespace tcp_flag {
/// The sender has no more to send.
inline constexpr std::uint8_t fin = 1;
/// Synchronises sequence numbers: the connection begins.
inline constexpr std::uint8_t syn = 2;
/// Resets the connection.
inline constexpr std::uint8_t rst = 4;
/// The receiver should hand on what it has.
inline constexpr std::uint8_t psh = 8;
/// The acknowledgement number counts.
inline constexpr std::uint8_t ack = 16;
/// The urgent pointer counts.
inline constexpr std::uint8_t urg = 32;
/// Congestion was experienced, or ECN is offered (RFC 3168).
inline constexpr std::uint8_t ece = 64;
/// The congestion window was reduced (RFC 3168).
inline constexpr std::uint8_t cwr = 128;
}  // namespace tcp_flag

/// The timestamps option (RFC 7323 section 3.2).
struct tcp_timestamp {
  /// The sender's clock (TSval).
  std::uint32_t value = 0;
  /// What the peer's clock said (TSecr); counts with ACK only.
  std::uint32_t echo = 0;
  friend constexpr bool operator==(const tcp_timestamp&, const tcp_timestamp&) noexcept = default;
};

/// One block of the SACK option (RFC 2018 section 3): the bytes from `left` up to, not including,
/// `right`.
struct sack_block {
  /// The first sequence number of the block.
  std::uint32_t left = 0;
  /// The one behind its last.
  std::uint32_t right = 0;
  friend constexpr bool operator==(const sack_block&, const sack_block&) noexcept = default;
};

/// The options of a TCP header. As read, they are what the peer wrote; which of them count on which
/// segment, and whether their numbers make sense, is the reader's business.
struct tcp_options {
  /// As many fit into the options of a header.
  static constexpr std::size_t max_sack_blocks = 4;

  /// Maximum segment size (RFC 9293 section 3.7.1). A zero on the wire is not an option.
  std::optional<std::uint16_t> mss{};
  /// Shift count (RFC 7323 section 2.2), as written: it may exceed 14.
  std::optional<std::uint8_t> window_scale{};
  /// The sender understands SACK (RFC 2018 section 2); counts with SYN only.
  bool sack_permitted = false;
  /// How many elements of `sack` count; the others are zero.
  std::uint8_t sack_count = 0;
  /// Timestamps (RFC 7323 section 3.2).
  std::optional<tcp_timestamp> timestamp{};
  /// Blocks, the most recent one first; see `sacks()`.
  std::array<sack_block, max_sack_blocks> sack{};
  /// The Fast Open option (RFC 7413 section 4.1.1): empty asks for a cookie, otherwise 4 to 16
  /// bytes. As read, it points into the segment.
  std::optional<std::span<const std::byte>> fast_open{};

  /// The blocks that count.
  constexpr std::span<const sack_block> sacks() const noexcept {
    return std::span(sack).first(sack_count);
  }
  /// Adds a block; a fifth one is ignored.
  constexpr void add_sack(sack_block block) noexcept {
    if (sack_count < max_sack_blocks) sack[sack_count++] = block;
  }
  /// Compares meanings: two cookies are equal when their bytes are.
  friend bool operator==(const tcp_options& left, const tcp_options& right) noexcept;
};

/// The meaning of a TCP header. Numbers are in host order.
struct tcp_header {
  /// The port it is sent from.
  std::uint16_t source_port = 0;
  /// The port it is sent to.
  std::uint16_t destination_port = 0;
  /// SEG.SEQ: the number of its first byte, or of SYN.
  std::uint32_t seq = 0;
  /// SEG.ACK: the number expected next; counts with the flag `ack` only.
  std::uint32_t ack = 0;
  /// `tcp_flag` bits.
  std::uint8_t flags = 0;
  /// The length of the header with its options. Set by parsing, not read by emitting.
  std::uint8_t header_bytes = 0;
  /// As it stands in the header, not scaled.
  std::uint16_t window = 0;
  /// As it stands in the header; emitting writes it as it is: see `put_tcp_checksum`.
  std::uint16_t checksum = 0;
  /// The urgent pointer, as an offset; counts with the flag `urg` only.
  std::uint16_t urgent = 0;
  /// The options that were understood; others are passed over.
  tcp_options options{};

  /// Whether all of these flags are set.
  constexpr bool has(std::uint8_t wanted) const noexcept { return (flags & wanted) == wanted; }
  /// Compares meanings, the header's length included.
  friend bool operator==(const tcp_header&, const tcp_header&) noexcept = default;
};

/// Why bytes are not a TCP segment.
enum class tcp_error : std::uint8_t {
  none = 0,
  /// Fewer than 20 bytes.
  too_short,
  /// The data offset is under 5, or points past the end.
  bad_offset,
};

/// The name of the reason, as an identifier: "bad_offset".
const char* to_string(tcp_error error) noexcept;

/// Reads the header at the start of `segment`, which ends where the IP packet ends. The checksum is
/// not verified: see `tcp_checksum_intact`.
///
/// Options are read as Linux's tcp_parse_options reads them: one with a length below 2 or beyond
/// the header ends the reading and what came before stays; a known one with a length that is not
/// its own is skipped; of repeated ones the last counts. Reads nothing outside `segment`.
parsed<tcp_header, tcp_error> parse_tcp(std::span<const std::byte> segment) noexcept;

/// Whether the checksum over pseudo-header and segment is right.
bool tcp_checksum_intact(const net::address& source, const net::address& destination,
                         std::span<const std::byte> segment) noexcept;

/// How many bytes `emit_tcp` writes: 20 to 60, a multiple of four.
std::size_t tcp_header_bytes(const tcp_options& options) noexcept;

/// Writes the header and its options to the start of `out` and returns its length; 0 when `out` is
/// too small. The checksum field is written as it stands in `header`; `put_tcp_checksum` completes
/// it once the payload is known.
///
/// The options lie as Linux lays them: MSS; SACK-permitted and timestamps in one row, or either
/// with two NOPs before it; NOP and window scale; two NOPs and the SACK blocks; Fast Open. Of the
/// SACK blocks as many are written as fit; a cookie that does not fit, or is not 0 or 4 to 16 bytes
/// of an even number, is left out.
std::size_t emit_tcp(std::span<std::byte> out, const tcp_header& header) noexcept;

/// Overwrites the checksum field of an emitted header.
void put_tcp_checksum(std::span<std::byte> header, std::uint16_t checksum) noexcept;

}  // namespace runnel::wire
