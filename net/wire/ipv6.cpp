#include "ipv6.hpp"

#include "runnel/wire/bytes.hpp"
#include "runnel/wire/icmp.hpp"

#include <algorithm>

namespace runnel::wire {
namespace {

/// Numbers of the extension headers that a host walks (RFC 8200 section 4).
namespace extension {
constexpr std::uint8_t hop_by_hop = 0;
constexpr std::uint8_t routing = 43;
constexpr std::uint8_t fragment = 44;
constexpr std::uint8_t destination_options = 60;
}  // namespace extension

namespace option {
constexpr std::uint8_t pad1 = 0;
constexpr std::uint8_t padn = 1;
constexpr std::uint8_t jumbo = 0xc2;
}  // namespace option

/// Linux's bound: more than what aligns an option is not padding.
constexpr std::size_t max_padding = 7;
constexpr std::uint16_t v6_more_fragments = 1;
constexpr std::uint16_t v6_offset_mask = 0xfff8;

constexpr bool is_extension(std::uint8_t number) noexcept {
  return number == extension::hop_by_hop || number == extension::routing ||
         number == extension::fragment || number == extension::destination_options;
}

/// A place in a chain of headers.
struct cursor {
  /// The packet, cut at its total length.
  std::span<const std::byte> bytes{};
  /// Where the header starts that `next` names.
  std::size_t at = v6_bytes;
  /// Where `next` was read.
  std::size_t link = v6_next_at;
  std::uint8_t next = 0;
  std::size_t passed = 0;
  chain_notes notes{};

  /// The length of the extension header here; 0 when it is not whole.
  std::size_t length() const noexcept {
    if (bytes.size() - at < 8) return 0;
    const std::size_t size =
        next == extension::fragment ? 8 : (std::size_t{load8(bytes.data() + at + 1)} + 1) * 8;
    return size <= bytes.size() - at ? size : 0;
  }
  void pass(std::size_t size) noexcept {
    next = load8(bytes.data() + at);
    link = at;
    at += size;
    ++passed;
  }
  /// Notes what a fault deserves.
  ip_error fault(ip_error error, std::uint8_t code, std::size_t pointer) noexcept {
    notes.problem = {true, code, static_cast<std::uint32_t>(pointer)};
    return error;
  }
};

void read_fixed(ip_header& header, const std::byte* at) noexcept {
  const std::uint32_t first = load32(at);
  header.tos = static_cast<std::uint8_t>(first >> 20);
  header.flow_label = first & 0xfffff;
  header.total_length = std::uint32_t{load16(at + v6_length_at)} + v6_bytes;
  header.ttl = load8(at + 7);
  const auto* const raw = reinterpret_cast<const std::uint8_t*>(at);
  header.source = net::address::v6(std::span<const std::uint8_t, 16>(raw + 8, 16));
  header.destination = net::address::v6(std::span<const std::uint8_t, 16>(raw + 24, 16));
}

void read_fragment(ip_header& header, const std::byte* at) noexcept {
  const std::uint16_t word = load16(at + 2);
  header.fragment_offset = word & v6_offset_mask;
  header.more_fragments = (word & v6_more_fragments) != 0;
  header.id = header.is_fragment() ? load32(at + 4) : 0;
}

void leave_at(ip_header& header, const cursor& here) noexcept {
  header.protocol = here.next;
  header.protocol_at = static_cast<std::uint16_t>(here.link);
  header.header_bytes = static_cast<std::uint16_t>(here.at);
}

/// An option that is none of padding: RFC 8200 section 4.2 has its upper bits say what to do.
ip_error judge_option(cursor& here, std::size_t at, const net::address& destination) noexcept {
  const std::uint8_t type = load8(here.bytes.data() + at);
  const ip_error error = type == option::jumbo ? ip_error::jumbogram : ip_error::unknown_option;
  switch (type >> 6) {
    case 0:
      return ip_error::none;
    case 1:
      return error;
    case 2:
      return here.fault(error, parameter_code::option, at);
    default:
      if (destination.is_multicast()) return error;
      return here.fault(error, parameter_code::option, at);
  }
}

/// The options between `at` and `end`, as Linux's ip6_parse_tlv reads them.
ip_error read_options(cursor& here, std::size_t end, const net::address& destination) noexcept {
  const std::byte* const bytes = here.bytes.data();
  std::size_t count = 0;
  std::size_t padding = 0;
  for (std::size_t at = here.at + 2; at < end;) {
    const std::uint8_t type = load8(bytes + at);
    std::size_t size = 1;
    if (type != option::pad1) {
      if (end - at < 2) return ip_error::bad_option_length;
      size = std::size_t{load8(bytes + at + 1)} + 2;
      if (size > end - at) return ip_error::bad_option_length;
    }
    const bool is_padding = type == option::pad1 || type == option::padn;
    padding = is_padding ? padding + size : 0;
    count += is_padding ? 0 : 1;
    if (padding > max_padding || count > max_extension_options) {
      return here.fault(ip_error::too_many_options, parameter_code::too_many_options, at);
    }
    if (!is_padding) {
      const ip_error error = judge_option(here, at, destination);
      if (error != ip_error::none) return error;
    }
    at += size;
  }
  return ip_error::none;
}

/// Checks the extension header here and goes past it.
ip_error pass_extension(cursor& here, ip_header& header) noexcept {
  if (here.passed == max_extension_headers) {
    return here.fault(ip_error::too_many_extensions, parameter_code::too_many_extensions, here.at);
  }
  if (here.next == extension::hop_by_hop && here.link != v6_next_at) {
    return here.fault(ip_error::misplaced_hop_by_hop, parameter_code::next_header, here.link);
  }
  const std::size_t size = here.length();
  if (size == 0) return ip_error::bad_header_length;
  if (here.at + size > v6_bytes + max_extension_bytes) {
    return here.fault(ip_error::extensions_too_long, parameter_code::chain_too_long,
                      v6_bytes + max_extension_bytes);
  }
  const std::byte* const at = here.bytes.data() + here.at;
  if (here.next == extension::routing) {
    if (load8(at + 3) != 0) {
      return here.fault(ip_error::source_routed, parameter_code::header_field, here.at + 2);
    }
  } else if (here.next == extension::fragment) {
    if (here.notes.fragment_at != 0) return ip_error::repeated_fragment;
    here.notes.fragment_at = static_cast<std::uint16_t>(here.at);
    here.notes.fragment_link = static_cast<std::uint16_t>(here.link);
    read_fragment(header, at);
  } else if (const ip_error error = read_options(here, here.at + size, header.destination);
             error != ip_error::none) {
    return error;
  }
  here.pass(size);
  return ip_error::none;
}

/// Whether the transport's header, as far as this stack knows its length, ends in these bytes.
bool transport_whole(const cursor& here) noexcept {
  const std::size_t left = here.bytes.size() - here.at;
  switch (static_cast<ip_protocol>(here.next)) {
    case ip_protocol::tcp:
      return left >= 20 && left >= std::size_t{load8(here.bytes.data() + here.at + 12)} / 16 * 4;
    case ip_protocol::udp:
    case ip_protocol::icmp_v6:
      return left >= 8;
    default:
      return true;
  }
}

/// Walks what follows the fragment header of a first fragment, which must be there (RFC 7112).
ip_error check_first_fragment(cursor& here, const ip_header& header) noexcept {
  ip_header scratch = header;
  while (is_extension(here.next)) {
    const ip_error error = pass_extension(here, scratch);
    if (error == ip_error::bad_header_length) {
      return here.fault(ip_error::incomplete_chain, parameter_code::incomplete_chain, 0);
    }
    if (error != ip_error::none) return error;
  }
  if (transport_whole(here)) return ip_error::none;
  return here.fault(ip_error::incomplete_chain, parameter_code::incomplete_chain, 0);
}

ip_error read_chain(ip_header& header, cursor& here) noexcept {
  while (is_extension(here.next)) {
    const ip_error error = pass_extension(here, header);
    if (error != ip_error::none) return error;
    if (!header.is_fragment()) continue;
    leave_at(header, here);
    return header.fragment_offset == 0 ? check_first_fragment(here, header) : ip_error::none;
  }
  leave_at(header, here);
  return ip_error::none;
}

/// A payload length of zero before a hop-by-hop header promises a jumbo payload option.
ip_error refuse_jumbogram(const ip_header& header, cursor& here) noexcept {
  const std::size_t size = here.length();
  if (size != 0) {
    static_cast<void>(read_options(here, here.at + size, header.destination));
    if (here.notes.problem.owed) return ip_error::jumbogram;
  }
  return here.fault(ip_error::jumbogram, parameter_code::header_field, v6_length_at);
}

}  // namespace

ip_error read_v6(ip_header& header, std::span<const std::byte> packet,
                 chain_notes* notes) noexcept {
  if (packet.size() < v6_bytes) return ip_error::too_short;
  read_fixed(header, packet.data());
  if (header.total_length > packet.size()) return ip_error::bad_total_length;
  cursor here;
  here.next = load8(packet.data() + v6_next_at);
  ip_error error;
  if (header.total_length == v6_bytes && here.next == extension::hop_by_hop) {
    here.bytes = packet;
    error = refuse_jumbogram(header, here);
  } else {
    here.bytes = packet.first(header.total_length);
    error = read_chain(header, here);
  }
  if (notes != nullptr) *notes = here.notes;
  return error;
}

ip_error read_quoted_v6(ip_header& header, std::span<const std::byte> quote) noexcept {
  if (quote.size() < v6_bytes) return ip_error::too_short;
  read_fixed(header, quote.data());
  cursor here;
  here.next = load8(quote.data() + v6_next_at);
  here.bytes = quote.first(std::min(quote.size(), std::size_t{header.total_length}));
  while (is_extension(here.next) && here.passed < max_extension_headers) {
    const std::size_t size = here.length();
    if (size == 0) break;
    if (here.next == extension::fragment) read_fragment(header, here.bytes.data() + here.at);
    here.pass(size);
    if (header.fragment_offset != 0) break;
  }
  leave_at(header, here);
  return ip_error::none;
}

std::size_t emit_v6(std::span<std::byte> out, const ip_header& header) noexcept {
  const std::size_t size = ip_header_bytes(header);
  const bool fits = header.source.is_v6() && header.destination.is_v6() && out.size() >= size &&
                    header.total_length >= size && header.total_length <= v6_bytes + 0xffff &&
                    header.flow_label <= 0xfffff && header.fragment_offset % 8 == 0;
  if (!fits) return 0;
  std::byte* const at = out.data();
  const bool fragment = header.is_fragment();
  store32(at, 6U << 28 | std::uint32_t{header.tos} << 20 | header.flow_label);
  store16(at + v6_length_at, static_cast<std::uint16_t>(header.total_length - v6_bytes));
  store8(at + v6_next_at, fragment ? extension::fragment : header.protocol);
  store8(at + 7, header.ttl);
  std::memcpy(at + 8, header.source.bytes().data(), 16);
  std::memcpy(at + 24, header.destination.bytes().data(), 16);
  if (fragment) {
    store8(at + 40, header.protocol);
    store8(at + 41, 0);
    store16(at + 42, static_cast<std::uint16_t>(header.fragment_offset |
                                                (header.more_fragments ? v6_more_fragments : 0)));
    store32(at + 44, header.id);
  }
  return size;
}

}  // namespace runnel::wire
