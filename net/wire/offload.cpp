#include "runnel/wire/offload.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/checksum.hpp"

#include <algorithm>
#include <array>

namespace runnel::wire {
namespace {

constexpr std::uint8_t flag_needs_checksum = 1;
constexpr std::uint8_t flag_data_valid = 2;

constexpr std::uint8_t gso_none = 0;
constexpr std::uint8_t gso_tcp_v4 = 1;
constexpr std::uint8_t gso_tcp_v6 = 4;
constexpr std::uint8_t gso_ecn = 0x80;

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t protocol_udp = 17;
constexpr std::size_t v4_bytes = 20;
constexpr std::size_t v6_bytes = 40;
constexpr std::size_t tcp_bytes = 20;
constexpr std::uint16_t tcp_checksum_offset = 16;
constexpr std::uint16_t udp_checksum_offset = 6;
constexpr std::uint8_t tcp_cwr = 0x80;

std::uint16_t load16_le(const std::byte* from) noexcept {
  return static_cast<std::uint16_t>(load8(from) | load8(from + 1) << 8);
}
void store16_le(std::byte* to, std::uint16_t value) noexcept {
  store8(to, static_cast<std::uint8_t>(value));
  store8(to + 1, static_cast<std::uint8_t>(value >> 8));
}

/// What must be known of the IP header to judge the virtio one; what is wrong with it otherwise is
/// found where the packet is read.
struct ip_front {
  /// 4, 6, or 0 where the bytes are no header of either.
  unsigned version = 0;
  std::size_t bytes = 0;
  std::uint8_t protocol = 0;
  bool fragment = false;
};

ip_front look_at(std::span<const std::byte> packet) noexcept {
  ip_front front;
  const unsigned version = packet.empty() ? 0 : load8(packet.data()) >> 4;
  if (version == 4 && packet.size() >= v4_bytes) {
    front.bytes = std::size_t{load8(packet.data())} % 16 * 4;
    front.protocol = load8(&packet[9]);
    front.fragment = (load16(&packet[6]) & 0x3fff) != 0;
    if (front.bytes >= v4_bytes && front.bytes <= packet.size()) front.version = 4;
  } else if (version == 6 && packet.size() >= v6_bytes) {
    // With extension headers the protocol is another one, and only the bounds are known.
    front.bytes = v6_bytes;
    front.protocol = load8(&packet[6]);
    front.version = 6;
  }
  return front;
}

bool good_checksum_place(const ip_front& ip, std::size_t start, std::uint16_t offset,
                         std::size_t size) noexcept {
  if (ip.version == 0 || ip.fragment || start < ip.bytes || start + offset + 2 > size) return false;
  if (ip.protocol == protocol_tcp) return start == ip.bytes && offset == tcp_checksum_offset;
  if (ip.protocol == protocol_udp) return start == ip.bytes && offset == udp_checksum_offset;
  return ip.version == 6 || start == ip.bytes;
}

/// The payload's length of the TCP segment whose header begins at `start`; 0 when there is none.
std::size_t tcp_payload(std::span<const std::byte> packet, std::size_t start) noexcept {
  if (start + tcp_bytes > packet.size()) return 0;
  const std::size_t header = std::size_t{load8(&packet[start + 12])} / 16 * 4;
  if (header < tcp_bytes || start + header > packet.size()) return 0;
  return packet.size() - start - header;
}

vnet_error read_gso(net::packet_offload& out, const ip_front& ip, std::uint8_t type,
                    std::uint16_t gso_size, std::span<const std::byte> packet) noexcept {
  const std::uint8_t kind = type & static_cast<std::uint8_t>(~gso_ecn);
  if (kind != gso_tcp_v4 && kind != gso_tcp_v6) return vnet_error::unknown_gso_type;
  if (ip.version != (kind == gso_tcp_v4 ? 4U : 6U) || ip.fragment) return vnet_error::not_tcp;
  if (out.checksum == net::checksum_state::unverified) return vnet_error::unvouched;
  const bool partial = out.checksum == net::checksum_state::partial;
  // Behind extension headers only the checksum's start says where TCP begins.
  if (ip.protocol != protocol_tcp &&
      (ip.version == 4 || !partial || out.checksum_offset != tcp_checksum_offset)) {
    return vnet_error::not_tcp;
  }
  const std::size_t payload = tcp_payload(packet, partial ? out.checksum_start : ip.bytes);
  if (payload == 0) return vnet_error::not_tcp;
  if (gso_size == 0) return vnet_error::bad_gso_size;
  if (payload > gso_size) out.gso_size = gso_size;
  return vnet_error::none;
}

vnet_error read_header(net::packet_offload& out, std::span<const std::byte> header,
                       std::span<const std::byte> packet) noexcept {
  if (header.size() < vnet_header_bytes) return vnet_error::too_short;
  const std::uint8_t flags = load8(&header[0]);
  const std::uint8_t type = load8(&header[1]);
  // Nearly every packet that is not TCP of this machine's kernel.
  if (flags == 0 && type == gso_none) return vnet_error::none;
  if ((flags & ~(flag_needs_checksum | flag_data_valid)) != 0) return vnet_error::unknown_flags;
  const ip_front ip = look_at(packet);
  if ((flags & flag_needs_checksum) != 0) {
    out.checksum = net::checksum_state::partial;
    out.checksum_start = load16_le(&header[6]);
    out.checksum_offset = load16_le(&header[8]);
    if (!good_checksum_place(ip, out.checksum_start, out.checksum_offset, packet.size())) {
      return vnet_error::bad_checksum_place;
    }
  } else if ((flags & flag_data_valid) != 0) {
    out.checksum = net::checksum_state::verified;
  }
  if (type == gso_none) return vnet_error::none;
  if (load16_le(&header[2]) > packet.size()) return vnet_error::bad_header_length;
  return read_gso(out, ip, type, load16_le(&header[4]), packet);
}

}  // namespace

const char* to_string(vnet_error error) noexcept {
  switch (error) {
    case vnet_error::none:
      return "none";
    case vnet_error::too_short:
      return "too_short";
    case vnet_error::unknown_flags:
      return "unknown_flags";
    case vnet_error::unknown_gso_type:
      return "unknown_gso_type";
    case vnet_error::bad_checksum_place:
      return "bad_checksum_place";
    case vnet_error::not_tcp:
      return "not_tcp";
    case vnet_error::bad_gso_size:
      return "bad_gso_size";
    case vnet_error::bad_header_length:
      return "bad_header_length";
    case vnet_error::unvouched:
      return "unvouched";
  }
  return "unknown";
}

parsed<net::packet_offload, vnet_error> parse_vnet(std::span<const std::byte> header,
                                                   std::span<const std::byte> packet) noexcept {
  return parsed<net::packet_offload, vnet_error>::from(
      [&](net::packet_offload& out) noexcept { return read_header(out, header, packet); });
}

bool emit_vnet(std::span<std::byte> out, const net::packet_offload& offload,
               std::span<const std::byte> headers) noexcept {
  if (out.size() < vnet_header_bytes) return false;
  std::uint8_t type = gso_none;
  std::size_t header_bytes = 0;
  const bool partial = offload.checksum == net::checksum_state::partial;
  if (offload.gso_size != 0) {
    const ip_front ip = look_at(headers);
    const std::size_t start = offload.checksum_start;
    if (!partial || ip.version == 0 || start < ip.bytes || start + tcp_bytes > headers.size()) {
      return false;
    }
    header_bytes = start + std::size_t{load8(&headers[start + 12])} / 16 * 4;
    if (header_bytes < start + tcp_bytes) return false;
    type = ip.version == 4 ? gso_tcp_v4 : gso_tcp_v6;
    // Only the first segment that it is cut into may say CWR.
    if ((load8(&headers[start + 13]) & tcp_cwr) != 0) type |= gso_ecn;
  }
  store8(&out[0], partial ? flag_needs_checksum : 0);
  store8(&out[1], type);
  store16_le(&out[2], static_cast<std::uint16_t>(header_bytes));
  store16_le(&out[4], offload.gso_size);
  store16_le(&out[6], partial ? offload.checksum_start : 0);
  store16_le(&out[8], partial ? offload.checksum_offset : 0);
  return true;
}

std::uint16_t completed_checksum(std::span<const std::span<const std::byte>> pieces,
                                 const net::packet_offload& offload) noexcept {
  checksum sum;
  std::size_t skip = offload.checksum_start;
  for (const auto piece : pieces) {
    const std::size_t before = std::min(skip, piece.size());
    skip -= before;
    sum.add(piece.subspan(before));
  }
  const std::uint16_t value = sum.value();
  // UDP's zero means that there is none (RFC 768).
  return value == 0 && offload.checksum_offset == udp_checksum_offset ? 0xffff : value;
}

void complete_checksum(const net::packet& what) noexcept {
  if (what->offload.checksum != net::checksum_state::partial) return;
  if (has_checksum_place(what->offload, what.size())) {
    const std::array<std::span<const std::byte>, 1> whole{what.bytes()};
    store16(
        &what.bytes()[std::size_t{what->offload.checksum_start} + what->offload.checksum_offset],
        completed_checksum(whole, what->offload));
  }
  what->offload = {};
}

}  // namespace runnel::wire
