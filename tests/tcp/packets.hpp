#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runnel/tcp/engine/host.hpp"
#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/checksum.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"
#include "test_family.hpp"

namespace doctest {
template <class Rep, class Period>
struct StringMaker<std::chrono::duration<Rep, Period>> {
  static String convert(std::chrono::duration<Rep, Period> of) {
    return toString(std::chrono::duration<double, std::milli>(of).count()) + " ms";
  }
};
template <>
struct StringMaker<std::vector<std::int64_t>> {
  static String convert(const std::vector<std::int64_t>& of) {
    String out;
    for (const std::int64_t each : of) out += toString(each) + " ";
    return out;
  }
};
}  // namespace doctest

namespace runnel::tcp {

// How doctest prints them when a check fails; it looks for this name.
inline doctest::String to_doctest(std::string_view name) {
  return doctest::String(name.data(), static_cast<unsigned>(name.size()));
}
inline doctest::String toString(state of) {
  return to_doctest(rfc_name(of));
}
inline doctest::String toString(error of) {
  return to_doctest(to_string(of));
}
inline doctest::String toString(end_reason of) {
  return to_doctest(to_string(of));
}

}  // namespace runnel::tcp

namespace runnel::tcp::test {

inline host_keys keys_from(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  host_keys keys;
  for (auto* key : {&keys.lookup, &keys.isn, &keys.tuple, &keys.cookie, &keys.fastopen})
    *key = {random(), random()};
  return keys;
}

/// The letters of the flags that are set, in the order of their bits: "SA", "FPA".
inline std::string flag_letters(std::uint8_t flags) {
  std::string out;
  constexpr std::string_view names = "FSRPAUEC";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if ((flags >> i & 1) != 0) out += names[i];
  }
  return out;
}

inline std::uint8_t flags_from(std::string_view letters) {
  constexpr std::string_view names = "FSRPAUEC";
  unsigned flags = 0;
  for (const char letter : letters) flags |= 1U << names.find(letter);
  return static_cast<std::uint8_t>(flags);
}

/// A packet as a test looks at it.
struct seen_packet {
  time_point at;
  int from = 0;
  wire::ip_header ip;
  wire::tcp_header tcp;
  /// Payload bytes.
  std::uint32_t length = 0;
  /// Filled on request only.
  std::string text;
  /// The Fast Open option; that of `tcp` would point into the packet, which is gone.
  std::optional<std::string> fast_open;

  std::string flags() const { return flag_letters(tcp.flags); }
  /// What it takes of the sequence space.
  std::uint32_t seq_len() const {
    return length + ((tcp.flags & wire::tcp_flag::syn) != 0 ? 1U : 0U) +
           ((tcp.flags & wire::tcp_flag::fin) != 0 ? 1U : 0U);
  }
};

/// Reads a packet that a host made; throws when it is not a well-formed one.
inline seen_packet look_at(std::span<const std::byte> packet, time_point at, int from,
                           bool with_text) {
  const auto ip = wire::parse_ip(packet);
  if (!ip || ip->total_length != packet.size()) throw std::logic_error("not an IP packet");
  seen_packet seen{at, from, *ip, {}, 0, {}, {}};
  if (!seen.ip.carries(wire::ip_protocol::tcp)) return seen;
  const auto segment = seen.ip.payload(packet);
  const auto tcp = wire::parse_tcp(segment);
  if (!tcp) throw std::logic_error("not a TCP segment");
  seen.tcp = *tcp;
  if (const auto option = std::exchange(seen.tcp.options.fast_open, std::nullopt)) {
    seen.fast_open.emplace(reinterpret_cast<const char*>(option->data()), option->size());
  }
  seen.length = static_cast<std::uint32_t>(segment.size()) - seen.tcp.header_bytes;
  if (with_text) {
    const auto text = segment.subspan(seen.tcp.header_bytes);
    seen.text.assign(reinterpret_cast<const char*>(text.data()), text.size());
  }
  return seen;
}

/// The bytes of a packet on its way out, in one piece.
inline net::packet flatten(net::packet_pool& pool, const net::tx_packet& out) {
  net::packet copy = pool.allocate(out.size);
  std::size_t filled = 0;
  for (const auto piece : out.pieces) {
    std::copy(piece.begin(), piece.end(),
              copy.room().begin() + static_cast<std::ptrdiff_t>(filled));
    filled += piece.size();
  }
  if (filled != out.size) throw std::logic_error("a packet's pieces do not add up to its size");
  copy.resize(filled);
  return copy;
}

/// A packet of the test's own, complete with checksums.
inline net::packet make_packet(net::packet_pool& pool, const net::endpoint& from,
                               const net::endpoint& to, wire::tcp_header tcp,
                               std::span<const std::byte> text = {}, std::uint8_t tos = 0) {
  tcp.source_port = from.port;
  tcp.destination_port = to.port;
  wire::ip_header ip;
  ip.source = from.address;
  ip.destination = to.address;
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  ip.tos = tos;
  const std::size_t ip_bytes = wire::ip_header_bytes(ip);
  const std::size_t tcp_bytes = wire::tcp_header_bytes(tcp.options);
  ip.total_length = static_cast<std::uint32_t>(ip_bytes + tcp_bytes + text.size());
  net::packet out = pool.allocate(ip.total_length);
  out.resize(ip.total_length);
  const auto bytes = out.bytes();
  wire::emit_ip(bytes, ip);
  wire::emit_tcp(bytes.subspan(ip_bytes), tcp);
  std::copy(text.begin(), text.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(ip_bytes + tcp_bytes));
  wire::checksum sum;
  sum.add_pseudo_header(ip.source, ip.destination, ip.protocol,
                        static_cast<std::uint32_t>(tcp_bytes + text.size()));
  sum.add(bytes.subspan(ip_bytes));
  wire::put_tcp_checksum(bytes.subspan(ip_bytes), sum.value());
  return out;
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Receives everything that is there now.
inline std::string receive_all(host& from, socket_id socket, time_point now) {
  std::string out;
  std::byte buffer[4096];
  for (;;) {
    const auto got = from.receive(socket, buffer, now);
    if (!got || got.value == 0) return out;
    out.append(reinterpret_cast<const char*>(buffer), got.value);
  }
}

/// Text in which every position is recognisable.
inline std::string numbered_text(std::size_t size, std::size_t from = 0) {
  std::string out(size, 0);
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = from + i;
    out[i] = static_cast<char>((at * 2654435761U) >> 13 ^ at >> 8);
  }
  return out;
}

}  // namespace runnel::tcp::test
