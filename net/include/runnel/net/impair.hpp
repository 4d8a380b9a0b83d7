#pragma once

#include <runnel/net/detail/link_decorator.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace runnel::net {

/// What happens to the packets of one direction. Probabilities go from 0 to 1 and are drawn for
/// each packet on its own; nothing happens by default.
struct impairment {
  /// The packet is lost.
  double loss = 0;
  /// The packet comes twice.
  double duplicate = 0;
  /// One bit of the packet is flipped, anywhere in it. Not in packets whose checksum is still
  /// `partial`, as nobody could notice.
  double corrupt = 0;
  /// The packet comes later than those sent after it.
  double reorder = 0;
  /// How much later a reordered packet comes than it would have.
  duration reorder_delay = std::chrono::milliseconds{1};
  /// How long every packet is under way.
  duration delay{0};
  /// Up to how much longer, evenly drawn. It does not change the order.
  duration jitter{0};
  /// Bytes per second that get through; 0 for no limit.
  std::uint64_t rate = 0;
  /// How many packets are held at once, whether they wait for the rate or are under way; further
  /// ones are lost.
  std::size_t queue_packets = 1000;
};

/// How a link is impaired.
struct impair_options {
  /// The same seed, packets and times give the same fate to each packet.
  std::uint64_t seed = 1;
  /// What is sent.
  impairment outgoing{};
  /// What is received.
  impairment incoming{};
};

/// What was done to the packets of one direction.
struct impair_counters {
  /// Packets that came to be impaired.
  std::uint64_t packets = 0;
  /// Of these, lost by `impairment`.
  std::uint64_t lost = 0;
  /// Of these, sent on twice.
  std::uint64_t duplicated = 0;
  /// Of these, sent on with a bit turned over.
  std::uint64_t corrupted = 0;
  /// Of these, overtaken by later ones.
  std::uint64_t reordered = 0;
  /// Lost because the queue was full, or because there was no memory for a copy.
  std::uint64_t overflowed = 0;

  friend constexpr bool operator==(const impair_counters&,
                                   const impair_counters&) noexcept = default;
};

/// A link made worse: loses, doubles, damages, reorders, delays and slows the packets of another
/// one, reproducibly. It offers no offloads and disables those of the inner link, so that every
/// packet has its checksum and is one segment: to lose a super-segment would be to lose dozens of
/// packets at once. A lost packet counts as sent.
///
/// The inner link must outlive it, and nobody else may use that link. Direction that is not
/// impaired costs one comparison per packet; an impaired one copies each sent packet once.
class impair final : public detail::link_decorator {
 public:
  /// Throws `std::invalid_argument` naming the field that is out of range.
  explicit impair(link& inner, const impair_options& options = {});
  ~impair() override;

  /// Changes what happens to packets from now on; those under way keep their fate. Throws as the
  /// constructor.
  void set_outgoing(const impairment& what);
  /// As `set_outgoing`.
  void set_incoming(const impairment& what);

  /// What was done to sent packets.
  const impair_counters& outgoing() const noexcept;
  /// What was done to received packets.
  const impair_counters& incoming() const noexcept;

  const link_info& info() const noexcept override { return info_; }
  std::size_t receive(time_point now, std::span<packet> out) noexcept override;
  send_status send(time_point now, const tx_packet& packet) noexcept override;
  time_point deadline() const noexcept override;

 private:
  class lane;

  void on_link_ready() noexcept override;
  void on_link_error(std::error_code why) noexcept override;
  void push_out(time_point now) noexcept;
  std::size_t receive_plain(time_point now, std::span<packet> out) noexcept;
  bool pull_in(time_point now, std::size_t wanted) noexcept;

  link_info info_;
  std::unique_ptr<lane> outgoing_;
  std::unique_ptr<lane> incoming_;
  /// The inner link had no room: its word is awaited before it is tried again.
  bool stuck_ = false;
  bool gone_ = false;
};

}  // namespace runnel::net
