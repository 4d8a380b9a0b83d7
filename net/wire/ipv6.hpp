#pragma once

#include "runnel/wire/ip.hpp"

namespace runnel::wire {

/// The parameter problem that a fault deserves, whoever sent the packet.
struct chain_problem {
  bool owed = false;
  std::uint8_t code = 0;
  std::uint32_t pointer = 0;
};

/// What walking a packet's headers finds that the header has no field for.
struct chain_notes {
  chain_problem problem{};
  /// Where the fragment header starts, and which byte says that it is one; 0 without one.
  std::uint16_t fragment_at = 0;
  std::uint16_t fragment_link = 0;
};

constexpr std::size_t v6_bytes = 40;
constexpr std::size_t v6_fragment_bytes = 8;
/// Where the payload length and the next header stand.
constexpr std::uint16_t v6_length_at = 4;
constexpr std::uint16_t v6_next_at = 6;

/// Reads a whole IPv6 packet, the version of which is known.
ip_error read_v6(ip_header& header, std::span<const std::byte> packet,
                 chain_notes* notes = nullptr) noexcept;
/// Reads a quoted one.
ip_error read_quoted_v6(ip_header& header, std::span<const std::byte> quote) noexcept;
/// `emit_ip` for IPv6.
std::size_t emit_v6(std::span<std::byte> out, const ip_header& header) noexcept;

}  // namespace runnel::wire
