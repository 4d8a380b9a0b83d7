#pragma once

#include <cstdint>

#include "buffer_pool.hpp"
#include "receive_queue.hpp"
#include "runnel/tcp/engine/sequence.hpp"

namespace runnel::tcp::detail {

/// Segments that arrived ahead of a hole, without overlap: runs of bytes without a hole, in a
/// search tree (a treap) by sequence number. Whatever order segments come in, storing one looks at
/// about as many runs as the logarithm of their number. Plain data: every call must be given the
/// same pool.
///
/// The tree needs no memory of its own: its nodes stand in the dead bytes at the front of each
/// run's first block, where the headers were.
class reassembly_queue {
 public:
  /// Blocks beyond this number are refused: a peer that sends every other byte must not make us
  /// hold without bound.
  static constexpr std::uint32_t piece_limit = 4096;

  bool empty() const noexcept { return root_ == nullptr; }
  /// Payload bytes held.
  std::uint32_t size() const noexcept { return size_; }
  std::uint32_t held_bytes() const noexcept { return held_; }
  /// Blocks held.
  std::uint32_t pieces() const noexcept { return pieces_; }

  enum class verdict : std::uint8_t { stored, duplicate, refused };
  /// Keeps what is new of the live bytes of `payload`, whose first has the number `seq`.
  verdict insert(buffer_pool& pool, sequence seq, net::packet payload) noexcept;
  /// Moves what follows on `next` without a hole into `into` and drops what is older. Returns how
  /// many bytes that were: fewer than there are when there is no memory for the rest; everything is
  /// dropped then.
  std::uint32_t take(buffer_pool& pool, sequence next, receive_queue& into) noexcept;
  void clear(buffer_pool& pool) noexcept;

 private:
  struct run;

  net::packet_buffer* last_at_or_before(buffer_pool& pool, sequence seq) const noexcept;
  net::packet_buffer* first_after(buffer_pool& pool, sequence seq) const noexcept;
  void link(net::packet_buffer* fresh) noexcept;
  void unlink(net::packet_buffer* gone) noexcept;
  void drop_run(buffer_pool& pool, net::packet_buffer* first) noexcept;
  void cut_against(buffer_pool& pool, sequence seq, net::packet& payload) noexcept;
  bool extend(buffer_pool& pool, net::packet_buffer* first, net::packet payload) noexcept;
  bool begin_run(buffer_pool& pool, sequence seq, net::packet payload) noexcept;
  void count(net::packet_buffer* block) noexcept;

  net::packet_buffer* root_ = nullptr;
  std::uint32_t pieces_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

}  // namespace runnel::tcp::detail
