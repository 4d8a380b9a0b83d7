#pragma once

#include <liburing.h>

#include <memory>

#include "runnel/detail/receive_buffers.hpp"

namespace runnel::detail {

/// Buffers that a ring's multishot receives take from (provided-buffer ring, Linux 5.19).
class ring_buffers final : public receive_buffers {
 public:
  /// The ring's only group.
  static constexpr unsigned short group = 1;

  /// Null where the kernel or the memory does not allow it. `count` is rounded up to a power of
  /// two.
  static std::shared_ptr<ring_buffers> make(io_uring& ring, unsigned count, std::uint32_t size);

  ring_buffers(unsigned count, std::uint32_t size);
  ~ring_buffers() override;

  /// The ring is gone: what comes back is shown to nobody any more.
  void part_from_ring() noexcept { open_ = false; }

 private:
  void offer(std::uint16_t id) noexcept override;
  void place(std::uint16_t id, unsigned position) noexcept;

  /// Shared with the kernel, on pages of its own.
  io_uring_buf_ring* shown_ = nullptr;
  bool open_ = false;
};

}  // namespace runnel::detail
