#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <utility>
#include <vector>

#include "backend.hpp"
#include "operation_pool.hpp"
#include "ring_buffers.hpp"
#include "ring_sends.hpp"
#include "ring_setup.hpp"
#include "runnel/detail/mailbox.hpp"
#include "runnel/loop.hpp"

namespace runnel::detail {
namespace {

// How many completions one turn takes; the rest stay in the ring for the next, but for those of
// sends and what lies before them.
constexpr unsigned completions_per_turn = 256;
// After so many turns without a system call the kernel is asked for completions anyway.
constexpr unsigned turns_without_enter = 32;
// How long a dying loop waits for the kernel to let go of what is in flight.
constexpr auto shutdown_patience = std::chrono::seconds{5};

// In the otherwise unused mode of a poll: it has to go on after an event that nobody asked for.
constexpr std::uint32_t polls_on = 1;

__kernel_timespec timespec_of(duration d) noexcept {
  auto whole = std::chrono::duration_cast<std::chrono::seconds>(d);
  return {.tv_sec = whole.count(), .tv_nsec = (d - whole).count()};
}

class ring_backend final : public backend {
 public:
  ring_backend(const loop_options& options, operation_pool& operations, loop_metrics& metrics)
      : operations_(&operations),
        metrics_(&metrics),
        buffers_wanted_(options.receive_buffers),
        buffer_size_(options.receive_buffer_size),
        batch_sends_from_(options.batch_sends_from) {
    using std::chrono::milliseconds;
    const auto idle = std::chrono::ceil<milliseconds>(options.sqpoll_idle).count();
    open_ring(setup_, options.ring_entries,
              static_cast<unsigned>(std::clamp<std::int64_t>(idle, 0, 3'600'000)));
  }
  ring_backend(const ring_backend&) = delete;
  ring_backend& operator=(const ring_backend&) = delete;

  ~ring_backend() override {
    for (operation* op = first_running(); op != nullptr; op = operations_->running().after(*op)) {
      const bool has_to_happen = op->request.kind == op_kind::close || op->reaps;
      if (!op->cancel_requested && !has_to_happen) {
        op->cancel_requested = true;
        cancel(*op);
      }
    }
    const time_point give_up = after(read_clock(), shutdown_patience);
    for (time_point now = read_clock(); operations_->in_flight() > 0 && now < give_up;
         now = read_clock()) {
      enter(now, give_up);
      reap();
    }
    // Others may sleep until told, also by the last turn.
    if (io_uring_sq_ready(&setup_.ring) > 0) io_uring_submit(&setup_.ring);
    if (ring_buffers_) {
      ring_buffers_->part_from_ring();
      // What the kernel would not let go of it may still write to: leaked rather than freed.
      if (operations_->in_flight() > 0) {
        static_cast<void>(new std::shared_ptr<receive_buffers>(buffers_));
      }
    }
    io_uring_queue_exit(&setup_.ring);
  }

  time_point read_clock() noexcept override {
    return std::chrono::time_point_cast<duration>(std::chrono::steady_clock::now());
  }

  void submit(operation& op) noexcept override {
    if (op.request.kind == op_kind::send) {
      sends_.hold(op);
      return;
    }
    // What waits already found no room in this turn, and to ask again costs a system call.
    io_uring_sqe* entry = backlog_ ? nullptr : free_entry();
    if (entry == nullptr) {
      op.where = operation::state::queued;
      backlog_ = true;
      return;
    }
    op.where = operation::state::submitted;
    op.result = 0;
    describe(*entry, op);
    io_uring_sqe_set_data(entry, &op);
  }

  void cancel(operation& op) noexcept override {
    if (op.request.kind == op_kind::send) {
      sends_.call_off(op);
      return;
    }
    // Of one that the kernel has not seen, reap() disposes.
    const bool unknown = op.where == operation::state::queued;
    io_uring_sqe* entry = unknown || backlog_ ? nullptr : free_entry();
    if (entry == nullptr) {
      backlog_ = true;
      op.cancel_queued = true;
      return;
    }
    op.cancel_queued = false;
    io_uring_prep_cancel(entry, &op, 0);
    io_uring_sqe_set_data(entry, nullptr);
    if ((setup_.ring.features & IORING_FEAT_CQE_SKIP) != 0) {
      entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
  }

  void reap() noexcept override {
    if (backlog_) settle_backlog();
    sends_.finish_called_off(*operations_, *metrics_);
    // All sends come to their ends in the turn after: a writer that gives up then knows how much
    // went.
    unsigned seen = 0;
    unsigned more = 0;
    do {
      more = reap_some();
      seen += more;
    } while (more > 0 && sends_.outstanding());
    busy_ = batch_sends_from_ > 0 && seen >= std::min(batch_sends_from_, completions_per_turn);
    // After its last completion was seen: the loop may sleep at the end of this very turn.
    if (watch_again_) poll_wake_fd();
  }

  bool enter(time_point now, time_point deadline) noexcept override {
    if (sends_.held()) {
      turns_skipped_ = 0;
      sends_.hand_over(setup_.ring, *metrics_);
      return true;
    }
    if (sends_.called_off()) deadline = now;
    // What the kernel has not been given cannot end a sleep.
    if (deadline <= now || backlog_ || watch_again_) {
      submit_without_waiting();
      return true;
    }
    if (deadline == time_point::max() && operations_->in_flight() == 0) {
      // Messages to other loops leave all the same.
      submit_without_waiting();
      return false;
    }
    turns_skipped_ = 0;
    ++metrics_->enters;
    ++metrics_->waits;
    // Errors other than "time is up" and "interrupted" leave the entries in the ring for the next
    // turn, which is what is wanted.
    if (deadline == time_point::max()) {
      io_uring_submit_and_wait(&setup_.ring, 1);
      return true;
    }
    __kernel_timespec timeout = timespec_of(deadline - now);
    io_uring_cqe* first = nullptr;
    io_uring_submit_and_wait_timeout(&setup_.ring, &first, 1, &timeout, nullptr);
    return true;
  }

  backend_kind kind() const noexcept override { return backend_kind::io_uring; }
  const std::shared_ptr<receive_buffers>& buffers() noexcept override {
    // Multishot receiving came one version after buffer rings, together with SINGLE_ISSUER.
    if (std::exchange(buffers_asked_for_, true) || !setup_.single_issuer) return buffers_;
    ring_buffers_ = ring_buffers::make(setup_.ring, buffers_wanted_, buffer_size_);
    buffers_ = ring_buffers_;
    return buffers_;
  }

  // A poller would look at the memory of a `send` when it likes, and older kernels also later.
  bool batches_sends() const noexcept override {
    return busy_ && setup_.single_issuer && (setup_.ring.flags & IORING_SETUP_SQPOLL) == 0;
  }

  bool has_received(const operation& op) noexcept override {
    unsigned head = 0;
    io_uring_cqe* entry = nullptr;
    io_uring_for_each_cqe(&setup_.ring, head, entry) {
      if (io_uring_cqe_get_data(entry) == &op && entry->res > 0) return true;
    }
    return false;
  }

  // It came with Linux 5.19, one version before SINGLE_ISSUER.
  bool accepts() const noexcept override { return setup_.single_issuer; }

  int watch_wakes(int wake_fd) noexcept override {
    wake_fd_ = wake_fd;
    poll_wake_fd();
    return 0;
  }

  int share_ring() noexcept override {
    if (!can_message()) return -1;
    return ::fcntl(setup_.ring.ring_fd, F_DUPFD_CLOEXEC, 0);
  }

  bool wake(mailbox& target) noexcept override {
    if (target.ring_fd() < 0 || !can_message() || !remember(target)) return false;
    io_uring_sqe* entry = free_entry();
    if (entry == nullptr) return false;
    io_uring_prep_msg_ring(entry, target.ring_fd(), 0, 0, 0);
    io_uring_sqe_set_data(entry, &peers_);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    return true;
  }

  std::string description() const override {
    std::string line = "io_uring backend: " + std::to_string(setup_.entries) + " entries, " +
                       setup_.flags + (setup_.fd_registered ? ", registered ring fd" : "");
    if (!setup_.refused.empty()) line += "; refused by this kernel: " + setup_.refused;
    return line;
  }

 private:
  /// How many there were.
  unsigned reap_some() noexcept {
    io_uring_cqe* entries[completions_per_turn];
    const unsigned count = io_uring_peek_batch_cqe(&setup_.ring, entries, completions_per_turn);
    for (unsigned i = 0; i < count; ++i) {
      void* subject = io_uring_cqe_get_data(entries[i]);
      // The completion of a cancel request, as its target's own is what counts; or another ring's
      // message, which has done its work by ending the sleep.
      if (subject == nullptr) continue;
      if (subject == &wake_fd_ || subject == &peers_) {
        on_wake_completion(subject, *entries[i]);
        continue;
      }
      ++metrics_->completions;
      auto& op = *static_cast<operation*>(subject);
      if (op.request.kind == op_kind::send) {
        sends_.completed();
        operations_->complete(op, entries[i]->res);
      } else if (op.request.kind == op_kind::receive) {
        settle_receive(op, *entries[i]);
      } else if (op.request.kind == op_kind::accept) {
        settle_accept(op, *entries[i]);
      } else if (op.request.kind == op_kind::poll) {
        settle_poll(op, *entries[i]);
      } else {
        operations_->complete(op, entries[i]->res);
      }
    }
    io_uring_cq_advance(&setup_.ring, count);
    return count;
  }

  operation* first_running() noexcept {
    return operations_->running().empty() ? nullptr : &operations_->running().front();
  }

  io_uring_sqe* free_entry() noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(&setup_.ring);
    if (entry != nullptr) return entry;
    ++metrics_->enters;
    io_uring_submit(&setup_.ring);
    // With SQPOLL the kernel's thread has yet to take what was submitted.
    io_uring_sqring_wait(&setup_.ring);
    return io_uring_get_sqe(&setup_.ring);
  }

  // With DEFER_TASKRUN completions appear only on an enter that asks for events; the kernel says in
  // the submission ring's flags when there are some.
  void submit_without_waiting() noexcept {
    if ((setup_.ring.flags & IORING_SETUP_SQPOLL) != 0) {
      submit_to_poller();
      return;
    }
    if (io_uring_sq_ready(&setup_.ring) == 0) {
      if (operations_->in_flight() == 0) return;
      bool flagged = (setup_.ring.flags & IORING_SETUP_TASKRUN_FLAG) != 0;
      unsigned pending =
          IO_URING_READ_ONCE(*setup_.ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
      if (flagged && pending == 0 && ++turns_skipped_ < turns_without_enter) return;
    }
    turns_skipped_ = 0;
    ++metrics_->enters;
    io_uring_submit_and_get_events(&setup_.ring);
  }

  // The kernel's thread looks by itself; it is called only when it sleeps, or when completions wait
  // for room.
  void submit_to_poller() noexcept {
    const bool overflowed =
        (IO_URING_READ_ONCE(*setup_.ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
    if (overflowed) {
      ++metrics_->enters;
      io_uring_submit_and_get_events(&setup_.ring);
    } else if (io_uring_sq_ready(&setup_.ring) > 0) {
      io_uring_submit(&setup_.ring);
    }
  }

  // The ring was full and would not take more, which the kernel allows when memory is short. The
  // first one that still finds no room sets the flag anew, and the others are not offered.
  void settle_backlog() noexcept {
    backlog_ = false;
    for (operation* op = first_running(); op != nullptr;) {
      operation* next = operations_->running().after(*op);
      if (op->where == operation::state::queued) {
        if (op->cancel_requested) {
          ++metrics_->completions;
          operations_->complete(*op, -ECANCELED);
        } else {
          submit(*op);
        }
      } else if (op->cancel_queued) {
        cancel(*op);
      }
      op = next;
    }
  }

  // The one place that knows whether a multishot operation goes on.
  void settle_receive(operation& op, const io_uring_cqe& entry) noexcept {
    if ((entry.flags & IORING_CQE_F_BUFFER) != 0) {
      const auto id = static_cast<std::uint16_t>(entry.flags >> IORING_CQE_BUFFER_SHIFT);
      operations_->progress(op, buffers_, id,
                            entry.res > 0 ? static_cast<std::uint32_t>(entry.res) : 0);
    }
    if ((entry.flags & IORING_CQE_F_MORE) != 0) return;
    if (entry.res == -ENOBUFS) ++metrics_->buffers_exhausted;
    if (entry.res == -EINVAL) buffers_->refuse();
    // With bytes it has only stopped, and may be started anew.
    operations_->complete(op, entry.res > 0 ? -EAGAIN : entry.res);
  }

  // The kernel adds POLLRDHUP to what is asked for, so the wait of one who does not care whether
  // the peer has ended its stream ends with nothing. It goes on as a multishot poll, which tells of
  // that once, and is called off when it has told of something.
  void settle_poll(operation& op, const io_uring_cqe& entry) noexcept {
    const unsigned wanted = op.request.flags | POLLERR | POLLHUP | POLLNVAL;
    const int told =
        entry.res > 0 ? static_cast<int>(static_cast<unsigned>(entry.res) & wanted) : entry.res;
    const bool for_nothing = entry.res > 0 && told == 0;
    if ((entry.flags & IORING_CQE_F_MORE) != 0) {
      if (for_nothing || op.result != 0) return;
      op.result = told;
      cancel(op);
      return;
    }
    if (op.result != 0) {
      operations_->complete(op, std::exchange(op.result, 0));
    } else if (!for_nothing) {
      operations_->complete(op, told);
    } else if (op.cancel_requested) {
      operations_->complete(op, -ECANCELED);
    } else {
      op.request.mode = polls_on;
      submit(op);
    }
  }

  // The same for connections.
  void settle_accept(operation& op, const io_uring_cqe& entry) noexcept {
    if (entry.res >= 0) operation_pool::accepted(op, entry.res);
    if ((entry.flags & IORING_CQE_F_MORE) != 0) return;
    // With a connection it has only stopped, and may be started anew.
    operations_->complete(op, entry.res >= 0 ? -EAGAIN : entry.res);
  }

  // A multishot poll posts one completion for each write and needs no reading.
  void poll_wake_fd() noexcept {
    io_uring_sqe* entry = free_entry();
    watch_again_ = entry == nullptr;
    if (watch_again_) return;
    io_uring_prep_poll_multishot(entry, wake_fd_, POLLIN);
    io_uring_sqe_set_data(entry, &wake_fd_);
  }

  void on_wake_completion(void* subject, const io_uring_cqe& entry) noexcept {
    if (subject == &wake_fd_) {
      if ((entry.flags & IORING_CQE_F_MORE) == 0) watch_again_ = true;
      return;
    }
    // A message did not arrive. Which one is not known, and one ring too many does no harm.
    if (entry.res >= 0) return;
    for (mailbox_ref& peer : peers_) {
      peer->ring();
    }
  }

  // IORING_OP_MSG_RING is asked for by number. Without CQE_SKIP each message would end this ring's
  // own sleep, which costs more than the eventfd's system call.
  bool can_message() noexcept {
    if (!probed_) {
      probed_ = true;
      io_uring_probe* probe = io_uring_get_probe_ring(&setup_.ring);
      messages_ = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_MSG_RING) != 0 &&
                  (setup_.ring.features & IORING_FEAT_CQE_SKIP) != 0;
      if (probe != nullptr) io_uring_free_probe(probe);
    }
    return messages_;
  }

  // Keeps the number of its ring reserved for as long as a message to it may be unsent.
  bool remember(mailbox& target) noexcept {
    for (const mailbox_ref& peer : peers_) {
      if (peer.get() == &target) return true;
    }
    if (io_uring_sq_ready(&setup_.ring) == 0) {
      std::erase_if(peers_, [](const mailbox_ref& peer) { return peer->closed(); });
    }
    try {
      peers_.emplace_back(&target);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  static void describe(io_uring_sqe& entry, operation& op) noexcept {
    const op_request& r = op.request;
    switch (r.kind) {
      case op_kind::poll:
        if (r.mode == polls_on) {
          io_uring_prep_poll_multishot(&entry, r.fd, r.flags);
        } else {
          io_uring_prep_poll_add(&entry, r.fd, r.flags);
        }
        return;
      case op_kind::read:
        io_uring_prep_read(&entry, r.fd, op.buffer.get(), r.length, r.offset);
        return;
      case op_kind::write:
        io_uring_prep_write(&entry, r.fd, op.buffer.get(), r.length, r.offset);
        return;
      case op_kind::open:
        io_uring_prep_openat(&entry, AT_FDCWD, op.path->c_str(), static_cast<int>(r.flags), r.mode);
        return;
      case op_kind::size:
        io_uring_prep_statx(&entry, r.fd, "", AT_EMPTY_PATH, STATX_SIZE,
                            reinterpret_cast<struct statx*>(op.buffer.get()));
        return;
      case op_kind::close:
        io_uring_prep_close(&entry, r.fd);
        return;
      case op_kind::receive:
        io_uring_prep_recv_multishot(&entry, r.fd, nullptr, 0, 0);
        // It is started where nothing was there to read.
        entry.ioprio |= IORING_RECVSEND_POLL_FIRST;
        entry.flags |= IOSQE_BUFFER_SELECT;
        entry.buf_group = ring_buffers::group;
        return;
      case op_kind::accept:
        io_uring_prep_multishot_accept(&entry, r.fd, nullptr, nullptr,
                                       SOCK_NONBLOCK | SOCK_CLOEXEC);
        return;
      case op_kind::send:  // Is held until the turn's end.
        return;
    }
  }

  operation_pool* operations_;
  loop_metrics* metrics_;
  ring_setup setup_;
  std::shared_ptr<ring_buffers> ring_buffers_;
  std::shared_ptr<receive_buffers> buffers_;
  unsigned buffers_wanted_;
  std::uint32_t buffer_size_;
  bool buffers_asked_for_ = false;
  unsigned turns_skipped_ = 0;
  bool backlog_ = false;
  unsigned batch_sends_from_;
  bool busy_ = false;
  ring_sends sends_;
  int wake_fd_ = -1;
  bool watch_again_ = false;
  bool probed_ = false;
  bool messages_ = false;
  /// The loops that this one has woken by messages; the few of a process.
  std::vector<mailbox_ref> peers_;
};

}  // namespace

std::unique_ptr<backend> make_ring_backend(const loop_options& options, operation_pool& operations,
                                           loop_metrics& metrics) {
  return std::make_unique<ring_backend>(options, operations, metrics);
}

}  // namespace runnel::detail
