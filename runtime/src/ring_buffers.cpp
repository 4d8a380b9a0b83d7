#include "ring_buffers.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

namespace runnel::detail {
namespace {

constexpr unsigned most_buffers = 1u << 15;

std::size_t shown_size(unsigned count) noexcept {
  return std::size_t{count} * sizeof(io_uring_buf);
}

}  // namespace

std::shared_ptr<ring_buffers> ring_buffers::make(io_uring& ring, unsigned count,
                                                 std::uint32_t size) {
  if (count == 0 || size == 0) return nullptr;
  count = std::bit_ceil(std::min(count, most_buffers));
  std::shared_ptr<ring_buffers> made;
  try {
    made = std::make_shared<ring_buffers>(count, size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  if (made->shown_ == nullptr) return nullptr;
  io_uring_buf_reg description{};
  description.ring_addr = reinterpret_cast<std::uintptr_t>(made->shown_);
  description.ring_entries = count;
  description.bgid = group;
  if (io_uring_register_buf_ring(&ring, &description, 0) != 0) return nullptr;
  for (unsigned id = 0; id < count; ++id) made->place(static_cast<std::uint16_t>(id), id);
  io_uring_buf_ring_advance(made->shown_, static_cast<int>(count));
  made->open_ = true;
  return made;
}

ring_buffers::ring_buffers(unsigned count, std::uint32_t size) : receive_buffers(count, size) {
  void* const pages = ::mmap(nullptr, shown_size(count), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return;
  shown_ = static_cast<io_uring_buf_ring*>(pages);
  io_uring_buf_ring_init(shown_);
}

ring_buffers::~ring_buffers() {
  if (shown_ != nullptr) ::munmap(shown_, shown_size(count()));
}

void ring_buffers::place(std::uint16_t id, unsigned position) noexcept {
  io_uring_buf_ring_add(shown_, data(id), size(), id, io_uring_buf_ring_mask(count()),
                        static_cast<int>(position));
}

void ring_buffers::offer(std::uint16_t id) noexcept {
  if (!open_) return;
  place(id, 0);
  io_uring_buf_ring_advance(shown_, 1);
}

}  // namespace runnel::detail
