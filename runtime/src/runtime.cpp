#include "runnel/runtime.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "runnel/detail/mailbox.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/event.hpp"
#include "runnel/task_group.hpp"

namespace runnel {
namespace detail {
namespace {

// Sends letters as a thread without a loop does, so that each wakes its reader at once. By a loop's
// thread they would leave with its turn, which does not end while this thread blocks.
class blocking_sender {
 public:
  blocking_sender() noexcept : loop_(std::exchange(this_thread.running, nullptr)) {}
  blocking_sender(const blocking_sender&) = delete;
  blocking_sender& operator=(const blocking_sender&) = delete;
  ~blocking_sender() { this_thread.running = loop_; }

 private:
  loop* loop_;
};

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  return cores;
}

[[noreturn]] void refuse(int error, const std::string& what) {
  std::error_code code{error, std::generic_category()};
  throw startup_error(code, what + " (" + code.message() + ").");
}

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  int error = ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
  if (error == 0) return;
  refuse(error, "The kernel does not let a thread be bound to core " + std::to_string(core) +
                    ": set runtime_options::pin to false");
}

void name_thread(std::string name, std::size_t index) {
  constexpr std::size_t shown = 15;
  std::string number = "/" + std::to_string(index);
  name = name.substr(0, shown - std::min(shown, number.size())) + number;
  ::pthread_setname_np(::pthread_self(), name.substr(0, shown).c_str());
}

}  // namespace

// One thread and its loop. The letters are the runtime's to send, each again only when it has
// arrived.
struct runtime_worker {
  class letter final : public mail {
   public:
    letter(runtime_worker& worker, handler on_arrival) noexcept
        : mail(on_arrival), worker_(&worker) {}
    static runtime_worker& of(mail& self) noexcept { return *static_cast<letter&>(self).worker_; }

   private:
    runtime_worker* worker_;
  };

  runtime_worker(runtime_state& of, std::size_t number) noexcept : owner(&of), index(number) {}

  static void on_called(mail& self, loop* here) noexcept;
  static void on_stop(mail& self, loop* here) noexcept;

  runtime_state* owner;
  std::size_t index;
  std::thread thread;
  letter called{*this, &on_called};
  letter stop{*this, &on_stop};
  std::atomic<bool> stop_under_way{false};
  // The loop's own.
  event work;
  task_group* group = nullptr;
};

struct runtime_state {
  explicit runtime_state(runtime_options wanted) : options(std::move(wanted)) {}

  bool stopping() const noexcept {
    return stop_requested.load(std::memory_order_acquire) || (job != nullptr && job->failed());
  }
  void cancel_roots() noexcept;
  void start(std::size_t index);
  void main_of(runtime_worker& worker) noexcept;
  std::exception_ptr host(runtime_worker& worker);
  void report(std::exception_ptr failure, loop_remote remote) noexcept;
  void end() noexcept;
  void root_ended() noexcept;

  runtime_options options;
  std::vector<int> cores = allowed_cores();
  std::vector<std::unique_ptr<runtime_worker>> workers;
  std::vector<loop_remote> remotes;
  std::atomic<bool> stop_requested{false};
  /// Set before the letters that call for it are sent, cleared after the last root has ended; none:
  /// the loops are called to end.
  runtime_job* job = nullptr;

  std::mutex mutex;
  std::condition_variable changed;
  bool running = false;
  std::size_t roots_left = 0;
  bool reported = false;
  std::exception_ptr startup_failure;
};

namespace {

task<> run_roots(runtime_worker& self, loop& here, runtime_job& job) {
  task_group group{here, on_failure::collect};
  self.group = &group;
  if (self.owner->stopping()) group.cancel();
  try {
    group.spawn(job.run_root(here, self.index));
  } catch (...) {
    job.finished({}, std::current_exception());
  }
  co_await group.join();
  self.group = nullptr;
  self.owner->root_ended();
}

task<> serve(runtime_worker& self, loop& here) {
  for (;;) {
    co_await self.work.wait();
    self.work.reset();
    runtime_job* job = self.owner->job;
    if (job == nullptr) co_return;
    std::exception_ptr failure;
    try {
      co_await run_roots(self, here, *job);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure == nullptr) continue;
    // It had no memory to begin with.
    self.group = nullptr;
    job->finished({}, std::move(failure));
    self.owner->root_ended();
  }
}

}  // namespace

void runtime_worker::on_called(mail& self, loop*) noexcept {
  letter::of(self).work.set();
}

void runtime_worker::on_stop(mail& self, loop*) noexcept {
  runtime_worker& worker = letter::of(self);
  // Before it looks: whoever wants a stop after this look sends another letter.
  worker.stop_under_way.exchange(false);
  if (worker.group != nullptr && worker.owner->stopping()) worker.group->cancel();
}

void runtime_job::finished(std::error_code failure, std::exception_ptr exception) noexcept {
  if (!failure && exception == nullptr) return;
  if (kept_.exchange(true)) return;
  failure_ = failure;
  exception_ = std::move(exception);
  failed_.store(true, std::memory_order_release);
}

std::error_code runtime_job::take_failure() {
  if (exception_ != nullptr) std::rethrow_exception(std::exchange(exception_, nullptr));
  return failure_;
}

void runtime_state::cancel_roots() noexcept {
  for (std::size_t i = 0; i < remotes.size(); ++i) {
    runtime_worker& worker = *workers[i];
    if (worker.stop_under_way.exchange(true)) continue;
    static_cast<void>(mailbox_of(remotes[i])->send(worker.stop));
  }
}

void runtime_state::root_ended() noexcept {
  if (job->take_alarm()) cancel_roots();
  std::lock_guard lock{mutex};
  // Under the lock: the job goes away as soon as the waiting thread may see zero.
  if (--roots_left == 0) changed.notify_all();
}

void runtime_state::report(std::exception_ptr failure, loop_remote remote) noexcept {
  std::lock_guard lock{mutex};
  startup_failure = std::move(failure);
  if (remote) remotes.push_back(std::move(remote));
  reported = true;
  changed.notify_all();
}

// Gives what went wrong before the loop was there.
std::exception_ptr runtime_state::host(runtime_worker& worker) {
  std::optional<loop> here;
  loop_remote remote;
  task<> service;
  try {
    name_thread(options.name, worker.index);
    if (options.pin && !cores.empty()) pin_to(cores[worker.index % cores.size()]);
    here.emplace(options.loop);
    remote = here->remote();
    service = serve(worker, *here);
  } catch (...) {
    return std::current_exception();
  }
  report(nullptr, std::move(remote));
  here->run(std::move(service));
  return nullptr;
}

void runtime_state::main_of(runtime_worker& worker) noexcept {
  // Reported from outside of the catch block, so that this thread holds nothing of the exception
  // when another looks at it.
  std::exception_ptr failure = host(worker);
  if (failure != nullptr) report(std::move(failure), {});
}

void runtime_state::start(std::size_t index) {
  workers.push_back(std::make_unique<runtime_worker>(*this, index));
  runtime_worker& worker = *workers.back();
  reported = false;
  try {
    worker.thread = std::thread{[this, &worker] { main_of(worker); }};
  } catch (const std::system_error& error) {
    refuse(error.code().value(), "The kernel gave no thread for loop " + std::to_string(index) +
                                     ": raise the limit on processes (ulimit -u)");
  }
  std::unique_lock lock{mutex};
  changed.wait(lock, [this] { return reported; });
  if (startup_failure != nullptr) {
    std::rethrow_exception(std::exchange(startup_failure, nullptr));
  }
}

void runtime_state::end() noexcept {
  job = nullptr;
  const blocking_sender sender;
  for (std::size_t i = 0; i < remotes.size(); ++i) {
    static_cast<void>(mailbox_of(remotes[i])->send(workers[i]->called));
  }
  for (auto& worker : workers) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

}  // namespace detail

runtime::runtime() : runtime(runtime_options{}) {}

runtime::runtime(runtime_options options)
    : state_(std::make_unique<detail::runtime_state>(std::move(options))) {
  if (state_->options.loop.observer != nullptr) {
    throw std::logic_error(
        "runnel: a loop_observer looks into one loop, on its thread; leave "
        "runtime_options::loop.observer empty.");
  }
  if (state_->options.loop.simulated) {
    throw std::logic_error(
        "runnel: a runtime's loops run in real time; leave runtime_options::loop.simulated empty.");
  }
  std::size_t count = state_->options.threads;
  if (count == 0) count = std::max<std::size_t>(1, state_->cores.size());
  state_->workers.reserve(count);
  state_->remotes.reserve(count);
  try {
    for (std::size_t i = 0; i < count; ++i) {
      state_->start(i);
    }
  } catch (...) {
    state_->end();
    throw;
  }
}

runtime::~runtime() {
  detail::check(
      !state_->running,
      "runnel: a runtime was destroyed while its run is under way; let run return first.");
  state_->end();
}

std::span<const loop_remote> runtime::remotes() const noexcept {
  return state_->remotes;
}

void runtime::request_stop() noexcept {
  state_->stop_requested.store(true, std::memory_order_release);
  state_->cancel_roots();
}

bool runtime::stop_requested() const noexcept {
  return state_->stop_requested.load(std::memory_order_acquire);
}

void runtime::run_job(detail::runtime_job& job) {
  detail::runtime_state& state = *state_;
  std::unique_lock lock{state.mutex};
  if (state.running) {
    throw std::logic_error(
        "runnel: runtime::run was called while it is under way; call it once at a time, and not "
        "from its own loops.");
  }
  for (const auto& worker : state.workers) {
    if (worker->thread.get_id() != std::this_thread::get_id()) continue;
    throw std::logic_error(
        "runnel: runtime::run was called on one of the runtime's own loops, which it would wait "
        "for; call it on another thread.");
  }
  state.running = true;
  state.roots_left = state.workers.size();
  state.job = &job;
  lock.unlock();
  const detail::blocking_sender sender;
  for (std::size_t i = 0; i < state.workers.size(); ++i) {
    static_cast<void>(detail::mailbox_of(state.remotes[i])->send(state.workers[i]->called));
  }
  lock.lock();
  state.changed.wait(lock, [&state] { return state.roots_left == 0; });
  state.job = nullptr;
  state.running = false;
}

}  // namespace runnel
