// A minimal HTTP server on the kernel's TCP by io_uring, in its cheapest shape: one multishot
// accept, one multishot receive for each connection into a shared ring of buffers, and an answer,
// the end of the receive and the close in one chain. It takes what is received for one request, as
// bench_client sends them.
//
//   kernel_uring --address 10.78.0.2 --port 80

#include <liburing.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <vector>

#include "serving.hpp"

namespace {

constexpr unsigned submissions = 4'096;
constexpr unsigned completions = 32'768;
constexpr unsigned buffer_count = 4'096;
constexpr unsigned buffer_bytes = 512;
constexpr int buffer_group = 1;
constexpr int buffer_mask = buffer_count - 1;

enum class kind : std::uint32_t { accept, receive, unobserved };

[[noreturn]] void fail(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

class server {
 public:
  explicit server(const bench::serving_options& given)
      // A listener that does not block would not be waited for.
      : listener_(bench::listen_at(given, bench::waiting::blocks)) {
    io_uring_params params{};
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    params.cq_entries = completions;
    const int made = ::io_uring_queue_init_params(submissions, &ring_, &params);
    if (made < 0) fail(-made, "no io_uring can be had (it needs Linux 6.1)");
    make_buffers();
  }
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server() {
    ::io_uring_queue_exit(&ring_);
    ::close(listener_);
  }

  void run() {
    accept();
    while (!bench::stop_asked()) {
      // A signal may come just before the call.
      __kernel_timespec wait{0, 250'000'000};
      io_uring_cqe* first = nullptr;
      const int got = ::io_uring_submit_and_wait_timeout(&ring_, &first, 1, &wait, nullptr);
      if (got < 0 && got != -ETIME && got != -EINTR) fail(-got, "io_uring_enter failed");
      take_all();
    }
  }

 private:
  void make_buffers() {
    constexpr std::size_t ring_bytes = buffer_count * sizeof(io_uring_buf);
    void* memory =
        ::mmap(nullptr, ring_bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) fail(errno, "no memory for the ring of buffers");
    buffers_ = static_cast<io_uring_buf_ring*>(memory);
    io_uring_buf_reg what{};
    what.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
    what.ring_entries = buffer_count;
    what.bgid = buffer_group;
    const int done = ::io_uring_register_buf_ring(&ring_, &what, 0);
    if (done < 0) fail(-done, "the ring of buffers was refused");
    ::io_uring_buf_ring_init(buffers_);
    memory_.resize(std::size_t{buffer_count} * buffer_bytes);
    for (unsigned i = 0; i < buffer_count; ++i) give_back(i, static_cast<int>(i));
    ::io_uring_buf_ring_advance(buffers_, static_cast<int>(buffer_count));
  }

  char* buffer(unsigned id) { return memory_.data() + std::size_t{id} * buffer_bytes; }

  void give_back(unsigned id, int offset) {
    ::io_uring_buf_ring_add(buffers_, buffer(id), buffer_bytes, static_cast<std::uint16_t>(id),
                            buffer_mask, offset);
  }

  /// Room for a chain, which has to be submitted as one.
  void make_room(unsigned count) {
    if (::io_uring_sq_space_left(&ring_) < count) ::io_uring_submit(&ring_);
  }

  io_uring_sqe* entry(kind what, int fd) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) fail(EBUSY, "the kernel takes no more requests");
    // Preparing an entry leaves these alone; the data says whose the completion is.
    sqe->user_data = static_cast<std::uint64_t>(what) << 32 | static_cast<std::uint32_t>(fd);
    return sqe;
  }

  void accept() {
    make_room(1);
    io_uring_sqe* sqe = entry(kind::accept, listener_);
    ::io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
  }

  void receive(int fd) {
    make_room(1);
    io_uring_sqe* sqe = entry(kind::receive, fd);
    ::io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
  }

  void take_all() {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      ++count;
      const auto what = static_cast<kind>(cqe->user_data >> 32);
      const int fd = static_cast<int>(cqe->user_data & UINT32_MAX);
      if (what == kind::accept) on_accept(*cqe);
      if (what == kind::receive) on_receive(fd, *cqe);
    }
    // Those that were used are given back together.
    ::io_uring_buf_ring_advance(buffers_, returned_);
    returned_ = 0;
    ::io_uring_cq_advance(&ring_, count);
  }

  void on_accept(const io_uring_cqe& cqe) {
    if (cqe.res >= 0) {
      const auto fd = static_cast<std::size_t>(cqe.res);
      if (fd >= closing_.size()) closing_.resize(std::max(fd + 1, 2 * closing_.size()));
      closing_[fd] = false;
      receive(cqe.res);
    } else if (cqe.res != -ECONNABORTED && cqe.res != -EINTR) {
      fail(-cqe.res, "no connection can be accepted");
    }
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) accept();
  }

  void on_receive(int fd, const io_uring_cqe& cqe) {
    if (cqe.res == -ENOBUFS) return receive(fd);
    if (cqe.res <= 0) {
      // Once it is to be closed its number may be another's already.
      if (!closing_[static_cast<std::size_t>(fd)]) close(fd);
      return;
    }
    const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
    const bool last =
        bench::asks_for_close(std::string_view(buffer(id), static_cast<std::size_t>(cqe.res)));
    give_back(id, returned_++);
    if (closing_[static_cast<std::size_t>(fd)]) return;
    const bool ended = (cqe.flags & IORING_CQE_F_MORE) == 0;
    if (last) return answer_and_close(fd);
    make_room(1);
    answer(fd, bench::keep_alive_answer, 0);
    if (ended) receive(fd);
  }

  io_uring_sqe* answer(int fd, std::string_view text, int flags) {
    io_uring_sqe* sqe = entry(kind::unobserved, fd);
    ::io_uring_prep_send(sqe, fd, text.data(), text.size(), MSG_NOSIGNAL | flags);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    return sqe;
  }

  void answer_and_close(int fd) {
    make_room(3);
    // Held until the close, whose FIN then goes with it in one segment. The receive keeps the
    // socket alive, so that it has to end first. The links hold whatever fails.
    answer(fd, bench::last_answer, MSG_MORE)->flags |= IOSQE_IO_HARDLINK;
    io_uring_sqe* cancel = entry(kind::unobserved, fd);
    ::io_uring_prep_cancel_fd(cancel, fd, 0);
    cancel->flags |= IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_HARDLINK;
    close(fd);
  }

  void close(int fd) {
    make_room(1);
    closing_[static_cast<std::size_t>(fd)] = true;
    io_uring_sqe* sqe = entry(kind::unobserved, fd);
    ::io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }

  int listener_;
  io_uring ring_{};
  io_uring_buf_ring* buffers_ = nullptr;
  std::vector<char> memory_;
  int returned_ = 0;
  /// By descriptor: whether its close is under way.
  std::vector<bool> closing_;
};

void serve(const bench::serving_options& given) {
  server one(given);
  bench::say_ready();
  one.run();
}

}  // namespace

int main(int argc, char** argv) {
  const auto given = bench::read_arguments(argc, argv, bench::path::kernel,
                                           "Answers HTTP on the kernel's TCP, by io_uring.");
  return bench::run_server("kernel_uring", &serve, given);
}
