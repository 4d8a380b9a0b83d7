#pragma once

#include <runnel/net/detail/link_decorator.hpp>
#include <runnel/result.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace runnel::net {

/// How a capture is written.
struct pcap_options {
  /// Bytes of each packet that are kept; 0 for all.
  std::uint32_t snap_bytes = 0;
  /// Bytes that are gathered before they are written; at least 128 KiB are used.
  std::size_t buffer_bytes = std::size_t{256} << 10;
  /// How long bytes may wait in the buffer while the link's user keeps calling it.
  duration flush_interval = std::chrono::seconds{1};
  /// The moment, in nanoseconds since 1970, that `time_point{}` stands for in the file. Empty: the
  /// wall clock's for a loop on the real kernel; midnight UTC of 1 January 2020 for virtual time
  /// and before the link is attached, so that the same run gives the same bytes.
  std::optional<std::uint64_t> epoch_ns{};
  /// Said in the file's head.
  std::string comment{};
};

/// What a capture has done.
struct pcap_counters {
  /// Packets that are in the file or on the way there.
  std::uint64_t packets = 0;
  /// Packets that are not, because writing failed.
  std::uint64_t dropped = 0;
  /// Bytes written to the file.
  std::uint64_t bytes = 0;
  /// How often writing failed: 0 or 1, as it is given up then.
  std::uint64_t errors = 0;
};

/// A link that writes every packet which passes it to a pcapng file that Wireshark reads: link type
/// RAW, time stamps in nanoseconds, the direction of each packet.
///
/// It never disturbs the traffic: packets go to a buffer of fixed size, which is written to the
/// page cache when it is full, when `flush_interval` has passed, and at the end. When writing
/// fails, say on a full disk, it is given up: the file keeps what was written before and stays
/// readable, and the error is counted.
///
/// What is captured is what the inner link gives and takes: wrapped around `impair` it sees what
/// the stack sees, wrapped in it what the network sees. A checksum that the kernel is still to
/// complete is complete in the file, and a super-segment is one long packet, as in tcpdump's. The
/// inner link must outlive it.
class pcap final : public detail::link_decorator {
 public:
  /// Creates the file `path`, or empties it. Gives an errno value when that fails, and
  /// `std::errc::not_supported` for a FIFO or socket, whose slow reader would stop the loop.
  static result<std::unique_ptr<pcap>> open(link& inner, const std::string& path,
                                            const pcap_options& options = {});
  ~pcap() override;

  /// Writes what is in the buffer.
  void flush() noexcept;
  /// What it did so far.
  const pcap_counters& captured() const noexcept;
  /// Why writing was given up; zero while it was not.
  std::error_code error() const noexcept;

  std::size_t receive(time_point now, std::span<packet> out) noexcept override;
  send_status send(time_point now, const tx_packet& packet) noexcept override;
  time_point deadline() const noexcept override;
  void attach(loop& owner, link_client& client) override;

 private:
  class writer;

  pcap(link& inner, std::unique_ptr<writer> to, const pcap_options& options) noexcept;
  void record(time_point now, const tx_packet& what, bool inbound) noexcept;
  void flush_if_due(time_point now) noexcept;

  std::unique_ptr<writer> writer_;
  duration flush_interval_;
  bool fixed_epoch_;
  std::uint64_t epoch_ns_;
  time_point flush_at_ = time_point::max();
};

}  // namespace runnel::net
