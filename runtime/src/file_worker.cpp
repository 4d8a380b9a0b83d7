#include "file_worker.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <exception>
#include <mutex>

#include "backend.hpp"
#include "file_io.hpp"

namespace runnel::detail {
namespace {

constexpr int not_finished = INT_MIN;

}  // namespace

// Shared with the thread, which may have to be left behind.
struct file_worker::shared {
  shared() = default;
  shared(const shared&) = delete;
  shared& operator=(const shared&) = delete;
  ~shared() {
    if (wake >= 0) ::close(wake);
  }

  int wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::mutex mutex;
  std::condition_variable changed;
  operation_queue queue;
  operation_queue finished;
  operation* current = nullptr;
  bool stopping = false;
  std::atomic<bool> any_finished{false};
};

file_worker::file_worker() : shared_(std::make_shared<shared>()) {
  if (shared_->wake < 0) refuse_to_start("The kernel refused to make an eventfd", errno);
}

int file_worker::wake_descriptor() const noexcept {
  return shared_->wake;
}

bool file_worker::start() noexcept {
  // The program's signals are for the program's threads.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread{&file_worker::run, shared_};
    ::pthread_setname_np(thread_.native_handle(), "runnel-files");
  } catch (const std::exception&) {
    // No memory, or no thread more for this process or container.
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started();
}

file_worker::~file_worker() {
  if (!started()) return;
  bool stuck = false;
  {
    const std::lock_guard lock{shared_->mutex};
    shared_->stopping = true;
    stuck = shared_->current != nullptr;
  }
  shared_->changed.notify_one();
  if (stuck) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void file_worker::submit(operation& op) noexcept {
  op.result = not_finished;
  const op_kind kind = op.request.kind;
  if (kind == op_kind::read || kind == op_kind::write || kind == op_kind::size) {
    // Who asked may go away and close its descriptor, whose number may then be another file's by
    // the time the thread comes to it. Where there is no free one the number is all there is.
    const int own = ::fcntl(op.request.fd, F_DUPFD_CLOEXEC, 0);
    if (own >= 0) op.request.fd = op.closes = own;
  }
  {
    const std::lock_guard lock{shared_->mutex};
    shared_->queue.push_back(op);
  }
  shared_->changed.notify_one();
}

bool file_worker::withdraw(operation& op) noexcept {
  const std::lock_guard lock{shared_->mutex};
  if (shared_->current == &op || op.result != not_finished) return false;
  op.tagged_hook<operation_in_backend>::unlink();
  return true;
}

bool file_worker::has_finished() const noexcept {
  return shared_->any_finished.load(std::memory_order_relaxed);
}

void file_worker::take_finished(operation_queue& out) noexcept {
  const std::lock_guard lock{shared_->mutex};
  shared_->any_finished.store(false, std::memory_order_relaxed);
  out.splice_back(shared_->finished);
}

void file_worker::run(const std::shared_ptr<shared>& with) noexcept {
  std::unique_lock lock{with->mutex};
  for (;;) {
    with->changed.wait(lock, [&] { return with->stopping || !with->queue.empty(); });
    if (with->stopping) return;
    operation& op = with->queue.pop_front();
    with->current = &op;
    lock.unlock();
    const int result = perform_blocking(op);
    lock.lock();
    with->current = nullptr;
    op.result = result;
    with->finished.push_back(op);
    if (with->any_finished.exchange(true, std::memory_order_relaxed)) continue;
    // A full counter has woken the loop already.
    const std::uint64_t one = 1;
    static_cast<void>(!::write(with->wake, &one, sizeof one));
  }
}

}  // namespace runnel::detail
