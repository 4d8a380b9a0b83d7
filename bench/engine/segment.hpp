#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "engine_pair.hpp"
#include "runnel/wire/checksum.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"

namespace runnel::bench {

/// A packet from there to the server, checksums included.
inline net::packet make_segment(net::packet_pool& pool, const net::address& from,
                                const wire::tcp_header& tcp, std::span<const std::byte> text = {}) {
  wire::ip_header ip;
  ip.source = from;
  ip.destination = server_address;
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  const std::size_t ip_bytes = wire::ip_header_bytes(ip);
  const std::size_t tcp_bytes = wire::tcp_header_bytes(tcp.options);
  ip.total_length = static_cast<std::uint32_t>(ip_bytes + tcp_bytes + text.size());
  net::packet out = pool.allocate(ip.total_length);
  out.resize(ip.total_length);
  wire::emit_ip(out.bytes(), ip);
  const auto segment = out.bytes().subspan(ip_bytes);
  wire::emit_tcp(segment, tcp);
  std::copy(text.begin(), text.end(), segment.begin() + static_cast<std::ptrdiff_t>(tcp_bytes));
  wire::checksum sum;
  sum.add_pseudo_header(ip.source, ip.destination, ip.protocol,
                        static_cast<std::uint32_t>(segment.size()));
  sum.add(segment);
  wire::put_tcp_checksum(segment, sum.value());
  return out;
}

}  // namespace runnel::bench
