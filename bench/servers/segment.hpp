#pragma once

#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "runnel/wire/tcp.hpp"

/// TCP segments over IPv4 at their least: what a segment says is read where it lies, and answers
/// are prepared packets in which a few fields and their part of the checksums are exchanged.
namespace bench {

/// Numbers are read and written as they lie in the packet; big-endian ones go through ntohl.
template <typename Number>
Number load(const std::byte* at) noexcept {
  Number out;
  std::memcpy(&out, at, sizeof out);
  return out;
}

template <typename Number>
void store(std::byte* at, Number value) noexcept {
  std::memcpy(at, &value, sizeof value);
}

/// The Internet checksum's sum may be taken in any byte order, as long as it is one (RFC 1071).
inline std::uint16_t fold(std::uint64_t sum) noexcept {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return static_cast<std::uint16_t>((sum >> 16) + (sum & 0xffff));
}

namespace flag = runnel::wire::tcp_flag;

/// A TCP segment in a packet without IP options.
class segment_view {
 public:
  /// False when it is no such packet.
  bool read(const std::byte* packet, std::size_t size) noexcept {
    if (size < 40 || load<std::uint8_t>(packet) != 0x45 ||
        load<std::uint8_t>(packet + 9) != IPPROTO_TCP) {
      return false;
    }
    packet_ = packet;
    header_ = std::size_t{load<std::uint8_t>(packet + 32)} >> 4 << 2;
    const std::size_t total = ntohs(load<std::uint16_t>(packet + 2));
    if (header_ < 20 || total > size || total < 20 + header_) return false;
    length_ = total - 20 - header_;
    return true;
  }

  // As they lie in the packet:
  std::uint32_t source_address() const noexcept { return load<std::uint32_t>(packet_ + 12); }
  std::uint32_t destination_address() const noexcept { return load<std::uint32_t>(packet_ + 16); }
  std::uint16_t source_port() const noexcept { return load<std::uint16_t>(packet_ + 20); }
  std::uint16_t destination_port() const noexcept { return load<std::uint16_t>(packet_ + 22); }
  /// The acknowledgement number.
  std::uint32_t raw_ack() const noexcept { return load<std::uint32_t>(packet_ + 28); }

  // As numbers:
  std::uint32_t seq() const noexcept { return ntohl(load<std::uint32_t>(packet_ + 24)); }
  std::uint32_t ack() const noexcept { return ntohl(raw_ack()); }
  std::uint8_t flags() const noexcept { return load<std::uint8_t>(packet_ + 33); }
  std::uint32_t length() const noexcept { return static_cast<std::uint32_t>(length_); }
  std::string_view payload() const noexcept {
    return {reinterpret_cast<const char*>(packet_ + 20 + header_), length_};
  }

  /// Whether its options begin as Linux writes them on all segments but a SYN: timestamps alone or
  /// in front.
  bool has_timestamps() const noexcept {
    return header_ >= 32 && load<std::uint32_t>(packet_ + 40) == htonl(0x0101'080a);
  }
  /// Whether it is a SYN with the options that Linux offers, in its order: the segment size,
  /// selective acknowledgements, timestamps and window scale.
  bool offers_all() const noexcept {
    const std::byte* options = packet_ + 40;
    return header_ == 40 && load<std::uint16_t>(options) == htons(0x0204) &&
           load<std::uint32_t>(options + 4) == htonl(0x0402'080a) &&
           load<std::uint16_t>(options + 16) == htons(0x0103);
  }
  /// The sender's timestamp, as it lies in the packet.
  std::uint32_t raw_timestamp(bool in_syn) const noexcept {
    return load<std::uint32_t>(packet_ + (in_syn ? 48 : 44));
  }

 private:
  const std::byte* packet_ = nullptr;
  std::size_t header_ = 0;
  std::size_t length_ = 0;
};

/// A packet that is ready but for whom it goes to, its numbers and its timestamps.
class prepared_segment {
 public:
  /// The virtio-net header that lies in front of each, whether it is sent or not.
  static constexpr std::size_t vnet_bytes = 10;

  enum class options { none, mss, timestamps, all };

  prepared_segment(in_addr address, std::uint16_t port, std::uint8_t flags, options which,
                   std::string_view payload);

  /// Fills in the rest; numbers and timestamps as they lie in the packet. With `partial` the
  /// device completes the TCP checksum.
  void fill(const segment_view& to, std::uint32_t raw_seq, std::uint32_t raw_ack,
            std::uint32_t raw_timestamp, std::uint32_t raw_echo, bool partial) noexcept {
    std::byte* packet = bytes_.data() + vnet_bytes;
    const std::uint64_t address = to.source_address();
    const std::uint16_t port = to.source_port();
    store(packet + 16, to.source_address());
    store(packet + 10, static_cast<std::uint16_t>(~fold(ip_sum_ + address)));
    store(packet + 22, port);
    store(packet + 24, raw_seq);
    store(packet + 28, raw_ack);
    std::uint64_t sum = tcp_sum_ + address + port + raw_seq + raw_ack;
    if (timestamps_at_ != 0) {
      store(packet + timestamps_at_, raw_timestamp);
      store(packet + timestamps_at_ + 4, raw_echo);
      sum += std::uint64_t{raw_timestamp} + raw_echo;
    }
    store(packet + 36,
          partial ? fold(pseudo_sum_ + address) : static_cast<std::uint16_t>(~fold(sum)));
  }

  const std::byte* packet() const noexcept { return bytes_.data() + vnet_bytes; }
  std::size_t size() const noexcept { return size_; }
  const std::byte* with_vnet() const noexcept { return bytes_.data(); }
  std::size_t size_with_vnet() const noexcept { return size_ + vnet_bytes; }

 private:
  std::array<std::byte, 512> bytes_{};
  std::size_t size_ = 0;
  /// Where the timestamps lie; 0 when there are none.
  std::size_t timestamps_at_ = 0;
  std::uint64_t ip_sum_ = 0;
  std::uint64_t tcp_sum_ = 0;
  std::uint64_t pseudo_sum_ = 0;
};

}  // namespace bench
