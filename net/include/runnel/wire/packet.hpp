#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace runnel::net {

class packet_pool;

/// What is known about a packet's transport checksum.
enum class checksum_state : std::uint8_t {
  /// Received: nobody looked at it. To send: it is complete in the header.
  unverified,
  /// Received: someone trustworthy found it right.
  verified,
  /// The field holds the pseudo-header's sum only; the bytes from `checksum_start` are still to be
  /// summed into the field at `checksum_start + checksum_offset`. On receive that means the packet
  /// never left this machine and its bytes are as they were written.
  partial,
};

/// The facts that travel beside a packet when a link leaves work undone (the virtio-net header says
/// the same things). All zero means an ordinary packet.
struct packet_offload {
  /// What is known of the transport checksum, or left to be done for it.
  checksum_state checksum = checksum_state::unverified;
  /// Payload bytes of each segment to cut a super-segment into; 0 when it is one segment.
  std::uint16_t gso_size = 0;
  /// Where the checksummed bytes start, from the first byte of the IP header.
  std::uint16_t checksum_start = 0;
  /// Where the checksum field lies, from `checksum_start`.
  std::uint16_t checksum_offset = 0;

  friend constexpr bool operator==(const packet_offload&, const packet_offload&) noexcept = default;
};

/// The head of a pooled block of memory; the bytes follow it. Users hold it through `packet`.
///
/// `next` and `tag` are at the disposal of whoever holds the packet in a queue, so that a queue of
/// packets costs no memory of its own.
struct packet_buffer {
  /// The next one in the holder's queue.
  packet_buffer* next;
  /// Where the block goes back to.
  packet_pool* pool;
  /// A number of the holder's.
  std::uint64_t tag;
  /// How many packets share the block.
  std::uint32_t references;
  /// Bytes in the block.
  std::uint32_t capacity;
  /// Where the live bytes begin in it.
  std::uint32_t begin;
  /// Where they end.
  std::uint32_t end;
  /// What a link left undone, or may leave.
  packet_offload offload{};
  /// Which of the pool's sizes it is of.
  std::uint8_t size_class;

  /// The first byte of the block.
  std::byte* storage() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  /// The same, to look at.
  const std::byte* storage() const noexcept { return reinterpret_cast<const std::byte*>(this + 1); }
  /// How many bytes are live.
  std::uint32_t size() const noexcept { return end - begin; }
  /// What the block costs, bookkeeping included: this, not the payload, is what budgets count.
  std::uint32_t truesize() const noexcept {
    return capacity + static_cast<std::uint32_t>(sizeof(packet_buffer));
  }
};

/// An owned, counted reference to a pooled buffer. Copying shares the bytes; none of it is
/// synchronised: a pool and its packets belong to one thread, and no packet may outlive its pool.
class packet {
 public:
  /// No buffer; only assignment, destruction and the test for one are allowed.
  packet() noexcept = default;
  /// Shares the bytes: a count, no copy.
  packet(const packet& other) noexcept : buffer_(other.buffer_) {
    if (buffer_ != nullptr) ++buffer_->references;
  }
  packet(packet&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  packet& operator=(packet other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~packet() {
    if (buffer_ != nullptr) release(buffer_);
  }

  /// Takes over a reference that `detach` gave away.
  static packet adopt(packet_buffer* buffer) noexcept {
    packet result;
    result.buffer_ = buffer;
    return result;
  }
  /// Gives the reference away, to be held in an intrusive queue.
  packet_buffer* detach() noexcept { return std::exchange(buffer_, nullptr); }

  /// Whether there is a buffer.
  explicit operator bool() const noexcept { return buffer_ != nullptr; }
  /// The head of the buffer.
  packet_buffer* operator->() const noexcept { return buffer_; }
  /// The same, or null.
  packet_buffer* get() const noexcept { return buffer_; }

  /// The live bytes.
  std::span<std::byte> bytes() const noexcept {
    return {buffer_->storage() + buffer_->begin, buffer_->size()};
  }
  /// The whole block, for filling it; `resize` then says how much was filled.
  std::span<std::byte> room() const noexcept { return {buffer_->storage(), buffer_->capacity}; }
  /// Makes the first `size` bytes of the block the live ones.
  void resize(std::size_t size) const noexcept {
    buffer_->begin = 0;
    buffer_->end = static_cast<std::uint32_t>(size);
  }
  /// How many bytes are live.
  std::size_t size() const noexcept { return buffer_->size(); }

 private:
  friend class packet_pool;
  static void release(packet_buffer* buffer) noexcept;

  packet_buffer* buffer_ = nullptr;
};

/// Where packets come from: free lists by size class, filled from slabs, never shrinking below what
/// was used at the peak. Allocation and release are a few instructions and no system call.
class packet_pool {
 public:
  /// The block sizes. The middle one holds a packet of an ordinary MTU, the last a super-segment.
  static constexpr std::array<std::uint32_t, 4> block_bytes{512, 2048, 16384, 65536 + 512};

  /// `limit_bytes` bounds what the pool takes from the system, bookkeeping included.
  explicit packet_pool(std::size_t limit_bytes = std::size_t{256} << 20) noexcept;
  packet_pool(const packet_pool&) = delete;
  packet_pool& operator=(const packet_pool&) = delete;
  /// Every packet must have been released.
  ~packet_pool();

  /// A packet whose block holds at least `bytes`; empty when the limit is reached, the system has
  /// no memory, or `bytes` exceeds the largest block. No bytes are live in it.
  [[nodiscard]] packet allocate(std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes);
    packet_buffer* buffer = size_class < free_.size() ? free_[size_class] : nullptr;
    if (buffer == nullptr) [[unlikely]] {
      buffer = refill(size_class);
      if (buffer == nullptr) return {};
    }
    free_[buffer->size_class] = buffer->next;
    used_bytes_ += buffer->truesize();
    buffer->next = nullptr;
    buffer->tag = 0;
    buffer->references = 1;
    buffer->begin = 0;
    buffer->end = 0;
    buffer->offload = {};
    return packet::adopt(buffer);
  }
  /// A packet with a copy of `content`; empty as `allocate` says.
  [[nodiscard]] packet copy_of(std::span<const std::byte> content) noexcept;

  /// Blocks in use, in bytes with bookkeeping.
  std::size_t used_bytes() const noexcept { return used_bytes_; }
  /// What was taken from the system.
  std::size_t held_bytes() const noexcept { return held_bytes_; }
  /// What may be taken from it.
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }
  /// More than half of what the pool may ever have is in use: who can copy should, rather than
  /// keep.
  bool scarce() const noexcept { return used_bytes_ > limit_bytes_ / 2; }
  /// What a packet of `allocate(bytes)` costs while a block of its size is to be had.
  static constexpr std::size_t truesize_for(std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes);
    return (size_class < block_bytes.size() ? block_bytes[size_class] : bytes) +
           sizeof(packet_buffer);
  }

 private:
  friend class packet;
  struct slab;

  /// The smallest class that holds `bytes`; one past the last when none does.
  static constexpr std::size_t class_of(std::size_t bytes) noexcept {
    std::size_t size_class = 0;
    while (size_class < block_bytes.size() && bytes > block_bytes[size_class]) ++size_class;
    return size_class;
  }
  /// The head of a free list of this class, or of a larger one when the limit is reached.
  packet_buffer* refill(std::size_t size_class) noexcept;
  bool grow(std::size_t size_class) noexcept;

  std::array<packet_buffer*, block_bytes.size()> free_{};
  slab* slabs_ = nullptr;
  std::size_t limit_bytes_;
  std::size_t used_bytes_ = 0;
  std::size_t held_bytes_ = 0;
};

inline void packet::release(packet_buffer* buffer) noexcept {
  if (--buffer->references != 0) return;
  packet_pool& pool = *buffer->pool;
  pool.used_bytes_ -= buffer->truesize();
  buffer->next = pool.free_[buffer->size_class];
  pool.free_[buffer->size_class] = buffer;
}

/// One packet on its way out, as an engine hands it to a link: pieces in order, the first of which
/// begins with the IP header. The pieces belong to whoever produced them and are valid until that
/// producer is called again.
struct tx_packet {
  /// The bytes in order; the first piece begins with the IP header.
  std::span<const std::span<const std::byte>> pieces{};
  /// The bytes of all pieces.
  std::uint32_t size = 0;
  /// What the link is to do about checksum and segments.
  packet_offload offload{};
};

}  // namespace runnel::net
