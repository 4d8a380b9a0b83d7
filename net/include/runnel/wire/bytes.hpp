#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace runnel::wire {

static_assert(std::endian::native == std::endian::little ||
              std::endian::native == std::endian::big);

/// Between the machine's byte order and the network's; its own inverse.
constexpr std::uint16_t network_order(std::uint16_t value) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap16(value) : value;
}
/// Between the machine's byte order and the network's; its own inverse.
constexpr std::uint32_t network_order(std::uint32_t value) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap32(value) : value;
}
/// Between the machine's byte order and the network's; its own inverse.
constexpr std::uint64_t network_order(std::uint64_t value) noexcept {
  return std::endian::native == std::endian::little ? __builtin_bswap64(value) : value;
}

/// The byte at `from` as a number.
inline std::uint8_t load8(const std::byte* from) noexcept {
  return std::to_integer<std::uint8_t>(*from);
}
/// The big-endian number in two bytes, which need no alignment.
inline std::uint16_t load16(const std::byte* from) noexcept {
  std::uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return network_order(value);
}
/// The big-endian number in four bytes, which need no alignment.
inline std::uint32_t load32(const std::byte* from) noexcept {
  std::uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return network_order(value);
}

/// Writes one byte.
inline void store8(std::byte* to, std::uint8_t value) noexcept {
  *to = std::byte{value};
}
/// Writes two bytes, big-endian; they need no alignment.
inline void store16(std::byte* to, std::uint16_t value) noexcept {
  value = network_order(value);
  std::memcpy(to, &value, sizeof value);
}
/// Writes four bytes, big-endian; they need no alignment.
inline void store32(std::byte* to, std::uint32_t value) noexcept {
  value = network_order(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace runnel::wire
