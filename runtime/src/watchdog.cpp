#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>

#include "runnel/stall.hpp"
#include "stall_watch.hpp"

namespace runnel {

namespace {

// In one piece, whatever the loop's thread was in the middle of printing.
void write_line(const stall_report& report) {
  const std::string line = report.to_string() + ".\n";
  static_cast<void>(!::write(STDERR_FILENO, line.data(), line.size()));
}

// A new thread inherits the mask: signals are for the threads that run loops.
class signals_blocked {
 public:
  signals_blocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  signals_blocked(const signals_blocked&) = delete;
  signals_blocked& operator=(const signals_blocked&) = delete;
  ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

class watchdog::thread {
 public:
  thread(const detail::stall_watch& watch, watchdog_options options)
      : watch_(&watch), options_(std::move(options)) {
    if (!options_.on_stuck) options_.on_stuck = &write_line;
    const signals_blocked blocked;
    thread_ = std::thread([this] { run(); });
  }
  thread(const thread&) = delete;
  thread& operator=(const thread&) = delete;
  ~thread() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

 private:
  void run() {
    const duration pause = std::max<duration>(options_.patience / 4, std::chrono::milliseconds{1});
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, pause, [this] { return stopping_; })) {
      lock.unlock();
      look();
      lock.lock();
    }
  }

  void look() {
    auto seen = watch_->look();
    if (!seen) return;
    seen->report.length = watch_->read_clock() - seen->since;
    const bool known = seen->number == told_;
    if (seen->report.length < (known ? again_ : options_.patience)) return;
    told_ = seen->number;
    again_ = seen->report.length * 2;
    options_.on_stuck(seen->report);
  }

  const detail::stall_watch* watch_;
  watchdog_options options_;
  std::uint64_t told_ = 0;
  duration again_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

watchdog::watchdog(loop& owner, watchdog_options options)
    : thread_(std::make_unique<thread>(detail::watch_of(owner), std::move(options))) {}

watchdog::~watchdog() = default;

}  // namespace runnel
