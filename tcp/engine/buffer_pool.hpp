#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runnel/wire/packet.hpp"

namespace runnel::tcp::detail {

/// The memory behind a host's queues: a pool of its own, and the blocks of other pools, a link's
/// above all, that it keeps because bytes are unread in them. One limit holds for both together,
/// and for what the record of what is in flight takes.
class buffer_pool {
 public:
  /// `seed` feeds `random`.
  buffer_pool(std::size_t limit_bytes, std::uint64_t seed) noexcept
      : own_(limit_bytes), limit_(limit_bytes), pressure_(limit_bytes / 3 * 2), random_(seed | 1) {}

  /// As `packet_pool` says, within the limit.
  [[nodiscard]] net::packet allocate(std::size_t bytes) noexcept {
    net::packet block = own_.allocate(bytes);
    if (used_bytes() > limit_) [[unlikely]]
      block = {};
    return block;
  }
  [[nodiscard]] net::packet copy_of(std::span<const std::byte> content) noexcept {
    net::packet copy = own_.copy_of(content);
    if (used_bytes() > limit_) [[unlikely]]
      copy = {};
    return copy;
  }
  /// The largest block up to the one that `bytes` ask for: where only small blocks are left, many
  /// of them serve.
  [[nodiscard]] net::packet allocate_some(std::size_t bytes) noexcept {
    net::packet block =
        allocate(std::min<std::size_t>(bytes, net::packet_pool::block_bytes.back()));
    for (std::size_t i = net::packet_pool::block_bytes.size(); !block && i-- > 0;) {
      if (net::packet_pool::block_bytes[i] < bytes)
        block = allocate(net::packet_pool::block_bytes[i]);
    }
    return block;
  }

  /// Counts a block that a queue takes in.
  void keep(const net::packet_buffer& block) noexcept {
    if (block.pool != &own_) kept_ += block.truesize();
  }
  /// Gives back a block that `keep` counted.
  void drop(net::packet_buffer* block) noexcept { static_cast<void>(hand_over(block)); }

  /// A block that `keep` counted, as a packet that it does not count any more.
  [[nodiscard]] net::packet hand_over(net::packet_buffer* block) noexcept {
    if (block->pool != &own_) kept_ -= block->truesize();
    return net::packet::adopt(block);
  }

  /// Counts memory that is no block but is held by a queue, and counts it no more.
  void hold(std::size_t bytes) noexcept { kept_ += bytes; }
  void let_go(std::size_t bytes) noexcept { kept_ -= bytes; }
  /// Whether the block is one of the pool's own, which are counted while anybody holds them.
  bool owns(const net::packet_buffer& block) const noexcept { return block.pool == &own_; }

  /// Whether bytes should stay in the block they came in: it is ours alone, they fill a good part
  /// of it, and where it came from there are plenty.
  bool worth_keeping(const net::packet_buffer& block) const noexcept {
    return block.references == 1 && std::size_t{block.size()} * 4 >= block.truesize() &&
           (block.pool == &own_ || (!block.pool->scarce() && has_room(block.truesize())));
  }

  /// Counts memory of other kinds that queues need, which was taken already: to let a connection go
  /// on it may go beyond the limit.
  void charge(std::size_t bytes) noexcept { charged_ += bytes; }
  void refund(std::size_t bytes) noexcept { charged_ -= bytes; }
  std::size_t charged_bytes() const noexcept { return charged_; }

  /// Blocks in use, kept ones of others included.
  std::size_t buffer_bytes() const noexcept { return own_.used_bytes() + kept_; }
  /// Everything that is in use.
  std::size_t used_bytes() const noexcept { return buffer_bytes() + charged_; }
  /// Of these, blocks of others.
  std::size_t kept_bytes() const noexcept { return kept_; }
  std::size_t limit_bytes() const noexcept { return limit_; }
  /// Beyond this much in use memory is short: two thirds of the limit, as with Linux's tcp_mem.
  std::size_t pressure_bytes() const noexcept { return pressure_; }
  bool has_room(std::size_t bytes) const noexcept { return used_bytes() + bytes <= limit_; }
  /// What may still be used.
  std::size_t room() const noexcept { return limit_ - std::min(limit_, used_bytes()); }

  /// A number that a peer cannot foresee (xorshift64*).
  std::uint32_t random() noexcept {
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return static_cast<std::uint32_t>(random_ * 0x2545f4914f6cdd1dU >> 32);
  }

  /// Runs that reassembly has looked at so far, so that its cost can be told.
  std::uint64_t reassembly_steps = 0;

 private:
  net::packet_pool own_;
  std::size_t limit_;
  std::size_t pressure_;
  std::size_t kept_ = 0;
  std::size_t charged_ = 0;
  std::uint64_t random_;
};

}  // namespace runnel::tcp::detail
