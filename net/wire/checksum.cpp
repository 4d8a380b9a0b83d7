#include "runnel/wire/checksum.hpp"

#include "runnel/wire/bytes.hpp"

namespace runnel::wire {
namespace {

/// Four 64-bit lanes, each of which gathers 32-bit words and so holds 2^32 of them before it could
/// overflow: a packet never has that many.
using lanes [[gnu::vector_size(32)]] = std::uint64_t;

template <class Number>
Number load_native(const std::byte* from) noexcept {
  Number value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// The sum of the bytes as 16-bit words of the machine's byte order, the last one padded with zero.
/// RFC 1071 section 2(B): the order does not matter until the result is stored.
std::uint64_t native_sum(const std::byte* at, std::size_t size) noexcept {
  std::uint64_t total = 0;
  // Setting up the lanes pays from here on.
  if (size >= 256) {
    lanes low{};
    lanes high{};
    for (; size >= 64; at += 64, size -= 64) {
      lanes first;
      lanes second;
      std::memcpy(&first, at, sizeof first);
      std::memcpy(&second, at + 32, sizeof second);
      low += (first & 0xffffffff) + (second & 0xffffffff);
      high += (first >> 32) + (second >> 32);
    }
    const lanes both = low + high;
    total = both[0] + both[1] + both[2] + both[3];
  }
  // Whole words with the carries counted beside them; 2^64 is 1 to the checksum.
  std::uint64_t words = 0;
  std::uint64_t carries = 0;
  for (; size >= 8; at += 8, size -= 8) {
    carries += __builtin_add_overflow(words, load_native<std::uint64_t>(at), &words) ? 1U : 0U;
  }
  total += (words & 0xffffffff) + (words >> 32) + carries;
  if (size >= 4) {
    total += load_native<std::uint32_t>(at);
    at += 4;
    size -= 4;
  }
  if (size >= 2) {
    total += load_native<std::uint16_t>(at);
    at += 2;
    size -= 2;
  }
  if (size != 0) {
    constexpr bool little = std::endian::native == std::endian::little;
    total += static_cast<std::uint64_t>(load8(at)) << (little ? 0 : 8);
  }
  return total;
}

}  // namespace

void checksum::add(std::span<const std::byte> bytes) noexcept {
  const std::uint64_t sum = native_sum(bytes.data(), bytes.size());
  if (odd_) [[unlikely]] {
    // A piece that starts at an odd position has its bytes in the other halves of the words.
    checksum piece;
    piece.sum_ = sum;
    sum_ += __builtin_bswap16(network_order(piece.sum()));
  } else {
    sum_ += sum;
  }
  odd_ ^= (bytes.size() & 1) != 0;
}

std::uint16_t checksum_of(std::span<const std::byte> bytes) noexcept {
  checksum sum;
  sum.add(bytes);
  return sum.value();
}

}  // namespace runnel::wire
