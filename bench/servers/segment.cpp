#include "segment.hpp"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>

namespace bench {

namespace {

constexpr std::uint16_t mss = 1460;
constexpr std::uint8_t window_scale = 7;

/// The sum of an even number of bytes.
std::uint64_t sum_of(const std::byte* at, std::size_t size) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < size; i += 2) sum += load<std::uint16_t>(at + i);
  return sum;
}

/// The options that are asked for, with timestamps of zero; how many bytes they have.
std::size_t write_options(std::byte* at, prepared_segment::options which) {
  const auto put = [&](std::initializer_list<int> values) {
    for (const int value : values) *at++ = static_cast<std::byte>(value);
    return values.size();
  };
  constexpr int high = mss >> 8;
  constexpr int low = mss & 0xff;
  switch (which) {
    case prepared_segment::options::none:
      return 0;
    case prepared_segment::options::mss:
      return put({2, 4, high, low});
    case prepared_segment::options::timestamps:
      return put({1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0});
    case prepared_segment::options::all:
      return put({2, 4, high, low, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, window_scale});
  }
  return 0;
}

}  // namespace

prepared_segment::prepared_segment(in_addr address, std::uint16_t port, std::uint8_t flags,
                                   options which, std::string_view payload) {
  std::byte* packet = bytes_.data() + vnet_bytes;
  const std::size_t header = 20 + write_options(packet + 40, which);
  if (vnet_bytes + 20 + header + payload.size() + 1 > bytes_.size()) {
    throw std::length_error("an answer is too long to be prepared");
  }
  if (which == options::timestamps) timestamps_at_ = 44;
  if (which == options::all) timestamps_at_ = 48;
  size_ = 20 + header + payload.size();
  std::transform(payload.begin(), payload.end(), packet + 20 + header,
                 [](char each) { return static_cast<std::byte>(each); });

  // Virtio 1.2 section 5.1.6, in the machine's byte order as TUN devices have it: the checksum is
  // needed, begins here and lies there. The C header of this cannot be read as C++.
  store(bytes_.data(), std::uint8_t{1});
  store(bytes_.data() + 6, std::uint16_t{20});
  store(bytes_.data() + 8, std::uint16_t{16});

  store(packet, std::uint8_t{0x45});
  store(packet + 2, htons(static_cast<std::uint16_t>(size_)));
  store(packet + 6, htons(0x4000));  // not to be fragmented, so that it needs no identification
  store(packet + 8, std::uint8_t{64});
  store(packet + 9, std::uint8_t{IPPROTO_TCP});
  store(packet + 12, address.s_addr);
  store(packet + 20, htons(port));
  store(packet + 32, static_cast<std::uint8_t>(header / 4 << 4));
  store(packet + 33, flags);
  store(packet + 34, std::uint16_t{0xffff});

  ip_sum_ = sum_of(packet, 20);
  pseudo_sum_ = std::uint64_t{address.s_addr} + htons(IPPROTO_TCP) +
                htons(static_cast<std::uint16_t>(size_ - 20));
  // The byte behind an odd payload is zero.
  tcp_sum_ = pseudo_sum_ + sum_of(packet + 20, (size_ - 20 + 1) / 2 * 2);
}

}  // namespace bench
