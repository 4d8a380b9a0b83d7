#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "runnel/call.hpp"
#include "runnel/loop.hpp"
#include "runnel/remote.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel {

/// How the loops of a `runtime` are made.
struct runtime_options {
  /// How many loops, each on a thread of its own. 0: one for each core that sched_getaffinity(2)
  /// allows the thread that makes the runtime.
  unsigned threads = 0;
  /// Whether each thread is bound to one of the allowed cores (pthread_setaffinity_np(3)), taken in
  /// turn where there are more threads than cores. A thread that moves between cores leaves its
  /// caches behind.
  bool pin = true;
  /// Threads are called `name`/0, `name`/1 and so on, cut to the 15 characters that Linux shows.
  std::string name = "runnel";
  /// For every loop. `simulated` and `observer` must not be set. `log` is called by one thread
  /// after the other about the start; `on_stall`, and `log` about stalls, by each loop's own
  /// thread.
  loop_options loop{};
};

namespace detail {

struct runtime_state;

/// One `runtime::run`: what its roots are and what became of them.
class runtime_job {
 public:
  runtime_job(const runtime_job&) = delete;
  runtime_job& operator=(const runtime_job&) = delete;

  /// On the loop's thread: runs root `index` and calls `finished` with how it ended.
  virtual task<> run_root(loop& here, std::size_t index) = 0;
  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  /// True for one caller after a failure: the one who cancels the others.
  bool take_alarm() noexcept { return failed() && !alarm_taken_.exchange(true); }
  /// Keeps the first failure.
  void finished(std::error_code failure, std::exception_ptr exception) noexcept;

 protected:
  runtime_job() noexcept = default;
  ~runtime_job() = default;

  /// Throws the first failure if it was an exception.
  std::error_code take_failure();

 private:
  std::atomic<bool> failed_{false};
  std::atomic<bool> kept_{false};
  std::atomic<bool> alarm_taken_{false};
  std::error_code failure_;
  std::exception_ptr exception_;
};

template <class T>
struct job_value {
  using type = std::vector<T>;
};
template <>
struct job_value<void> {
  using type = void;
};
template <class T>
struct job_value<result<T>> {
  using type = result<typename job_value<T>::type>;
};

template <class Fn, class T>
class runtime_job_of final : public runtime_job {
 public:
  runtime_job_of(Fn& fn, std::size_t count) : fn_(&fn), values_(count) {}

  task<> run_root(loop& here, std::size_t index) override {
    std::error_code failure;
    std::exception_ptr exception;
    try {
      task<T> root = (*fn_)(here, index);
      if constexpr (std::is_void_v<T>) {
        co_await std::move(root);
      } else {
        T value = co_await std::move(root);
        if constexpr (is_result<T>) {
          if (value.has_error()) failure = value.error();
        }
        values_[index].emplace(std::move(value));
      }
    } catch (...) {
      exception = std::current_exception();
    }
    finished(failure, std::move(exception));
  }

  typename job_value<T>::type take() {
    std::error_code failure = take_failure();
    if constexpr (is_result<T>) {
      if (failure) return failure;
      if constexpr (std::is_same_v<T, result<void>>) {
        return {};
      } else {
        typename job_value<T>::type::value_type all;
        all.reserve(values_.size());
        for (auto& value : values_) {
          all.push_back(std::move(**value));
        }
        return all;
      }
    } else if constexpr (!std::is_void_v<T>) {
      std::vector<T> all;
      all.reserve(values_.size());
      for (auto& value : values_) {
        all.push_back(std::move(*value));
      }
      return all;
    }
  }

 private:
  using slot = std::conditional_t<std::is_void_v<T>, std::monostate, std::optional<T>>;

  Fn* fn_;
  std::vector<slot> values_;
};

}  // namespace detail

/// Loops on threads: one loop for each core, which share nothing but their mailboxes. What runs on
/// one loop is as single-threaded as ever; `call`, `run_on` and `loop_remote::post` go from one to
/// another. There is no work stealing: where a task is started, there it stays.
///
///     runnel::runtime cores;
///     cores.run(serve);    // task<> serve(runnel::loop& here, std::size_t index)
///
/// The thread that makes it and calls `run` only waits; it hosts no loop, keeps its own affinity,
/// and may be any thread but those of the loops. Between runs the loops sleep in the kernel.
class runtime {
 public:
  /// One loop for each allowed core.
  runtime();
  /// Starts the threads and their loops, one after the other. Throws `startup_error` when the
  /// kernel refuses a thread, a core or what a loop needs; those already started are gone by then.
  /// Throws std::logic_error for simulated loops.
  explicit runtime(runtime_options options);
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;
  /// Ends the loops, which have nothing to do outside of `run`, and joins their threads. Not while
  /// `run` is under way; this is checked.
  ~runtime();

  /// How many loops there are.
  std::size_t size() const noexcept { return remotes().size(); }

  /// The loops by index, for as long as the runtime lives; copies may be kept longer.
  std::span<const loop_remote> remotes() const noexcept;

  /// Runs `fn(loop, index)`, which returns a task, once on each loop, and waits for all of them.
  /// One `fn` serves all: it is called on every thread, perhaps at the same time, and lives until
  /// the last task is done. A loop whose task is done goes on to serve calls and posts of the
  /// others.
  ///
  /// The first failure, an exception or a result that holds an error, cancels the tasks of all
  /// loops; when all have ended it is thrown, or given as the error. Otherwise gives the values in
  /// the order of the loops: for tasks of void nothing, of `result<void>` a `result<void>`, of T a
  /// `std::vector<T>`, of `result<T>` a `result<std::vector<T>>`.
  ///
  /// Blocks the calling thread. One at a time; from one of the runtime's own loops, or while
  /// another run is under way, it throws std::logic_error. May be called again afterwards.
  template <class Fn>
  auto run(Fn fn) {
    using root = std::invoke_result_t<Fn&, loop&, std::size_t>;
    static_assert(detail::is_task<root>, "runtime::run: fn(loop&, std::size_t) must return a task");
    detail::runtime_job_of<Fn, typename root::value_type> job{fn, size()};
    run_job(job);
    return job.take();
  }

  /// Cancels the tasks of the run that is under way, and those of every later run from their start.
  /// From any thread and any number of times; from a signal through a task that awaits a
  /// `signal_set`, not from the handler. Returns at once.
  void request_stop() noexcept;
  /// Whether that was called.
  bool stop_requested() const noexcept;

 private:
  void run_job(detail::runtime_job& job);

  std::unique_ptr<detail::runtime_state> state_;
};

}  // namespace runnel
