#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace runnel::detail {

/// Memory that the kernel receives into, shared by all connections of a loop: a connection that
/// waits holds none of it. The backend makes it, and whoever holds received bytes keeps it alive
/// beyond the loop.
class receive_buffers {
 public:
  receive_buffers(const receive_buffers&) = delete;
  receive_buffers& operator=(const receive_buffers&) = delete;
  virtual ~receive_buffers() = default;

  std::byte* data(std::uint16_t id) const noexcept {
    return memory_.get() + std::size_t{id} * size_;
  }
  /// How many are made, and how many the kernel has now.
  unsigned count() const noexcept { return static_cast<unsigned>(parts_.size()); }
  unsigned free() const noexcept { return free_; }
  /// The kernel took one.
  void taken() noexcept { --free_; }
  /// The kernel may fill it again.
  void give_back(std::uint16_t id) noexcept {
    ++free_;
    offer(id);
  }
  /// The kernel said that it does not know multishot receiving: nobody shall ask it again.
  void refuse() noexcept { refused_ = true; }
  /// Whether it is worth asking the kernel to receive into these: a few are free.
  bool usable() const noexcept { return !refused_ && free_ > parts_.size() / 8; }

 protected:
  receive_buffers(unsigned count, std::uint32_t size)
      : memory_(std::make_unique_for_overwrite<std::byte[]>(std::size_t{count} * size)),
        parts_(count),
        size_(size),
        free_(count) {}

  /// Shows buffer `id` to the kernel.
  virtual void offer(std::uint16_t id) noexcept = 0;
  std::uint32_t size() const noexcept { return size_; }

 private:
  friend class received_bytes;

  /// What of a lent buffer is unread, and which one follows it.
  struct part {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint16_t next = 0;
  };

  std::unique_ptr<std::byte[]> memory_;
  std::vector<part> parts_;
  std::uint32_t size_;
  unsigned free_;
  bool refused_ = false;
};

/// The bytes that arrived on one connection and nobody has read, in order, where the kernel put
/// them. It owns those buffers and gives each back once it is read, and the rest when it dies. No
/// allocation.
class received_bytes {
 public:
  received_bytes() noexcept = default;
  received_bytes(const received_bytes&) = delete;
  received_bytes& operator=(const received_bytes&) = delete;
  ~received_bytes() { clear(); }

  bool empty() const noexcept { return buffers_ == 0; }
  std::size_t size() const noexcept { return bytes_; }
  /// How many buffers it keeps from others.
  unsigned buffers() const noexcept { return buffers_; }

  /// Takes over buffer `id` with `length` bytes in it.
  void push(const std::shared_ptr<receive_buffers>& pool, std::uint16_t id,
            std::uint32_t length) noexcept;
  /// Moves as many as fit and gives their number.
  std::size_t take(std::span<std::byte> into) noexcept;
  void clear() noexcept;

 private:
  void pop() noexcept;

  std::shared_ptr<receive_buffers> pool_;
  std::size_t bytes_ = 0;
  unsigned buffers_ = 0;
  std::uint16_t first_ = 0;
  std::uint16_t last_ = 0;
};

}  // namespace runnel::detail
