#pragma once

#include <optional>

#include "core.hpp"

// From packets to segments and ICMP messages, and what is answered below TCP: ingress.cpp,
// icmp.cpp, icmp_errors.cpp.

namespace runnel::tcp::detail {

void on_ip_packet(core& host, net::packet packet);
/// Whose the packet seems to be, as far as its length lets it be seen. Nothing else of it is
/// checked: where it is not what it looks like, the wrong memory is fetched, and no more.
bool guess_flow(const core& host, std::span<const std::byte> packet, flow_key& out) noexcept;
/// Gives up what has waited too long for its missing pieces.
void expire_fragments(core& host);
/// What the policy says of pieces of packets.
wire::reassembly_policy reassembly_of(const core& host) noexcept;
/// Whether no answer may go to this source.
bool bad_source(const core& host, const net::address& source) noexcept;

/// An ICMP error of this family about a segment that is said to be ours.
void on_icmp_error(core& host, net::family family, const wire::icmp_message& message);
/// The flow that it is about; nothing when it quotes no segment that may be ours.
std::optional<flow_key> flow_of_error(const core& host, net::family family,
                                      const wire::icmp_message& message) noexcept;

void on_icmp(core& host, const wire::ip_header& ip, net::packet packet);
/// Sends an ICMP message as a packet of its own, in fragments where it is longer than the link
/// takes.
void send_icmp(core& host, const net::address& from, const net::address& to,
               const wire::icmp_message& message);
/// Answers a datagram of a protocol or port that nobody serves.
void reject_datagram(core& host, const wire::ip_header& ip, const net::packet& packet);

}  // namespace runnel::tcp::detail
