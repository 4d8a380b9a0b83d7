#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/bytes.hpp>
#include <runnel/wire/checksum.hpp>
#include <runnel/wire/ip.hpp>
#include <runnel/wire/tcp.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

// The shape that nearly every segment has, read and written at one go: what `parse_ip`,
// `parse_tcp`, `emit_ip` and `emit_tcp` do for it, without what they do for all the others.

namespace runnel::wire {

namespace detail {

inline constexpr std::size_t tcp_fixed_bytes = 20;
inline constexpr std::size_t timestamp_row_bytes = 12;
/// NOP, NOP, timestamps of ten bytes.
inline constexpr std::uint32_t aligned_timestamp = 0x0101080a;
inline constexpr std::uint8_t protocol_tcp = 6;

}  // namespace detail

/// A plain segment as it lies in its packet: whole, without IP options or extension headers, its
/// TCP options none or the aligned timestamps alone. Numbers are in host order.
///
/// It only points into the packet, whose bytes must outlive it and stay as they are; each accessor
/// reads its field anew. All but the bool are for views that are true.
class plain_tcp_view {
 public:
  /// Looks at the start of `packet`. False for everything that is not plain, be it faulty or only
  /// unusual: `parse_ip` tells. The TCP checksum is not verified. Reads nothing outside `packet`.
  explicit plain_tcp_view(std::span<const std::byte> packet) noexcept : ip_(packet.data()) {
    if (!see_ip(packet.size())) return;
    tcp_ = ip_ + ip_bytes();
    tcp_bytes_ = std::uint32_t{load8(tcp_ + 12)} >> 4 << 2;
    plain_ =
        total_length_ <= packet.size() && header_bytes() <= total_length_ &&
        (tcp_bytes_ == detail::tcp_fixed_bytes ||
         (has_timestamp() && load32(tcp_ + detail::tcp_fixed_bytes) == detail::aligned_timestamp));
  }

  /// Whether there is a plain segment.
  explicit operator bool() const noexcept { return plain_; }

  /// The sender, in no zone.
  net::address source() const noexcept { return address_at(v6_ ? 8 : 12); }
  /// The receiver, in no zone.
  net::address destination() const noexcept { return address_at(v6_ ? 24 : 16); }
  /// DSCP and ECN, or the traffic class; see `ip_header::tos`.
  std::uint8_t tos() const noexcept {
    return v6_ ? static_cast<std::uint8_t>(load16(ip_) >> 4) : load8(ip_ + 1);
  }
  /// The port it is sent from.
  std::uint16_t source_port() const noexcept { return load16(tcp_); }
  /// The port it is sent to.
  std::uint16_t destination_port() const noexcept { return load16(tcp_ + 2); }
  /// SEG.SEQ.
  std::uint32_t seq() const noexcept { return load32(tcp_ + 4); }
  /// SEG.ACK; counts with the flag `ack` only.
  std::uint32_t ack() const noexcept { return load32(tcp_ + 8); }
  /// `tcp_flag` bits.
  std::uint8_t flags() const noexcept { return load8(tcp_ + 13); }
  /// As it stands in the header, not scaled.
  std::uint16_t window() const noexcept { return load16(tcp_ + 14); }
  /// Whether it has the timestamps option (RFC 7323 section 3.2).
  bool has_timestamp() const noexcept {
    return tcp_bytes_ == detail::tcp_fixed_bytes + detail::timestamp_row_bytes;
  }
  /// That option. Only where there is one.
  tcp_timestamp timestamp() const noexcept {
    return {load32(tcp_ + detail::tcp_fixed_bytes + 4), load32(tcp_ + detail::tcp_fixed_bytes + 8)};
  }
  /// The length of the IP header.
  std::uint32_t ip_bytes() const noexcept { return v6_ ? 40 : 20; }
  /// The length of both headers.
  std::uint32_t header_bytes() const noexcept { return ip_bytes() + tcp_bytes_; }
  /// Headers and text, in bytes; what lies behind it is padding.
  std::uint32_t total_length() const noexcept { return total_length_; }
  /// The TCP header and the text.
  std::span<const std::byte> segment() const noexcept { return {tcp_, total_length_ - ip_bytes()}; }

 private:
  bool see_ip(std::size_t size) noexcept {
    constexpr std::uint16_t fragment_bits = 0x3fff;
    if (size >= 20 + detail::tcp_fixed_bytes && load8(ip_) == 0x45) {
      total_length_ = load16(ip_ + 2);
      return load8(ip_ + 9) == detail::protocol_tcp && (load16(ip_ + 6) & fragment_bits) == 0 &&
             v4_intact();
    }
    if (size < 40 + detail::tcp_fixed_bytes || load8(ip_) >> 4 != 6) return false;
    v6_ = true;
    total_length_ = 40U + load16(ip_ + 4);
    return load8(ip_ + 6) == detail::protocol_tcp;
  }
  bool v4_intact() const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 20; i += 4) sum += load32(ip_ + i);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (sum >> 16) + (sum & 0xffff) == 0xffff;
  }
  net::address address_at(std::size_t offset) const noexcept {
    if (!v6_) return net::address::v4(load32(ip_ + offset));
    const auto* const raw = reinterpret_cast<const std::uint8_t*>(ip_ + offset);
    return net::address::v6(std::span<const std::uint8_t, 16>(raw, 16));
  }

  const std::byte* ip_;
  const std::byte* tcp_ = nullptr;
  std::uint32_t total_length_ = 0;
  std::uint32_t tcp_bytes_ = 0;
  bool v6_ = false;
  bool plain_ = false;
};

/// Both headers of a plain segment that is to be written. Numbers are in host order and fit their
/// fields; the addresses are of one family.
struct plain_tcp {
  /// The sender.
  net::address source{};
  /// The receiver.
  net::address destination{};
  /// The port it is sent from.
  std::uint16_t source_port = 0;
  /// The port it is sent to.
  std::uint16_t destination_port = 0;
  /// SEG.SEQ.
  std::uint32_t seq = 0;
  /// SEG.ACK; counts with the flag `ack` only.
  std::uint32_t ack = 0;
  /// As it stands in the header, not scaled.
  std::uint16_t window = 0;
  /// `tcp_flag` bits.
  std::uint8_t flags = 0;
  /// DSCP and ECN, or the traffic class; see `ip_header::tos`.
  std::uint8_t tos = 0;
  /// Time to live, or the hop limit.
  std::uint8_t ttl = 64;
  /// IPv4 only.
  bool dont_fragment = true;
  /// IPv4's identification.
  std::uint16_t id = 0;
  /// IPv6 only: 20 bits (RFC 6437).
  std::uint32_t flow_label = 0;
  /// Headers and text, in bytes.
  std::uint32_t total_length = 0;
  /// Whether `timestamp` is written.
  bool has_timestamp = false;
  /// The timestamps option (RFC 7323 section 3.2).
  tcp_timestamp timestamp{};
};

namespace detail {

/// Writes the IP header and returns its length.
inline std::size_t emit_plain_ip(std::byte* at, const plain_tcp& header) noexcept {
  if (header.source.is_v6()) {
    constexpr std::size_t v6_bytes = ip_header_bytes(net::family::v6);
    store32(at, 6U << 28 | std::uint32_t{header.tos} << 20 | header.flow_label);
    store16(at + 4, static_cast<std::uint16_t>(header.total_length - v6_bytes));
    store8(at + 6, protocol_tcp);
    store8(at + 7, header.ttl);
    std::memcpy(at + 8, header.source.bytes().data(), 16);
    std::memcpy(at + 24, header.destination.bytes().data(), 16);
    return v6_bytes;
  }
  constexpr std::uint32_t dont_fragment = 0x4000;
  const std::uint32_t source = header.source.to_v4_number();
  const std::uint32_t destination = header.destination.to_v4_number();
  const std::uint32_t first = 0x45U << 24 | std::uint32_t{header.tos} << 16 | header.total_length;
  const std::uint32_t second =
      std::uint32_t{header.id} << 16 | (header.dont_fragment ? dont_fragment : 0);
  const std::uint32_t third = std::uint32_t{header.ttl} << 24 | std::uint32_t{protocol_tcp} << 16;
  // From the numbers: reading back what was just written in smaller pieces would stall.
  std::uint64_t sum = std::uint64_t{first} + second + third + source + destination;
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  store32(at, first);
  store32(at + 4, second);
  store32(at + 8, third | (~static_cast<std::uint32_t>(sum) & 0xffff));
  store32(at + 12, source);
  store32(at + 16, destination);
  return ip_header_bytes(net::family::v4);
}

}  // namespace detail

/// How many bytes `emit_plain_tcp` writes for a family, with timestamps or without.
constexpr std::size_t plain_tcp_bytes(net::family family, bool timestamps) noexcept {
  return ip_header_bytes(family) + detail::tcp_fixed_bytes +
         (timestamps ? detail::timestamp_row_bytes : 0);
}

/// Writes both headers to `at`, where there is room for `plain_tcp_bytes`, IPv4's checksum
/// included. TCP's is left zero; what its field must hold follows from `sum`, to which the
/// pseudo-header is added, and with `whole` the TCP header, too.
inline void emit_plain_tcp(std::byte* at, const plain_tcp& header, checksum& sum,
                           bool whole) noexcept {
  const std::size_t ip_bytes = detail::emit_plain_ip(at, header);
  const bool stamped = header.has_timestamp;
  const std::uint32_t offset = stamped ? 8 : 5;
  const std::uint32_t ports = std::uint32_t{header.source_port} << 16 | header.destination_port;
  const std::uint32_t third = offset << 28 | std::uint32_t{header.flags} << 16 | header.window;
  std::byte* const tcp = at + ip_bytes;
  store32(tcp, ports);
  store32(tcp + 4, header.seq);
  store32(tcp + 8, header.ack);
  store32(tcp + 12, third);
  store32(tcp + 16, 0);
  if (stamped) {
    store32(tcp + 20, detail::aligned_timestamp);
    store32(tcp + 24, header.timestamp.value);
    store32(tcp + 28, header.timestamp.echo);
  }
  sum.add_pseudo_header(header.source, header.destination, detail::protocol_tcp,
                        header.total_length - static_cast<std::uint32_t>(ip_bytes));
  if (!whole) return;
  sum.add_number(ports);
  sum.add_number(header.seq);
  sum.add_number(header.ack);
  sum.add_number(third);
  if (!stamped) return;
  sum.add_number(detail::aligned_timestamp);
  sum.add_number(header.timestamp.value);
  sum.add_number(header.timestamp.echo);
}

}  // namespace runnel::wire
