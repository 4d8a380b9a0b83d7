#pragma once

#include "runnel/net/pcap.hpp"

#include <string_view>
#include <vector>

namespace runnel::net {

/// Lays out pcapng blocks (draft-ietf-opsawg-pcapng) in a bounded buffer and writes it to a
/// descriptor without ever waiting.
class pcap::writer {
 public:
  writer(int fd, const pcap_options& options);
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;
  ~writer();

  void add_head(std::string_view comment, std::string_view link_name);
  /// False when it is not captured.
  bool add_packet(std::uint64_t time_ns, const tx_packet& what, bool inbound) noexcept;
  void flush() noexcept;

  bool pending() const noexcept { return used_ != 0; }
  std::error_code error() const noexcept { return error_; }
  const pcap_counters& counters() const noexcept { return counters_; }

 private:
  template <class Number>
  void put(Number value) noexcept {
    put_bytes(std::as_bytes(std::span(&value, 1)));
  }
  void put_bytes(std::span<const std::byte> bytes) noexcept;
  void pad() noexcept;
  void put_option(std::uint16_t code, std::span<const std::byte> value) noexcept;
  void begin_block(std::uint32_t type) noexcept;
  void end_block() noexcept;
  bool make_room(std::size_t bytes) noexcept;
  void give_up(int error) noexcept;

  int fd_;
  std::uint32_t snap_bytes_;
  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;
  std::size_t block_start_ = 0;
  std::uint64_t packets_in_buffer_ = 0;
  std::error_code error_;
  pcap_counters counters_;
};

}  // namespace runnel::net
