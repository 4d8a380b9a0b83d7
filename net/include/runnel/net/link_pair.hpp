#pragma once

#include <runnel/net/link.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace runnel::net {

/// How an in-process link is made.
struct link_pair_options {
  /// The largest packet, header included; a larger one is dropped.
  std::uint32_t mtu = 1500;
  /// Packets that may be under way in each direction before `send` says `would_block`.
  std::size_t queue_packets = 1024;
  /// How long a packet is under way.
  duration latency{0};
  /// What the pool that both ends share may take from the system.
  std::size_t pool_bytes = std::size_t{256} << 20;
};

/// Two links that are each other's far end, in one thread: a network between two stacks of one
/// process, without a device. Sending copies the packet once. It loses, changes and reorders
/// nothing; wrap an end in `impair` for that. No offloads: checksums are complete and are verified.
///
/// Both ends may be attached to one loop, or to none and driven by hand. They must not outlive the
/// pair.
class link_pair {
 public:
  /// Both ends, attached to nothing.
  explicit link_pair(const link_pair_options& options = {});
  ~link_pair();
  link_pair(const link_pair&) = delete;
  link_pair& operator=(const link_pair&) = delete;

  /// One end.
  link& first() noexcept;
  /// The other end.
  link& second() noexcept;
  /// Breaks the link: both clients hear `on_link_error` with `std::errc::no_such_device`, sending
  /// says `gone`, and what was under way is lost. For tests of a device that is deleted.
  void sever() noexcept;

 private:
  class end;
  struct state;

  std::unique_ptr<state> state_;
};

}  // namespace runnel::net
