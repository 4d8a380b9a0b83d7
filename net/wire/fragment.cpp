#include "fragment.hpp"

#include "ipv6.hpp"
#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"

#include <cstring>

namespace runnel::wire {
namespace {

constexpr std::size_t tcp_header_least = 20;

/// What counts of a header beside the fragments' payloads, in the packet that they will be: all of
/// IPv4's, IPv6's extension headers without the fragment header.
std::uint32_t counted_bytes(bool v6, std::uint32_t header) noexcept {
  return v6 ? header - static_cast<std::uint32_t>(v6_bytes + v6_fragment_bytes) : header;
}

bool is_v6(const net::packet_buffer& fragment) noexcept {
  return load8(fragment.storage() + fragment.begin - header_of(fragment)) >> 4 == 6;
}

}  // namespace

reassembly_verdict judge_fragment(const ip_header& ip,
                                  std::span<const std::byte> payload) noexcept {
  if (payload.empty()) return reassembly_verdict::empty;
  if (ip.more_fragments && payload.size() % 8 != 0) return reassembly_verdict::bad_length;
  const std::uint32_t counted = counted_bytes(ip.source.is_v6(), ip.header_bytes);
  if (counted + ip.fragment_offset + payload.size() > max_datagram_bytes) {
    return reassembly_verdict::oversized;
  }
  if (!ip.carries(ip_protocol::tcp)) return reassembly_verdict::kept;
  if (ip.fragment_offset != 0) {
    return ip.fragment_offset < tcp_header_least ? reassembly_verdict::tiny
                                                 : reassembly_verdict::kept;
  }
  const bool whole = payload.size() >= tcp_header_least &&
                     payload.size() >= std::size_t{load8(&payload[12])} / 16 * 4;
  return whole ? reassembly_verdict::kept : reassembly_verdict::tiny;
}

std::optional<icmp_message> problem_with(reassembly_verdict why, const ip_header& ip,
                                         std::span<const std::byte> packet) noexcept {
  icmp_message message;
  message.kind = icmp_kind::parameter_problem;
  message.code = parameter_code::header_field;
  if (why == reassembly_verdict::bad_length) {
    message.pointer = v6_length_at;
  } else if (why == reassembly_verdict::oversized) {
    message.pointer = static_cast<std::uint32_t>(ip.header_bytes - v6_fragment_bytes + 2);
  } else {
    return std::nullopt;
  }
  // A later fragment may be reported on here: it is what the error is about.
  const bool to_one =
      !ip.destination.is_multicast() && !ip.source.is_multicast() && !ip.source.is_any();
  if (!ip.source.is_v6() || !to_one) return std::nullopt;
  message.body = icmp_quote(packet);
  return message;
}

std::uint8_t joined_ecn(std::uint8_t seen) noexcept {
  constexpr std::uint8_t not_capable = 1 << 0;
  constexpr std::uint8_t congested = 1 << 3;
  if ((seen & not_capable) != 0 && seen != not_capable) return bad_ecn;
  return (seen & congested) != 0 ? 3 : 0;
}

void mark_fragment(net::packet_buffer& fragment, const ip_header& ip) noexcept {
  fragment.next = nullptr;
  fragment.tag = std::uint64_t{ip.fragment_offset} << 16 | ip.header_bytes;
  fragment.begin += ip.header_bytes;
  fragment.end = fragment.begin + ip.payload_bytes();
}

void unmark_fragment(net::packet_buffer& fragment) noexcept {
  fragment.begin -= header_of(fragment);
  fragment.next = nullptr;
  fragment.tag = 0;
}

std::uint32_t counted_header(const net::packet_buffer& fragment) noexcept {
  return counted_bytes(is_v6(fragment), header_of(fragment));
}

std::size_t whole_header(std::span<std::byte> out, const net::packet_buffer& first,
                         std::uint32_t payload, std::uint8_t ecn) noexcept {
  const std::size_t size = header_of(first);
  const std::byte* const from = first.storage() + first.begin - size;
  std::byte* const at = out.data();
  if (!is_v6(first)) {
    std::memcpy(at, from, size);
    store8(at + 1, static_cast<std::uint8_t>(load8(at + 1) | ecn));
    store16(at + 2, static_cast<std::uint16_t>(size + payload));
    store16(at + 6, 0);
    store16(at + 10, 0);
    store16(at + 10, checksum_of(out.first(size)));
    return size;
  }
  ip_header header;
  chain_notes notes;
  static_cast<void>(read_v6(header, {from, size + first.size()}, &notes));
  const std::size_t kept = size - v6_fragment_bytes;
  std::memcpy(at, from, kept);
  store8(at + 1, static_cast<std::uint8_t>(load8(at + 1) | ecn << 4));
  store16(at + v6_length_at, static_cast<std::uint16_t>(kept - v6_bytes + payload));
  store8(at + notes.fragment_link, load8(from + kept));
  return kept;
}

}  // namespace runnel::wire
