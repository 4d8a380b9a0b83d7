#include "runnel/wire/address.hpp"

#include <algorithm>
#include <charconv>

namespace runnel::net {
namespace {

constexpr std::size_t group_count = 8;
using groups = std::array<std::uint16_t, group_count>;

/// A decimal number without sign, blanks or superfluous zeros, all of `text`.
std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t largest) noexcept {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end || value > largest) return std::nullopt;
  return value;
}

std::optional<std::uint32_t> parse_v4(std::string_view text) noexcept {
  std::uint32_t number = 0;
  for (int i = 0; i < 4; ++i) {
    const std::size_t dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return std::nullopt;
    const auto part = parse_decimal(text.substr(0, dot), 255);
    if (!part) return std::nullopt;
    number = number << 8 | *part;
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return number;
}

std::optional<std::uint16_t> parse_group(std::string_view text) noexcept {
  if (text.empty() || text.size() > 4) return std::nullopt;
  std::uint16_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, 16);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

/// Reads groups separated by colons, the last two of which may be written as an IPv4 address.
/// Returns how many were stored, or nothing when the text is something else.
std::optional<std::size_t> parse_groups(std::string_view text, bool v4_tail, groups& out) noexcept {
  std::size_t count = 0;
  if (text.empty()) return count;
  for (;;) {
    if (count == group_count) return std::nullopt;
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos && v4_tail && text.find('.') != std::string_view::npos) {
      const auto number = parse_v4(text);
      if (!number || count > group_count - 2) return std::nullopt;
      out[count++] = static_cast<std::uint16_t>(*number >> 16);
      out[count++] = static_cast<std::uint16_t>(*number);
      return count;
    }
    const auto group = parse_group(text.substr(0, colon));
    if (!group) return std::nullopt;
    out[count++] = *group;
    if (colon == std::string_view::npos) return count;
    text.remove_prefix(colon + 1);
  }
}

std::optional<groups> parse_v6(std::string_view text) noexcept {
  groups head{};
  const std::size_t gap = text.find("::");
  if (gap == std::string_view::npos) {
    const auto count = parse_groups(text, true, head);
    if (!count || *count != group_count) return std::nullopt;
    return head;
  }
  groups tail{};
  const auto before = parse_groups(text.substr(0, gap), false, head);
  const auto after = parse_groups(text.substr(gap + 2), true, tail);
  if (!before || !after || *before + *after >= group_count) return std::nullopt;
  std::copy_n(tail.begin(), *after, head.end() - static_cast<std::ptrdiff_t>(*after));
  return head;
}

template <class Number>
char* print_number(char* out, Number value, int base) noexcept {
  return std::to_chars(out, out + 10, value, base).ptr;
}

char* print_v4(char* out, std::span<const std::uint8_t> bytes) noexcept {
  for (std::size_t i = 0; i < 4; ++i) {
    if (i != 0) *out++ = '.';
    out = print_number(out, bytes[i], 10);
  }
  return out;
}

/// The longest run of at least two zero groups, the first of equals: RFC 5952 section 4.2.
std::pair<std::size_t, std::size_t> longest_zeros(const groups& value) noexcept {
  std::size_t best = 0;
  std::size_t best_length = 1;
  for (std::size_t i = 0; i < group_count; ++i) {
    std::size_t end = i;
    while (end < group_count && value[end] == 0) ++end;
    if (end - i > best_length) {
      best = i;
      best_length = end - i;
    }
    i = std::max(i, end);
  }
  return {best, best_length > 1 ? best_length : 0};
}

char* print_v6(char* out, std::span<const std::uint8_t> bytes) noexcept {
  groups value;
  for (std::size_t i = 0; i < group_count; ++i) {
    value[i] = static_cast<std::uint16_t>(bytes[2 * i] << 8 | bytes[2 * i + 1]);
  }
  const bool mapped = std::all_of(value.begin(), value.begin() + 5,
                                  [](std::uint16_t group) { return group == 0; }) &&
                      value[5] == 0xffff;
  const std::size_t stop = mapped ? 6 : group_count;
  const auto [gap, length] = longest_zeros(value);
  for (std::size_t i = 0; i < stop; ++i) {
    if (length != 0 && i == gap) {
      *out++ = ':';
      *out++ = ':';
      i += length - 1;
      continue;
    }
    if (i != 0 && (length == 0 || i != gap + length)) *out++ = ':';
    out = print_number(out, value[i], 16);
  }
  if (mapped) {
    *out++ = ':';
    out = print_v4(out, bytes.subspan(12));
  }
  return out;
}

std::optional<std::uint32_t> parse_zone(std::string_view text, const zone_names* zones) noexcept {
  if (const auto number = parse_decimal(text, 0xffffffff)) return number;
  if (text.empty() || zones == nullptr) return std::nullopt;
  const std::uint32_t zone = zones->zone_of(text);
  if (zone == 0) return std::nullopt;
  return zone;
}

std::optional<address> parse_address(std::string_view text, const zone_names* zones) noexcept {
  if (text.find(':') == std::string_view::npos) {
    const auto number = parse_v4(text);
    if (!number) return std::nullopt;
    return address::v4(*number);
  }
  std::uint32_t zone = 0;
  const std::size_t percent = text.find('%');
  const auto value = parse_v6(text.substr(0, percent));
  if (!value) return std::nullopt;
  if (percent != std::string_view::npos) {
    const auto named = parse_zone(text.substr(percent + 1), zones);
    if (!named) return std::nullopt;
    zone = *named;
  }
  std::array<std::uint8_t, 16> bytes;
  for (std::size_t i = 0; i < group_count; ++i) {
    bytes[2 * i] = static_cast<std::uint8_t>((*value)[i] >> 8);
    bytes[2 * i + 1] = static_cast<std::uint8_t>((*value)[i]);
  }
  return address::v6(bytes, zone);
}

std::optional<endpoint> parse_endpoint(std::string_view text, const zone_names* zones) noexcept {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto where = parse_address(host, zones);
  const auto port = parse_decimal(text.substr(colon + 1), 0xffff);
  if (!where || !port || where->is_v6() != bracketed) return std::nullopt;
  return endpoint{*where, static_cast<std::uint16_t>(*port)};
}

std::string with_port(const std::string& host, bool bracketed, std::uint16_t port) {
  const std::string digits = std::to_string(port);
  return bracketed ? "[" + host + "]:" + digits : host + ":" + digits;
}

}  // namespace

std::optional<address> address::parse(std::string_view text) noexcept {
  return parse_address(text, nullptr);
}

std::optional<address> address::parse(std::string_view text, const zone_names& zones) noexcept {
  return parse_address(text, &zones);
}

bool address::is_any() const noexcept {
  return family() != net::family::unspecified && first_ == 0 && second_ == 0;
}

bool address::is_loopback() const noexcept {
  if (is_v4()) return bytes()[0] == 127;
  return is_v6() && first_ == 0 && wire::network_order(second_) == 1;
}

bool address::is_multicast() const noexcept {
  return is_v4() ? (bytes()[0] & 0xf0) == 0xe0 : is_v6() && bytes()[0] == 0xff;
}

bool address::is_limited_broadcast() const noexcept {
  return is_v4() && to_v4_number() == 0xffffffff;
}

bool address::is_link_local() const noexcept {
  const auto raw = bytes();
  if (is_v4()) return raw[0] == 169 && raw[1] == 254;
  return is_v6() && raw[0] == 0xfe && (raw[1] & 0xc0) == 0x80;
}

bool address::is_v4_mapped() const noexcept {
  return is_v6() && first_ == 0 && wire::network_order(second_) >> 32 == 0xffff;
}

std::string address::to_string() const {
  std::array<char, 64> text;
  char* out = text.data();
  if (is_v4()) {
    out = print_v4(out, bytes());
  } else if (is_v6()) {
    out = print_v6(out, bytes());
    if (scope_id_ != 0) {
      *out++ = '%';
      out = print_number(out, scope_id_, 10);
    }
  } else {
    *out++ = '-';
  }
  return {text.data(), out};
}

std::string address::to_string(const zone_names& zones) const {
  std::string name = scope_id_ != 0 ? zones.name_of(scope_id_) : std::string();
  if (name.empty()) return to_string();
  address bare = *this;
  bare.scope_id_ = 0;
  return bare.to_string() + "%" + name;
}

std::optional<endpoint> endpoint::parse(std::string_view text) noexcept {
  return parse_endpoint(text, nullptr);
}

std::optional<endpoint> endpoint::parse(std::string_view text, const zone_names& zones) noexcept {
  return parse_endpoint(text, &zones);
}

std::string endpoint::to_string() const {
  return with_port(address.to_string(), address.is_v6(), port);
}

std::string endpoint::to_string(const zone_names& zones) const {
  return with_port(address.to_string(zones), address.is_v6(), port);
}

std::optional<prefix> prefix::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  const auto where = net::address::parse(text.substr(0, slash));
  if (!where) return std::nullopt;
  const auto longest = static_cast<std::uint32_t>(where->bytes().size() * 8);
  if (slash == std::string_view::npos) return prefix{*where, static_cast<std::uint8_t>(longest)};
  const auto bits = parse_decimal(text.substr(slash + 1), longest);
  if (!bits) return std::nullopt;
  return prefix{*where, static_cast<std::uint8_t>(*bits)};
}

bool prefix::contains(const net::address& other) const noexcept {
  if (other.family() != address.family() || other.family() == family::unspecified) return false;
  const auto mine = address.bytes();
  const auto theirs = other.bytes();
  const std::size_t whole = std::min<std::size_t>(length / 8, mine.size());
  if (!std::equal(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(whole),
                  theirs.begin())) {
    return false;
  }
  if (whole == mine.size() || length % 8 == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - length % 8));
  return (mine[whole] & mask) == (theirs[whole] & mask);
}

std::string prefix::to_string() const {
  return address.to_string() + "/" + std::to_string(unsigned{length});
}

}  // namespace runnel::net
