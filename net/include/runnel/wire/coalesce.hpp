#pragma once

#include <runnel/wire/packet.hpp>

#include <cstddef>
#include <span>

namespace runnel::wire {

/// Joins TCP segments that came one behind the other in a burst into super-segments, as Linux's GRO
/// does for network cards: for a link that gives every segment as a packet of its own. Both
/// families alike.
///
/// Joined is what could have been cut from one packet: plain text with ACK, the same addresses,
/// ports, acknowledgement, window and options with the same timestamps, the same TTL, TOS with ECN,
/// DF and flow label, each number where the one before it ends. The first one's length is the
/// `gso_size`; a shorter one and one with PSH end it. Everything else passes as it is, and nothing
/// changes its order. IP options and extension headers, fragments, super-segments and packets whose
/// checksum is `partial` are never joined.
///
/// A joined packet lies in a block of `pool`, which its text fills at least by half, is an IP
/// packet of up to 65,535 bytes, and is `verified`: each of its segments was, or is found right
/// here. One that is wrong passes as it is. The TCP checksum field of a joined packet is nobody's.
/// Of packets that stay alone some may have become `verified`. Without memory nothing is joined.
///
/// `burst` holds packets that begin with their IP header; who calls has removed facts that he does
/// not believe. Returns how many are left at its front; those behind are empty. Costs a comparison
/// of the headers for each packet, and for a joined one its checksum and a copy of its text.
std::size_t coalesce(std::span<net::packet> burst, net::packet_pool& pool) noexcept;

}  // namespace runnel::wire
