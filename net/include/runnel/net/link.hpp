#pragma once

#include <runnel/wire/packet.hpp>
#include <runnel/wire/time.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

namespace runnel {
class loop;
}

namespace runnel::net {

/// What whoever uses a link must know of it. Changes by `disable_offload` only.
struct link_info {
  /// The device's name, or what a log should call the link.
  std::string name{};
  /// The largest IP packet, header included, in bytes.
  std::uint32_t mtu = 1500;
  /// Whether `receive` gives super-segments where segments have come in one train.
  bool coalesces_rx = false;
  /// Whether `send` takes packets whose checksum is `checksum_state::partial`.
  bool checksum_offload_tx = false;
  /// Whether `receive` may give packets whose checksum is `verified` or `partial`.
  bool checksum_offload_rx = false;
  /// The most payload bytes of a super-segment that `send` takes; 0 when it takes none. With its
  /// headers it has never more than 65,535 bytes.
  std::uint32_t gso_max_bytes = 0;
};

/// What became of a packet given to a link.
enum class send_status : std::uint8_t {
  /// It is on its way.
  sent,
  /// There is no room now; offer it again after `link_client::on_link_ready`.
  would_block,
  /// It is lost, as packets may be, and counted. Offering it again would not help.
  dropped,
  /// The link is gone for good.
  gone,
};

/// What went through a link since it was opened. Plain counts; `rx` is towards us.
struct link_counters {
  /// Packets that `receive` gave.
  std::uint64_t rx_packets = 0;
  /// Their bytes, IP headers included.
  std::uint64_t rx_bytes = 0;
  /// Packets that arrived and were thrown away here: no memory in the pool, or too large.
  std::uint64_t rx_dropped = 0;
  /// Packets that arrived with offload facts that contradict them, and were thrown away here.
  std::uint64_t rx_bad_offload = 0;
  /// Packets that have left; one that waits for `send_queued` has not.
  std::uint64_t tx_packets = 0;
  /// Their bytes, IP headers included.
  std::uint64_t tx_bytes = 0;
  /// Packets that `send`, `enqueue` or `send_queued` has lost.
  std::uint64_t tx_dropped = 0;
  /// How often there was no room.
  std::uint64_t tx_blocked = 0;

  friend constexpr bool operator==(const link_counters&, const link_counters&) noexcept = default;
};

/// Who uses a link. Both calls come on the loop's thread, possibly from inside `receive` and `send`
/// of this or another link: they set flags, and call nothing.
class link_client {
 public:
  /// `receive` may have something, or `send` may succeed again.
  virtual void on_link_ready() noexcept = 0;
  /// The link is gone for good; said once.
  virtual void on_link_error(std::error_code why) noexcept = 0;

 protected:
  ~link_client() = default;
};

/// Something that carries IP packets, without a word about what is in them: a TUN device, one end
/// of an in-process pair, or a decorator around another link.
///
/// It belongs to one loop and its thread. Nothing in it blocks, and nothing allocates per packet.
class link {
 public:
  link() = default;
  virtual ~link() = default;

  /// What the link is.
  virtual const link_info& info() const noexcept = 0;

  /// Fills `out` from the front with packets that have arrived and returns how many. Fewer than
  /// `out.size()` means that nothing is left for now, and then an attached client hears
  /// `on_link_ready` when there is; as many as `out.size()` promises no call, so come again. Also
  /// to be called when `deadline()` has passed, which moves delayed packets in both directions.
  virtual std::size_t receive(time_point now, std::span<packet> out) noexcept = 0;

  /// Sends one packet. The pieces are copied or written before it returns.
  virtual send_status send(time_point now, const tx_packet& packet) noexcept = 0;
  /// As `send`, but the packet, which is copied, may wait for `send_queued`: a link whose sending
  /// costs a system call makes those of many packets one after another, with the caller's code out
  /// of the way. Order is kept between both. `sent` may then mean that it waits.
  virtual send_status enqueue(time_point now, const tx_packet& packet) noexcept {
    return send(now, packet);
  }
  /// Sends what waits. False when the link has no room and something still does: to be called again
  /// after `on_link_ready`.
  virtual bool send_queued(time_point now) noexcept {
    static_cast<void>(now);
    return true;
  }

  /// When a delayed packet is due, so that `receive` wants to be called; `max()` for never.
  virtual time_point deadline() const noexcept { return time_point::max(); }

  /// From now on only packets with whole checksums, one segment each, go and come: for who looks at
  /// them or decides their fate one by one. To be called before anybody has read `info`. What had
  /// arrived before may still be given with a partial checksum or as a super-segment.
  virtual void disable_offload() noexcept {}

  /// Connects the link to the loop that drives it and to the one client that uses it. Both must
  /// outlive the connection, and the link must not be moved while it lasts. A link that is gone
  /// already says so before this returns.
  virtual void attach(loop& owner, link_client& client) = 0;
  /// Ends the connection: no call comes any more. Harmless when there is none.
  virtual void detach() noexcept = 0;

  /// Where the packets of `receive` come from; it lives as long as the link.
  virtual packet_pool& pool() noexcept = 0;

  /// What went through so far.
  virtual link_counters counters() const noexcept = 0;

 protected:
  link(const link&) = default;
  link(link&&) = default;
  link& operator=(const link&) = default;
  link& operator=(link&&) = default;
};

}  // namespace runnel::net
