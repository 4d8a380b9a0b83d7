#include "runnel/loop.hpp"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <sstream>

#include "backend.hpp"
#include "fiber_overflow.hpp"
#include "operation_pool.hpp"
#include "runnel/detail/mailbox.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/detail/transfer.hpp"
#include "runnel/dump.hpp"
#include "runnel/remote.hpp"
#include "stall_watch.hpp"

namespace runnel {
namespace {

std::uint64_t random_seed() {
  std::uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != static_cast<ssize_t>(sizeof seed)) {
    throw startup_error({errno, std::generic_category()},
                        "The kernel gave no random numbers: getrandom(2) is refused here; allow it "
                        "in the seccomp profile.");
  }
  return seed;
}

/// Has the processor fetch the frame of the task that is probably next while another one runs:
/// where there are many, no cache holds them all. A smaller frame has neighbours fetched, too.
void prefetch_frame(std::coroutine_handle<> next) noexcept {
  constexpr std::uintptr_t line_bytes = 64;
  constexpr std::uintptr_t frame_bytes = 512;
  const auto frame = reinterpret_cast<std::uintptr_t>(next.address());
  for (std::uintptr_t i = 0; i < frame_bytes; i += line_bytes) {
    __builtin_prefetch(reinterpret_cast<const void*>(frame + i), 1);
  }
}

}  // namespace

loop::loop() : loop(loop_options{}) {}

loop::loop(loop_options options)
    : simulated_(options.simulated.has_value()),
      shuffled_(options.simulated.value_or(0) != 0),
      random_(simulated_ ? *options.simulated : random_seed()),
      // Virtual time moves only where the loop would sleep.
      busy_poll_(simulated_ ? duration::zero() : options.busy_poll),
      thread_(std::this_thread::get_id()),
      operations_(std::make_unique<detail::operation_pool>()),
      backend_(detail::make_backend(options, *operations_, metrics_)) {
  if (options.observer != nullptr) {
    observer_ = options.observer;
    operations_->observe(*this);
  }
  backend_kind_ = backend_->kind();
  now_ = backend_->read_clock();
  timers_.start_at(now_);
  description_ = backend_->description();
  if (options.log) options.log(description_);
  if (options.stall_threshold > duration::zero()) {
    watch_ = std::make_unique<detail::stall_watch>(options, metrics_);
  } else {
    stall_clock_ = options.stall_clock;
  }
  if (options.report_fiber_overflow) {
    detail::report_fiber_overflow();
    reports_overflow_ = true;
  }
}

loop::~loop() {
  if (mailbox_ != nullptr) mailbox_->close();
  residents_.clear();
  operations_->part_from_users();
  operations_->finish_refused();
  backend_.reset();
  timers_.clear();
  ready_.clear();
  root_scope_.forget_all();
  if (reports_overflow_) detail::release_alternate_stack();
  if (mailbox_ != nullptr) mailbox_->drop_ref();
}

void loop::attach(turn_hook& hook) {
  hooks_.push_back(&hook);
}

void loop::detach(turn_hook& hook) noexcept {
  std::erase(hooks_, &hook);
}

void loop::drive(std::coroutine_handle<> root) {
  if (running_) {
    throw std::logic_error(
        "runnel: loop::run was called from inside a task of the same loop; co_await instead.");
  }
  if (std::this_thread::get_id() != thread_) {
    throw std::logic_error(
        "runnel: loop::run was called on another thread than the one that made the loop; make one "
        "loop per thread.");
  }
  struct running_flag {
    bool& flag;
    loop* outer = detail::this_thread.running;
    ~running_flag() {
      flag = false;
      detail::this_thread.running = outer;
    }
  } reset{running_};
  running_ = true;
  detail::this_thread.running = this;
  while (!root.done()) {
    turn(root);
  }
}

void loop::turn(std::coroutine_handle<> root) {
  ++metrics_.turns;
  turn_requested_ = false;
  backend_->reap();
  operations_->finish_refused();
  now_ = backend_->read_clock();
  if (watch_) watch_->restart();
  bool work_left = hooks_receive();
  run_ready();
  if (!hooks_.empty()) work_left |= hooks_emit();
  sleep_or_go(work_left || root.done() || operations_->has_refused());
}

bool loop::hooks_receive() {
  const detail::stall_guard measured(watch_.get(), stall_report::kind::callbacks, {});
  bool work_left = false;
  for (std::size_t i = 0; i < hooks_.size(); ++i) {
    work_left |= hooks_[i]->on_receive(now_);
  }
  for (std::size_t i = 0; i < hooks_.size(); ++i) {
    hooks_[i]->on_timers(now_);
  }
  const std::size_t fired = timers_.expire(now_);
  metrics_.timers_fired += fired;
  if (observer_ != nullptr && fired != 0) {
    observer_->on_entry({trace_entry::kind::timers, now_, {}, static_cast<std::int64_t>(fired)});
  }
  if (mailbox_ != nullptr) {
    metrics_.posts += mailbox_->deliver(*this);
    work_left |= mailbox_->left_over();
  }
  return work_left;
}

bool loop::hooks_emit() {
  const detail::stall_guard measured(watch_.get(), stall_report::kind::callbacks, {});
  bool work_left = false;
  now_ = backend_->read_clock();
  for (std::size_t i = 0; i < hooks_.size(); ++i) {
    work_left |= hooks_[i]->on_emit(now_);
  }
  return work_left;
}

void loop::run_ready() {
  unsigned n = 0;
  for (; n < ready_per_turn && !ready_.empty(); ++n) {
    waiter& next = next_ready();
    if (observer_ != nullptr) tell_resumed(next);
    next.unlink();
    if (!ready_.empty()) prefetch_frame(ready_.front().handle_);
    next.state_ = waiter::state::idle;
    budget_ = budget_per_resume;
    ++metrics_.resumed;
    if (watch_) [[unlikely]] {
      resume_watched(next);
    } else {
      detail::resume(next.handle_);
    }
  }
  metrics_.resumed_most = std::max<std::uint64_t>(metrics_.resumed_most, n);
}

void loop::resume_watched(waiter& next) {
  const detail::promise_base* promise = next.promise();
  const bool spawned = promise != nullptr && promise->group() != nullptr;
  const std::source_location from = promise != nullptr ? promise->where() : std::source_location();
  const bool first = spawned || from.line() == 0;
  const detail::stall_guard measured(
      watch_.get(), first ? stall_report::kind::first_run : stall_report::kind::task, from);
  detail::resume(next.handle_);
}

detail::stall_watch& detail::watch_of(loop& owner) {
  if (!owner.watch_) {
    loop_options only_watched;
    only_watched.stall_clock = owner.stall_clock_;
    owner.watch_ = std::make_unique<stall_watch>(only_watched, owner.metrics_);
  }
  return *owner.watch_;
}

// A seeded order takes one of the first eight, each as likely as the others, which reorders
// neighbours thoroughly in constant time.
waiter& loop::next_ready() noexcept {
  waiter* chosen = &ready_.front();
  if (!shuffled_) return *chosen;
  waiter* at = chosen;
  for (std::uint32_t seen = 2; seen <= 8; ++seen) {
    at = ready_.after(*at);
    if (at == nullptr) break;
    if (random_.below(seen) == 0) chosen = at;
  }
  return *chosen;
}

// Whether something happened less than the busy-poll time ago.
bool loop::polls_busily(bool work_left) noexcept {
  if (busy_poll_ <= duration::zero()) return false;
  std::uint64_t done = metrics_.resumed + metrics_.completions + metrics_.posts;
  if (work_left || turn_requested_ || done != done_before_) {
    done_before_ = done;
    busy_until_ = after(now_, busy_poll_);
  }
  return now_ < busy_until_;
}

time_point loop::wake_time() {
  time_point deadline = timers_.next_deadline();
  for (turn_hook* hook : hooks_) {
    deadline = std::min(deadline, hook->deadline());
  }
  // A backend with nothing in flight would not sleep for ever; what comes by post ends the sleep.
  constexpr auto long_sleep = std::chrono::hours{24};
  if (deadline == time_point::max() && operations_->in_flight() == 0 && mailbox_ != nullptr &&
      mailbox_->awaited()) {
    deadline = after(now_, long_sleep);
  }
  return deadline;
}

void loop::sleep_or_go(bool work_left) {
  time_point deadline = time_point::min();
  bool busy = polls_busily(work_left);
  const bool idle = !work_left && !turn_requested_ && ready_.empty();
  if (idle && busy) ++metrics_.busy_turns;
  if (idle && !busy && (mailbox_ == nullptr || mailbox_->announce_sleep())) {
    deadline = wake_time();
  }
  // The tasks of this turn have taken time, too.
  const bool may_sleep = deadline > now_ && deadline != time_point::max();
  if (backend_->enter(may_sleep ? backend_->read_clock() : now_, deadline)) return;
  throw deadlock_error(
      "runnel: the task given to loop::run waits for something that can never happen: no task is "
      "ready, no timer is armed, no kernel operation is in flight and nobody holds a loop_remote; "
      "look for an event that nobody sets or a stream that nobody writes to.\n" +
      waiting_tasks());
}

std::string loop::waiting_tasks() {
  constexpr std::size_t lines_of_sentence = 40;
  std::ostringstream text;
  dump_tasks(*this, text, {.lines = lines_of_sentence});
  return text.str();
}

loop_remote loop::remote() {
  std::error_code refused;
  detail::mailbox* box = detail::mailbox_access::get(*this, refused);
  if (refused) {
    throw startup_error(refused, "The kernel gave no eventfd to wake a loop with (" +
                                     refused.message() +
                                     "): raise the limit on open files (ulimit -n).");
  }
  return loop_remote{box};
}

namespace detail {

mailbox* mailbox_access::get(loop& of, std::error_code& refused) noexcept {
  if (of.mailbox_ != nullptr) return of.mailbox_;
  check(of.thread_ == std::this_thread::get_id(),
        "runnel: loop::remote was first called on another thread than the loop's; call it there "
        "and hand out copies.");
  int event_fd = -1;
  int ring_fd = -1;
  if (!of.simulated_) {
    event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0) {
      refused = {errno, std::generic_category()};
      return nullptr;
    }
    ring_fd = of.backend_->share_ring();
  }
  of.mailbox_ = new (std::nothrow) mailbox(of, of.simulated_, event_fd, ring_fd);
  if (of.mailbox_ == nullptr) {
    ::close(event_fd);
    if (ring_fd >= 0) ::close(ring_fd);
    refused = std::make_error_code(std::errc::not_enough_memory);
    return nullptr;
  }
  if (const int error = of.backend_->watch_wakes(event_fd); error != 0) {
    refused = {error, std::generic_category()};
    std::exchange(of.mailbox_, nullptr)->drop_ref();
  }
  return of.mailbox_;
}

bool mailbox_access::wake_from(loop& here, mailbox& target) noexcept {
  return here.backend_->wake(target);
}

loop_remote mailbox_access::remote_to(mailbox& box) noexcept {
  return loop_remote{&box};
}

void mailbox_access::host(loop& there, guest& g) noexcept {
  there.mailbox_->add_guest(g);
}

}  // namespace detail

void timer::arm(time_point deadline) noexcept {
  unlink();
  deadline_ = deadline;
  if (deadline != time_point::max()) owner_->timers_.insert(*this);
}

}  // namespace runnel
