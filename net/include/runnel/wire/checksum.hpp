#pragma once

#include <runnel/wire/address.hpp>
#include <runnel/wire/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace runnel::wire {

/// The Internet checksum (RFC 1071) of bytes that come in pieces.
///
/// The pieces may have odd lengths; their order is the order in the packet. Numbers are in host
/// order: what `value()` gives is stored with `store16`. Costs about one cycle per ten bytes.
class checksum {
 public:
  /// The sum of nothing.
  constexpr checksum() noexcept = default;
  /// Continues from what `sum()` gave after an even number of bytes, such as a pseudo-header's sum
  /// that a connection keeps.
  constexpr explicit checksum(std::uint16_t sum) noexcept : sum_(network_order(sum)) {}

  /// Adds the next bytes of the packet.
  void add(std::span<const std::byte> bytes) noexcept;
  /// Adds a 16-bit word, as if its two bytes had come at an even position.
  constexpr void add_word(std::uint16_t word) noexcept { sum_ += network_order(word); }
  /// The same for a 32-bit number.
  constexpr void add_number(std::uint32_t number) noexcept { sum_ += network_order(number); }
  /// Adds the pseudo-header of RFC 9293 section 3.1 or RFC 8200 section 8.1, whichever the
  /// addresses' family asks for. `length` counts the transport header and its payload.
  void add_pseudo_header(const net::address& source, const net::address& destination,
                         std::uint8_t protocol, std::uint32_t length) noexcept {
    add_address(source);
    add_address(destination);
    sum_ += network_order(std::uint32_t{protocol}) + std::uint64_t{network_order(length)};
  }

  /// The folded sum, not complemented: what the field of a packet with
  /// `checksum_state::partial` holds.
  constexpr std::uint16_t sum() const noexcept {
    std::uint64_t folded = sum_;
    folded = (folded >> 32) + (folded & 0xffffffff);
    folded = (folded >> 16) + (folded & 0xffff);
    folded = (folded >> 16) + (folded & 0xffff);
    folded = (folded >> 16) + (folded & 0xffff);
    return network_order(static_cast<std::uint16_t>(folded));
  }
  /// The checksum, to be stored in a field that was zero while it was summed.
  constexpr std::uint16_t value() const noexcept { return static_cast<std::uint16_t>(~sum()); }
  /// Whether what was summed, its checksum field included, is intact.
  constexpr bool intact() const noexcept { return sum() == 0xffff; }

 private:
  void add_address(const net::address& address) noexcept {
    if (address.is_v4()) return add_number(address.to_v4_number());
    std::uint32_t words[4] = {};
    std::memcpy(words, address.bytes().data(), address.bytes().size());
    for (const std::uint32_t word : words) sum_ += word;
  }

  /// Of words in the packet's byte order, unfolded: RFC 1071 section 2(B). Each piece adds less
  /// than 2^48, so that no packet overflows it.
  std::uint64_t sum_ = 0;
  bool odd_ = false;
};

/// The checksum of one run of bytes whose field is zero.
std::uint16_t checksum_of(std::span<const std::byte> bytes) noexcept;

/// The checksum of the same bytes after one 16-bit word at an even position changed
/// (RFC 1624 equation 3).
constexpr std::uint16_t update_checksum(std::uint16_t old_checksum, std::uint16_t old_word,
                                        std::uint16_t new_word) noexcept {
  checksum sum{static_cast<std::uint16_t>(~old_checksum)};
  sum.add_word(static_cast<std::uint16_t>(~old_word));
  sum.add_word(new_word);
  return sum.value();
}

/// The same for a 32-bit number at an even position.
constexpr std::uint16_t update_checksum32(std::uint16_t old_checksum, std::uint32_t old_number,
                                          std::uint32_t new_number) noexcept {
  const std::uint16_t half =
      update_checksum(old_checksum, static_cast<std::uint16_t>(old_number >> 16),
                      static_cast<std::uint16_t>(new_number >> 16));
  return update_checksum(half, static_cast<std::uint16_t>(old_number),
                         static_cast<std::uint16_t>(new_number));
}

}  // namespace runnel::wire
