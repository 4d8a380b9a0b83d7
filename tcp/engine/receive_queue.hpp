#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runnel/tcp/engine/sequence.hpp"
#include "runnel/wire/packet.hpp"

namespace runnel::tcp::detail {

/// Payloads up to this long are copied into blocks that fit them, longer ones stay in the packet
/// they came in: a short one would hold far more memory than it brings.
inline constexpr std::uint32_t copy_threshold_bytes = 512;

/// Received bytes in order, waiting for the application. Plain data, as `send_queue` is.
class receive_queue {
 public:
  std::uint32_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  std::uint32_t held_bytes() const noexcept { return held_; }

  /// Appends the live bytes of `payload`, taking the packet over or copying out of it; false when
  /// there is no memory for the copy.
  bool append(net::packet_pool& pool, net::packet payload) noexcept;
  /// Copies bytes out and drops them.
  std::size_t read(std::span<std::byte> into) noexcept;
  /// Copies everything into blocks that are full, which gives back what sparse packets hold, unless
  /// that is less than a block. Returns whether anything was gained.
  bool collapse(net::packet_pool& pool) noexcept;
  void clear() noexcept;

 private:
  void push(net::packet_buffer* block) noexcept;
  bool copy_in(net::packet_pool& pool, std::span<const std::byte> bytes) noexcept;

  net::packet_buffer* head_ = nullptr;
  net::packet_buffer* tail_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

/// Segments that arrived ahead of a hole, by sequence number, without overlap. Plain data.
class reassembly_queue {
 public:
  /// More pieces than this are refused: a peer that sends every other byte must not make us walk or
  /// hold without bound.
  static constexpr std::uint32_t piece_limit = 4096;

  bool empty() const noexcept { return head_ == nullptr; }
  /// Payload bytes held.
  std::uint32_t size() const noexcept { return size_; }
  std::uint32_t held_bytes() const noexcept { return held_; }

  enum class verdict : std::uint8_t { stored, duplicate, refused };
  /// Keeps what is new of the live bytes of `payload`, whose first has the number `seq`.
  verdict insert(net::packet_pool& pool, sequence seq, net::packet payload) noexcept;
  /// Takes the first piece out when it begins at or before `next`, trimmed to begin there; empty
  /// when there is still a hole.
  net::packet pop(sequence next) noexcept;
  void clear() noexcept;

 private:
  net::packet_buffer* head_ = nullptr;
  net::packet_buffer* tail_ = nullptr;
  std::uint32_t pieces_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t held_ = 0;
};

}  // namespace runnel::tcp::detail
