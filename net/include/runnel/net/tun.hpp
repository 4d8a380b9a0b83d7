#pragma once

#include <runnel/net/link.hpp>
#include <runnel/result.hpp>

#include <boost/assert/source_location.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace runnel::net {

/// What the kernel is to do of the work on packets, both ways: a checksum that has not left the
/// machine is neither computed nor looked at, and TCP hands over super-segments of up to 64 KB that
/// whoever puts them on a wire cuts. Nothing of it shows on the wire.
enum class tun_offload : std::uint8_t {
  /// As much as the kernel takes.
  automatic,
  /// Nothing: plain packets.
  off,
  /// Checksums.
  checksum,
  /// Checksums and cutting.
  segmentation,
};

/// How a TUN device is opened. A number of 0 and an empty address mean: leave it as it is.
struct tun_options {
  /// The device's name; "%d" in it lets the kernel choose a number for a new device.
  std::string name = "runnel%d";
  /// The host's own address on the device with its prefix length, as in "10.77.0.1/24": what lies
  /// in the prefix is routed to us. It may be of either family.
  std::string address{};
  /// The IPv6 address beside it where both families are wanted, as in "fd77::1/64". IPv6 needs an
  /// MTU of 1280 at least (RFC 8200 section 5).
  std::string address_v6{};
  /// The largest IP packet, in bytes.
  std::uint32_t mtu = 1500;
  /// How many packets the kernel keeps for us. The kernel's own default of 500 silently drops
  /// bursts.
  std::uint32_t queue_length = 10'000;
  /// Bring the device up.
  bool up = true;
  /// What the pool that received packets come from may take from the system, in bytes.
  std::size_t pool_bytes = std::size_t{256} << 20;
  /// Where a named level cannot be had `open` refuses; `automatic` takes the next one.
  tun_offload offload = tun_offload::automatic;
  /// The node to open; another one than the usual is for tests and unusual systems.
  std::string node = "/dev/net/tun";
};

/// Why a TUN device could not be opened.
class tun_error {
 public:
  /// No error.
  tun_error() noexcept = default;
  /// `sentence` is what `message()` gives.
  tun_error(std::error_code code, std::string sentence)
      : code_(code), sentence_(std::move(sentence)) {}

  /// The errno value behind it.
  std::error_code code() const noexcept { return code_; }
  /// One plain sentence: what is refused, and how to mend it.
  std::string message() const { return sentence_; }

 private:
  std::error_code code_;
  std::string sentence_;
};

/// What `result<tun, tun_error>::value()` throws when there is an error: a `startup_error` that
/// says the sentence.
[[noreturn]] void throw_exception_from_error(const tun_error& error,
                                             const boost::source_location& where);

/// What the kernel threw away at the device, as it counts it.
struct tun_drops {
  /// Packets for us that found the device's queue full: read faster or lengthen the queue.
  std::uint64_t to_us = 0;
  /// Packets of ours that the kernel did not take in.
  std::uint64_t from_us = 0;
};

/// A TUN device: IP packets to and from the kernel.
///
/// Reading is a burst of plain reads into pooled packets until the device is empty, then one poll
/// on the loop's ring. With offloads each read goes into one block that a super-segment of any
/// length fits: a large one is handed on in it, and a small packet is copied into a block of its
/// size, which is cheaper than to scatter every read. Writing is one write(2) or writev(2) per
/// packet. While the device is down
/// nothing arrives and `send` says `would_block`; the kernel reports the descriptor writable when
/// the device comes up again, which wakes the client. A deleted device is gone for good.
///
/// Move-only, but not while attached.
class tun final : public link {
 public:
  /// Opens the device of this name, creating it where there is none, and sets on it what is not yet
  /// as `options` wants. Blocks for some system calls. Nothing needs a privilege later, so they may
  /// be dropped.
  ///
  /// Creating a device and changing one need CAP_NET_ADMIN; opening one that root made for this
  /// user
  /// (`ip tuntap add dev NAME mode tun user USER`) and set up as wanted does not. A device that was
  /// created here disappears with the tun. `owner` must be a loop on the real kernel. A device that
  /// another program has is waited for up to a second: the kernel frees that of a killed one late.
  static boost::system::result<tun, tun_error> open(loop& owner, const tun_options& options = {});

  /// The most queues that the kernel gives one device.
  static constexpr std::uint32_t most_queues = 256;
  /// Opens so many queues of one device (IFF_MULTI_QUEUE), 1 to `most_queues`; 1 is what `open`
  /// does. Each is a link of its own, to be moved to its thread and attached to the loop there,
  /// which must be one on the real kernel; name, address, length of the queues and offloads are the
  /// device's, `pool_bytes` is each queue's. Otherwise as `open`.
  ///
  /// The kernel gives a packet to the queue by which a packet of the other direction of its flow
  /// was last written, if that was within some 3 s, and else to one that a hash of the flow says. A
  /// device that root makes for this needs the words `multi_queue` (ip tuntap add dev NAME mode tun
  /// multi_queue user USER); one with a single queue is refused, and so is the former by `open`.
  static boost::system::result<std::vector<tun>, tun_error> open_queues(
      std::uint32_t count, const tun_options& options = {});

  tun(tun&&) noexcept;
  tun& operator=(tun&&) noexcept;
  ~tun() override;

  const link_info& info() const noexcept override;
  std::size_t receive(time_point now, std::span<packet> out) noexcept override;
  send_status send(time_point now, const tx_packet& packet) noexcept override;
  send_status enqueue(time_point now, const tx_packet& packet) noexcept override;
  bool send_queued(time_point now) noexcept override;
  void attach(loop& owner, link_client& client) override;
  void detach() noexcept override;
  packet_pool& pool() noexcept override;
  link_counters counters() const noexcept override;
  void disable_offload() noexcept override;

  /// What was opened, for a log, as in "runnel0, MTU 1500: the kernel does checksums and cuts
  /// segments (TSO4 TSO6 ECN)".
  std::string description() const;

  /// Asks the kernel what it dropped at the device, at all queues together. Two system calls; errno
  /// values when it does not answer.
  result<tun_drops> drops() const;

 private:
  class device;

  explicit tun(std::unique_ptr<device> opened) noexcept;

  std::unique_ptr<device> device_;
};

}  // namespace runnel::net
