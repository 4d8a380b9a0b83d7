#pragma once

#include <runnel/wire/bytes.hpp>

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace runnel::net {

/// The address families that a value can name. The numbers are those of the IP version field.
enum class family : std::uint8_t { unspecified = 0, v4 = 4, v6 = 6 };

/// How the zones of scoped literals are called (RFC 4007 section 11.2). The pure layers know of no
/// interfaces and are told; `net::system_zones` asks the kernel.
struct zone_names {
  /// The zone that is called so; 0 when none is.
  std::uint32_t (*zone_of)(std::string_view name) noexcept;
  /// What a zone is called; empty when it has no name.
  std::string (*name_of)(std::uint32_t zone);
};

/// An IPv4 or IPv6 address as a plain value of 24 bytes, in network byte order.
///
/// An IPv4 address occupies the first four bytes; the rest is zero, so that equality and hashing
/// never look at the family first. `scope_id` is the zone of a link-local IPv6 address (RFC 4007)
/// and zero otherwise.
class address {
 public:
  /// No address: `unspecified()` family, not equal to 0.0.0.0 or to `::`.
  constexpr address() noexcept = default;

  /// An IPv4 address as a literal, "10.77.0.2", which is read by the compiler: anything else does
  /// not compile. For text that is known only at run time there is `parse`.
  template <std::size_t Size>
  consteval address(const char (&dotted)[Size]) : address(from_dotted({dotted, Size - 1})) {}

  /// 0.0.0.0 or `::`, which a listener takes for "any of mine".
  static constexpr address any(net::family of) noexcept { return address{0, 0, 0, of}; }
  /// From four bytes in network order.
  static constexpr address v4(std::uint8_t a, std::uint8_t b, std::uint8_t c,
                              std::uint8_t d) noexcept {
    return v4(std::uint32_t{a} << 24 | std::uint32_t{b} << 16 | std::uint32_t{c} << 8 | d);
  }
  /// From the number that a.b.c.d denotes, in host order.
  static constexpr address v4(std::uint32_t host_order) noexcept {
    return address{wire::network_order(std::uint64_t{host_order} << 32), 0, 0, net::family::v4};
  }
  /// From sixteen bytes in network order.
  static constexpr address v6(std::span<const std::uint8_t, 16> bytes,
                              std::uint32_t scope_id = 0) noexcept {
    std::array<std::uint8_t, 16> copy{};
    for (std::size_t i = 0; i < 16; ++i) copy[i] = bytes[i];
    const auto words = std::bit_cast<std::array<std::uint64_t, 2>>(copy);
    return address{words[0], words[1], scope_id, net::family::v6};
  }
  /// Reads "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1" (RFC 4291 section 2.2) or "fe80::1%3" (a
  /// numeric zone); nothing else is an address.
  static std::optional<address> parse(std::string_view text) noexcept;
  /// The same, and "fe80::1%eth0". A zone that is a number is not looked up.
  static std::optional<address> parse(std::string_view text, const zone_names& zones) noexcept;

  /// Its family; `unspecified` for no address.
  constexpr net::family family() const noexcept { return static_cast<net::family>(family_); }
  /// Whether it is an IPv4 address.
  constexpr bool is_v4() const noexcept { return family() == net::family::v4; }
  /// Whether it is an IPv6 address, an IPv4-mapped one included.
  constexpr bool is_v6() const noexcept { return family() == net::family::v6; }
  /// Its zone, an interface index (sin6_scope_id); 0 for none.
  constexpr std::uint32_t scope_id() const noexcept { return scope_id_; }
  /// The same address in no zone, as it is on the wire.
  constexpr address without_zone() const noexcept { return {first_, second_, 0, family()}; }
  /// The address's four or sixteen bytes, in network order; empty when there is no address.
  std::span<const std::uint8_t> bytes() const noexcept {
    const std::size_t size = is_v4() ? 4 : is_v6() ? 16 : 0;
    return {reinterpret_cast<const std::uint8_t*>(this), size};
  }
  /// The number that an IPv4 address denotes, in host order. Only for IPv4.
  constexpr std::uint32_t to_v4_number() const noexcept {
    return static_cast<std::uint32_t>(wire::network_order(first_) >> 32);
  }

  /// 0.0.0.0 or `::`.
  bool is_any() const noexcept;
  /// 127.0.0.0/8 or `::1`.
  bool is_loopback() const noexcept;
  /// 224.0.0.0/4 or ff00::/8.
  bool is_multicast() const noexcept;
  /// 255.255.255.255; IPv6 has none.
  bool is_limited_broadcast() const noexcept;
  /// 169.254.0.0/16 or fe80::/10.
  bool is_link_local() const noexcept;
  /// ::ffff:0:0/96, an IPv4 address in IPv6's clothes (RFC 4291 section 2.5.5.2). None should be on
  /// the wire.
  bool is_v4_mapped() const noexcept;

  /// Dotted decimal, or RFC 5952 with the number of the zone where there is one, "fe80::1%3"; "-"
  /// when there is no address.
  std::string to_string() const;
  /// The same with the zone's name, "fe80::1%eth0", where it has one.
  std::string to_string(const zone_names& zones) const;

  friend constexpr bool operator==(const address&, const address&) noexcept = default;
  /// By the bytes in network order, so that the addresses of a prefix lie together.
  friend constexpr std::strong_ordering operator<=>(const address& left,
                                                    const address& right) noexcept {
    if (left.first_ != right.first_) {
      return wire::network_order(left.first_) <=> wire::network_order(right.first_);
    }
    if (left.second_ != right.second_) {
      return wire::network_order(left.second_) <=> wire::network_order(right.second_);
    }
    if (left.scope_id_ != right.scope_id_) return left.scope_id_ <=> right.scope_id_;
    return left.family_ <=> right.family_;
  }

 private:
  constexpr address(std::uint64_t first, std::uint64_t second, std::uint32_t scope_id,
                    net::family family) noexcept
      : first_(first),
        second_(second),
        scope_id_(scope_id),
        family_(static_cast<std::uint32_t>(family)) {}

  // What it throws is never caught: it is how a constant expression says no.
  static consteval address from_dotted(std::string_view text) {
    std::uint32_t number = 0;
    std::uint32_t part = 0;
    std::size_t digits = 0;
    int dots = 0;
    for (const char c : text) {
      if (c == '.' && digits > 0 && ++dots <= 3) {
        number = number << 8 | part;
        part = 0;
        digits = 0;
      } else if (c >= '0' && c <= '9' && ++digits <= 3) {
        part = part * 10 + static_cast<std::uint32_t>(c - '0');
      } else {
        throw "an IPv4 address is four numbers with dots between them";
      }
      if (part > 255) throw "each number of an IPv4 address is at most 255";
    }
    if (dots != 3 || digits == 0) throw "an IPv4 address has four numbers";
    return v4(number << 8 | part);
  }

  // The bytes in network order, as the numbers that they are to this machine, and no padding: an
  // address is made, copied and compared in registers. Written as bytes it would stall the load
  // that copies it.
  std::uint64_t first_ = 0;
  std::uint64_t second_ = 0;
  std::uint32_t scope_id_ = 0;
  std::uint32_t family_ = 0;
};

static_assert(sizeof(address) == 24);
static_assert(std::is_standard_layout_v<address>);

/// An address and a port (host order).
struct endpoint {
  /// The address; none may stand for any, as whoever takes the endpoint says.
  net::address address{};
  /// The port; 0 may stand for any.
  std::uint16_t port = 0;

  /// Reads "10.0.0.1:80", "[2001:db8::1]:80" or "[fe80::1%3]:80": brackets for IPv6 and only for it
  /// (RFC 5952 section 6).
  static std::optional<endpoint> parse(std::string_view text) noexcept;
  /// The same, and "[fe80::1%eth0]:80".
  static std::optional<endpoint> parse(std::string_view text, const zone_names& zones) noexcept;
  /// "10.0.0.1:80" or "[2001:db8::1]:80".
  std::string to_string() const;
  /// The same with the zone's name where it has one.
  std::string to_string(const zone_names& zones) const;

  friend constexpr bool operator==(const endpoint&, const endpoint&) noexcept = default;
  friend constexpr auto operator<=>(const endpoint&, const endpoint&) noexcept = default;
};

/// An address with the length of its network prefix, as in "10.77.0.1/24".
struct prefix {
  /// An address of the network, with its host bits as they were given.
  net::address address{};
  /// How many bits of it name the network: up to 32, or 128.
  std::uint8_t length = 0;

  /// Reads "10.77.0.1/24"; without a slash the prefix is the whole address.
  static std::optional<prefix> parse(std::string_view text) noexcept;
  /// Whether `other` is of the same family and shares the first `length` bits.
  bool contains(const net::address& other) const noexcept;
  /// "10.77.0.1/24", as `parse` reads it.
  std::string to_string() const;

  friend constexpr bool operator==(const prefix&, const prefix&) noexcept = default;
};

}  // namespace runnel::net

template <>
struct std::hash<runnel::net::address> {
  std::size_t operator()(const runnel::net::address& value) const noexcept {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    const auto bytes = value.bytes();
    std::memcpy(&low, bytes.data(), bytes.size() < 8 ? bytes.size() : 8);
    if (bytes.size() > 8) std::memcpy(&high, bytes.data() + 8, 8);
    return static_cast<std::size_t>((low ^ (high * 0x9e3779b97f4a7c15ULL)) * 0xff51afd7ed558ccdULL);
  }
};
