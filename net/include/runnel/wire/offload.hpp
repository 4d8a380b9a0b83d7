#pragma once

#include <runnel/wire/packet.hpp>
#include <runnel/wire/parsed.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::wire {

/// The length of the virtio-net header in front of each packet (virtio 1.2 section 5.1.6, without
/// the number of merged buffers).
inline constexpr std::size_t vnet_header_bytes = 10;

/// Why a virtio-net header does not describe its packet.
enum class vnet_error : std::uint8_t {
  none,
  /// Fewer bytes than the header has.
  too_short,
  /// A flag that nobody has asked for.
  unknown_flags,
  /// A kind of super-segment that nobody has asked for.
  unknown_gso_type,
  /// The checksum would lie outside the packet, or not where its protocol has it.
  bad_checksum_place,
  /// The packet is no whole TCP segment of the family that the header says.
  not_tcp,
  /// The packet is to be cut into segments of no bytes.
  bad_gso_size,
  /// The header claims more bytes of headers than the packet has bytes.
  bad_header_length,
  /// A super-segment whose checksum nobody vouches for: it has none that could be looked at.
  unvouched,
};

/// The name of the reason, as an identifier: "bad_gso_size".
const char* to_string(vnet_error error) noexcept;

/// Reads the virtio-net header (little-endian) of `packet`, which begins with its IP header, and
/// checks each of its fields against the packet. What it gives can be used without another look:
/// a place of a partial checksum lies in the packet, and `gso_size` is set for whole TCP segments
/// with more payload than that only. `hdr_len` is a hint that nothing here uses; only that it stays
/// within the packet is checked. Reads nothing outside the two spans.
parsed<net::packet_offload, vnet_error> parse_vnet(std::span<const std::byte> header,
                                                   std::span<const std::byte> packet) noexcept;

/// Writes the virtio-net header of a packet that begins with `headers`: all of its IP and TCP
/// headers when it is a super-segment, anything otherwise. False, with nothing written, when `out`
/// is too small, or a super-segment has no partial checksum or is no TCP segment.
bool emit_vnet(std::span<std::byte> out, const net::packet_offload& offload,
               std::span<const std::byte> headers) noexcept;

/// What belongs into the checksum field of a packet whose checksum is `checksum_state::partial`.
/// The field's place must lie in the packet, as `has_checksum_place` tells.
std::uint16_t completed_checksum(std::span<const std::span<const std::byte>> pieces,
                                 const net::packet_offload& offload) noexcept;

/// Whether the checksum of a packet of `size` bytes is partial and its field lies in the packet.
constexpr bool has_checksum_place(const net::packet_offload& offload, std::size_t size) noexcept {
  return offload.checksum == net::checksum_state::partial && offload.checksum_start != 0 &&
         std::size_t{offload.checksum_start} + offload.checksum_offset + 2 <= size;
}

/// Completes a partial checksum in place, so that the packet needs no word beside it any more.
/// Where the field's place is none the checksum is left to be looked at.
void complete_checksum(const net::packet& what) noexcept;

}  // namespace runnel::wire
