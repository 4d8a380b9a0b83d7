#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "runnel/cancel.hpp"
#include "runnel/clock.hpp"
#include "runnel/detail/resident.hpp"
#include "runnel/detail/timer_wheel.hpp"
#include "runnel/random.hpp"
#include "runnel/task.hpp"
#include "runnel/trace.hpp"
#include "runnel/waiter.hpp"

namespace runnel {

class fiber;
class loop_remote;
struct stall_report;

namespace detail {
class stall_watch;
class task_walk;
class backend;
class mailbox;
struct mailbox_access;
class operation_pool;
class operation_user;
class fiber_stack_pool;
task<> drive_fiber(void (*)(fiber&, void*), void*, std::size_t);
stall_watch& watch_of(loop&);
}  // namespace detail

/// What a loop gets its completions from.
enum class backend_kind : std::uint8_t {
  /// io_uring, and epoll where the kernel refuses it; the environment variable RUNNEL_BACKEND
  /// (`io_uring` or `epoll`) decides instead.
  automatic,
  /// io_uring(7).
  io_uring,
  /// epoll(7), with a thread for what epoll cannot wait for: files. It is started when one is first
  /// used and does one operation after the other, and it cannot be called off in the middle of one.
  epoll,
  /// Virtual time; chosen by `loop_options::simulated`.
  simulated,
};

/// How a loop is made. The defaults are right for a server on a real kernel.
struct loop_options {
  /// Set: the loop runs in virtual time that jumps to the next deadline when nothing is ready, its
  /// kernel operations fail with `errc::not_supported`, and this seeds `random()` and the order in
  /// which ready tasks run. Seed 0 keeps them in FIFO order. The same seed gives the same run.
  std::optional<std::uint64_t> simulated{};
  /// What to run on, unless `simulated` is set. One that is named and refused is a `startup_error`.
  backend_kind backend = backend_kind::automatic;
  /// Size of the submission ring; rounded up to a power of two and clamped by the kernel.
  unsigned ring_entries = 256;
  /// Above zero: a thread of the kernel takes what is submitted (IORING_SETUP_SQPOLL), so that this
  /// one makes no system call while it is busy, and goes to sleep when nothing came for so long. It
  /// takes a core of its own; on few cores it makes everything slower. io_uring only, ignored
  /// elsewhere.
  duration sqpoll_idle{0};
  /// How many buffers all sockets of this loop share for what arrives, made when the first socket
  /// waits and rounded up to a power of two; at most 32,768. 0, or a kernel before 6.0: each socket
  /// is told that something is there and asks for it with a system call of its own.
  unsigned receive_buffers = 256;
  /// The size of each of them in bytes.
  std::uint32_t receive_buffer_size = 8 * 1024;
  /// In a turn that begins with at least so many completions, what its tasks write to kernel
  /// sockets in one piece of up to 16 KiB is handed to the kernel at the turn's end, all in one
  /// system call; the writers go on in the next turn. In others each write is a system call of its
  /// own, which is quicker for one writer. 0: in no turn. io_uring without `sqpoll_idle` only,
  /// ignored elsewhere.
  unsigned batch_sends_from = 8;
  /// How long to keep turning, without sleeping, after a task ran, an operation finished or a turn
  /// was requested. Trades a core for latency: no wake-up by another core is waited for. Ignored
  /// in virtual time.
  duration busy_poll{0};
  /// Says on standard error, before the process dies, that a fiber's stack was too small and how to
  /// mend it. The first loop that asks for it installs a handler of SIGSEGV for good, which hands
  /// everything to the handler that was there before; each thread with such a loop gets an
  /// alternate signal stack, unless it has one. Does nothing under AddressSanitizer and
  /// ThreadSanitizer, whose handlers these are.
  bool report_fiber_overflow = false;
  /// Above zero: a task or callback that runs at least this long without letting go of the loop is
  /// counted in `loop_metrics::stalls` and told to `on_stall`, or to `log` where there is none.
  /// Real time, also in a simulated loop. Costs one clock read and a few stores for each task that
  /// runs; nothing when it is zero. A `watchdog` tells while it still runs.
  duration stall_threshold{0};
  /// Called on the loop's thread after a stall, outside of any task; must not throw. It may call
  /// `dump_tasks`, whose time does not count.
  std::function<void(const stall_report&)> on_stall{};
  /// What measures stalls; the steady clock where null. For tests.
  time_point (*stall_clock)() noexcept = nullptr;
  /// Called with the one-line description once the backend is chosen. Nothing is printed without
  /// it.
  std::function<void(std::string_view)> log{};
  /// Hears what the loop does, and may make its operations fail; null for nobody, which costs one
  /// comparison for each thing to be heard.
  loop_observer* observer = nullptr;
};

/// What a loop has done so far; plain counts since it was made.
struct loop_metrics {
  std::uint64_t turns = 0;         ///< Turns of the loop.
  std::uint64_t enters = 0;        ///< Calls of io_uring_enter(2), or epoll_wait(2), epoll_ctl(2).
  std::uint64_t waits = 0;         ///< Those of them that were allowed to sleep.
  std::uint64_t operations = 0;    ///< Kernel operations started.
  std::uint64_t completions = 0;   ///< Kernel operations finished, cancelled ones included.
  std::uint64_t resumed = 0;       ///< Tasks run from the ready queue.
  std::uint64_t timers_fired = 0;  ///< Timers that expired.
  /// Times that a socket found no free receive buffer and had to ask for its bytes instead.
  std::uint64_t buffers_exhausted = 0;
  std::uint64_t busy_turns = 0;  ///< Turns that did not sleep only because of `busy_poll`.
  /// Most tasks run in one turn; when it is `loop::ready_per_turn`, more were waiting for theirs.
  std::uint64_t resumed_most = 0;
  std::uint64_t stalls = 0;  ///< Callbacks as long as `loop_options::stall_threshold`.
  /// The longest callback; zero unless stalls are looked for or there is a `watchdog`.
  duration longest_callback{0};

  /// How well one kernel entry is used; zero before the first.
  double completions_per_enter() const noexcept;
  std::uint64_t posts = 0;  ///< Posts, calls and their answers that came in.
};

/// The kernel refused what the loop needs. `what()` is one plain sentence: what is refused, and how
/// to mend it.
class startup_error : public std::system_error {
 public:
  /// `sentence` is what `what()` gives.
  startup_error(std::error_code code, std::string sentence)
      : std::system_error(code), sentence_(std::move(sentence)) {}
  const char* what() const noexcept override { return sentence_.c_str(); }

 private:
  std::string sentence_;
};

/// `loop::run` found that its task waits for something that can never happen: nothing is ready, no
/// timer is armed, no kernel operation is in flight and no `loop_remote` of it is alive. `what()`
/// is a sentence, and below it what `dump_tasks` prints: who waits where for what.
class deadlock_error : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// What a loop drives once per turn besides tasks: a TCP stack. Everything runs on the loop's
/// thread; none of these may throw, block, or destroy the loop.
class turn_hook {
 public:
  /// Phase 2: take in a bounded burst. True when work is left, so that the loop does not sleep.
  virtual bool on_receive(time_point now) = 0;
  /// Phase 3: act on the deadlines that have passed. Called every turn.
  virtual void on_timers(time_point now) = 0;
  /// Phase 5: send what is due, with the clock read anew. True when work is left.
  virtual bool on_emit(time_point now) = 0;
  /// The earliest moment this wants a turn; `time_point::max()` for none. Asked after on_emit.
  virtual time_point deadline() const noexcept = 0;

 protected:
  ~turn_hook() = default;
};

/// One thread's event loop. A turn is: reap completions (no user code), hooks receive, hooks'
/// timers and then the runtime's, run ready tasks, read the clock anew, hooks emit, one
/// io_uring_enter that submits everything and sleeps until the next deadline, or epoll's
/// counterpart where io_uring is refused. There is no lock inside; a loop and all that belongs to
/// it is used by the thread that made it.
///
/// It must outlive its timers, groups and hooks. Suspended tasks that outlive it may be destroyed
/// but never run again. Its destructor cancels the kernel operations in flight and waits for them.
class loop {
 public:
  /// How many tasks run before hooks and the kernel get their turn again: long enough to pay for a
  /// system call many times over, short enough that packets do not wait a millisecond.
  static constexpr unsigned ready_per_turn = 256;
  /// How many leaf operations of one task may complete without suspending before it has to queue
  /// again behind the others.
  static constexpr unsigned budget_per_resume = 128;

  /// On the best backend that the kernel allows, with the defaults. Throws `startup_error` where it
  /// allows none.
  loop();
  /// Throws `startup_error` where the kernel refuses.
  explicit loop(loop_options options);
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;
  ~loop();

  /// The time of this turn. It stands still while tasks run and is read anew before hooks emit.
  time_point now() const noexcept { return now_; }

  /// Turns until `root` is done; gives its value or throws its exception. The turn in which it ends
  /// is finished, so that hooks emit what it wrote. May be called again; not from inside a task.
  /// Throws `deadlock_error` when nothing can ever happen again, destroying `root`.
  template <class T>
  T run(task<T> root) {
    detail::check(root.frame_ != nullptr, "runnel: loop::run got a task that was moved from.");
    detail::starter start;
    root.frame_.promise().set_scope(root_scope_);
    start.start(root_scope_, root.frame_);
    drive(root.frame_);
    return root.frame_.promise().take();
  }

  /// Drives `hook` from the next turn on, behind those attached before. It must be detached before
  /// it dies.
  void attach(turn_hook& hook);
  /// Stops driving `hook`; does nothing when it is not attached.
  void detach(turn_hook& hook) noexcept;

  /// The next wait returns at once: for in-process links that queued something for a hook whose
  /// phase is over.
  void request_turn() noexcept { turn_requested_ = true; }

  /// Numbers for jitter and simulation; seeded by `loop_options::simulated`, else by getrandom(2).
  random_source& random() noexcept { return random_; }

  /// Whether it runs in virtual time.
  bool simulated() const noexcept { return simulated_; }

  /// What it runs on; never `automatic`.
  backend_kind backend() const noexcept { return backend_kind_; }

  /// What its backend is and what the kernel granted, in one line.
  const std::string& description() const noexcept { return description_; }

  /// What it has done so far.
  const loop_metrics& metrics() const noexcept { return metrics_; }

  /// What other threads reach this loop by; include `<runnel/remote.hpp>`. Called on the loop's own
  /// thread; the first call makes the mailbox, which costs an eventfd(2). Throws `startup_error`
  /// where the kernel refuses that.
  loop_remote remote();

  /// The scope above all tasks that `run` starts: cancelling it cancels them all.
  cancel_scope& root_scope() noexcept { return root_scope_; }

 private:
  friend class waiter;
  friend class timer;
  friend class cancel_scope;
  friend class detail::task_walk;
  friend detail::stall_watch& detail::watch_of(loop&);
  friend class detail::resident;
  friend class detail::operation_user;
  friend struct detail::mailbox_access;
  friend class detail::operation_pool;
  friend task<> detail::drive_fiber(void (*)(fiber&, void*), void*, std::size_t);

  const std::shared_ptr<detail::fiber_stack_pool>& fiber_stacks();
  void drive(std::coroutine_handle<> root);
  void turn(std::coroutine_handle<> root);
  bool hooks_receive();
  bool hooks_emit();
  void run_ready();
  void resume_watched(waiter& next);
  void tell_resumed(const waiter& next) noexcept;
  waiter& next_ready() noexcept;
  void sleep_or_go(bool work_left);
  std::string waiting_tasks();
  time_point wake_time();
  bool polls_busily(bool work_left) noexcept;
  bool take_budget() noexcept {
    if (budget_ == 0) return false;
    --budget_;
    return true;
  }

  time_point now_;
  unsigned budget_ = 0;
  bool turn_requested_ = false;
  bool running_ = false;
  bool simulated_ = false;
  bool shuffled_ = false;
  backend_kind backend_kind_ = backend_kind::simulated;
  detail::list<waiter> ready_;
  /// The scopes that have none above.
  detail::list<cancel_scope> scopes_;
  cancel_scope root_scope_{*this};
  std::vector<turn_hook*> hooks_;
  detail::timer_wheel timers_;
  loop_metrics metrics_;
  random_source random_{0};
  duration busy_poll_{0};
  time_point busy_until_{};
  std::uint64_t done_before_ = 0;
  std::thread::id thread_;
  std::string description_;
  time_point (*stall_clock_)() noexcept = nullptr;
  std::unique_ptr<detail::stall_watch> watch_;
  /// Shared with the fibers, which may outlive the loop.
  std::shared_ptr<detail::fiber_stack_pool> fiber_stacks_;
  bool reports_overflow_ = false;
  loop_observer* observer_ = nullptr;
  detail::resident_list residents_;
  std::unique_ptr<detail::operation_pool> operations_;
  std::unique_ptr<detail::backend> backend_;
  /// None until `remote()` is called. Counted: others may hold it longer.
  detail::mailbox* mailbox_ = nullptr;
};

}  // namespace runnel
