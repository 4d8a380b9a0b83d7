#include "ring_sends.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace runnel::detail {

void ring_sends::call_off(operation& op) noexcept {
  if (op.where != operation::state::held) return;
  op.tagged_hook<operation_in_backend>::unlink();
  op.where = operation::state::finished;
  called_off_.push_back(op);
}

void ring_sends::finish_called_off(operation_pool& operations, loop_metrics& metrics) noexcept {
  while (!called_off_.empty()) {
    ++metrics.completions;
    operations.complete(called_off_.pop_front(), -ECANCELED);
  }
}

// With MSG_DONTWAIT the kernel is done with a send, and with its memory, when it has taken it out
// of the ring.
void ring_sends::hand_over(io_uring& ring, loop_metrics& metrics) noexcept {
  // No more than there is room for completions: for others the kernel would need memory.
  unsigned room =
      *ring.cq.kring_entries - std::min(*ring.cq.kring_entries, io_uring_cq_ready(&ring));
  for (; !held_.empty() && room > 0; --room) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (entry == nullptr) {
      ++metrics.enters;
      io_uring_submit(&ring);
      entry = io_uring_get_sqe(&ring);
      if (entry == nullptr) break;
    }
    operation& op = held_.pop_front();
    op.where = operation::state::submitted;
    ++outstanding_;
    io_uring_prep_send(entry, op.request.fd, op.request.from, op.request.length,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    io_uring_sqe_set_data(entry, &op);
  }
  ++metrics.enters;
  io_uring_submit_and_get_events(&ring);
  if (io_uring_sq_ready(&ring) > 0) take_back(ring);
}

// When memory is short the kernel leaves entries in the ring. Their users may be gone before the
// next time.
void ring_sends::take_back(io_uring& ring) noexcept {
  for (unsigned at = IO_URING_READ_ONCE(*ring.sq.khead); at != ring.sq.sqe_tail; ++at) {
    io_uring_sqe& entry = ring.sq.sqes[at & ring.sq.ring_mask];
    if (entry.opcode != IORING_OP_SEND) continue;
    auto& op = *reinterpret_cast<operation*>(static_cast<std::uintptr_t>(entry.user_data));
    --outstanding_;
    hold(op);
    io_uring_prep_nop(&entry);
    io_uring_sqe_set_data(&entry, nullptr);
  }
}

}  // namespace runnel::detail
