#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "runnel/detail/check.hpp"
#include "runnel/detail/frame_pool.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/loop.hpp"
#include "runnel/task.hpp"
#include "runnel/testing/task_test.hpp"

namespace runnel::testing {

/// What `fail_everywhere` makes fail.
struct fail_options {
  /// Each allocation of the thread: by operator new, and coroutine frames, which come from no pool
  /// meanwhile. Each once, with the later ones granted, and each with all that follow it.
  bool allocations = true;
  /// Each kernel operation, once with each of `errors`.
  bool operations = true;
  /// errno values.
  std::vector<int> errors{EIO, ENOMEM, ECANCELED, EINTR};
  /// A body that runs more tasks than this in one run is taken for one that never ends.
  std::uint64_t patience = 1'000'000;
};

namespace internal {

/// Which allocations of one thread fail.
class allocation_plan {
 public:
  /// From now on counts this thread's, and fails the one after `granted`, or all after it.
  void arm(std::uint64_t granted, bool lasting) noexcept {
    granted_ = granted;
    lasting_ = lasting;
    seen_ = 0;
    failed_ = 0;
    resume();
  }
  void pause() noexcept { thread_.store(nullptr, std::memory_order_relaxed); }
  void resume() noexcept { thread_.store(&detail::this_thread, std::memory_order_relaxed); }
  bool counts_here() const noexcept {
    return thread_.load(std::memory_order_relaxed) == &detail::this_thread;
  }

  bool next_fails() noexcept {
    if (!counts_here()) return false;
    const std::uint64_t number = seen_++;
    const bool fails = lasting_ ? number >= granted_ : number == granted_;
    if (fails) ++failed_;
    return fails;
  }
  std::uint64_t seen() const noexcept { return seen_; }
  std::uint64_t failed() const noexcept { return failed_; }

 private:
  std::atomic<const void*> thread_{nullptr};
  std::uint64_t granted_ = 0;
  std::uint64_t seen_ = 0;
  std::uint64_t failed_ = 0;
  bool lasting_ = false;
};

inline constinit allocation_plan allocation_faults;

/// Arms the allocator for its lifetime.
class armed_allocator {
 public:
  armed_allocator(std::uint64_t granted, bool lasting) {
    detail::bypass_frame_pool(true);
    allocation_faults.arm(granted, lasting);
  }
  armed_allocator(const armed_allocator&) = delete;
  armed_allocator& operator=(const armed_allocator&) = delete;
  ~armed_allocator() {
    allocation_faults.pause();
    detail::bypass_frame_pool(false);
  }
};

/// How one run went.
struct failed_run {
  bool started = false;
  bool ended = false;
  std::exception_ptr thrown;
};

inline task<> to_its_end(task<> body, bool& ended) {
  try {
    co_await std::move(body);
  } catch (...) {
    ended = true;
    throw;
  }
  ended = true;
}

inline void run_once(const loop_options& options, test_body body, failed_run& how) {
  try {
    loop driver{options};
    task<> whole = to_its_end(body(driver, options.simulated.value_or(0)), how.ended);
    how.started = true;
    driver.run(std::move(whole));
  } catch (...) {
    how.thrown = std::current_exception();
  }
}

/// Nothing but an error, and a body that has come to its end.
inline void judge(const failed_run& how) {
  std::string wrong;
  try {
    if (how.thrown) std::rethrow_exception(how.thrown);
  } catch (const deadlock_error&) {
    wrong = "the body waits for ever";
  } catch (const std::bad_alloc&) {
  } catch (const std::system_error&) {
  } catch (const std::exception& other) {
    wrong = std::string("the body threw what is no failure: ") + other.what();
  }
  // The deadlock's own message may have found no memory.
  if (wrong.empty() && how.started && !how.ended) wrong = "the body did not come to its end";
  DOCTEST_CHECK_MESSAGE(wrong.empty(), wrong);
}

/// Bounds a run, and makes one operation of it fail.
class fault_observer final : public loop_observer {
 public:
  explicit fault_observer(std::uint64_t patience) noexcept : left_(patience) {}

  void fail(std::uint64_t number, int error) noexcept {
    number_ = number;
    error_ = error;
  }
  bool met() const noexcept { return met_; }

  void on_entry(const trace_entry& entry) noexcept override {
    if (entry.what != trace_entry::kind::resumed) return;
    detail::check(left_-- != 0,
                  "runnel: a body given to fail_everywhere runs more tasks than "
                  "fail_options::patience; it may be in an endless loop.");
  }
  int on_operation(std::string_view, std::uint64_t number) noexcept override {
    if (error_ == 0 || number != number_) return 0;
    met_ = true;
    return error_;
  }

 private:
  std::uint64_t left_;
  std::uint64_t number_ = 0;
  int error_ = 0;
  bool met_ = false;
};

inline void fail_allocations(const loop_options& wanted, test_body body, const fail_options& how) {
  allocation_faults.arm(~std::uint64_t{0}, false);
  ::operator delete(::operator new(1));
  allocation_faults.pause();
  if (allocation_faults.seen() == 0) {
    throw std::logic_error(
        "runnel: fail_everywhere cannot make allocations fail here; include "
        "<runnel/testing/replace_new.hpp> in one source file of the test.");
  }
  for (const bool lasting : {false, true}) {
    std::uint64_t granted = 0;
    for (bool met = true; met; ++granted) {
      DOCTEST_INFO("after ", granted, " allocations ",
                   std::string(lasting ? "all fail" : "one fails"));
      failed_run run;
      fault_observer observer{how.patience};
      loop_options options = wanted;
      options.observer = &observer;
      {
        armed_allocator armed{granted, lasting};
        run_once(options, body, run);
      }
      judge(run);
      met = allocation_faults.failed() != 0;
    }
    DOCTEST_CHECK_MESSAGE(granted > 1, "the body allocates nothing");
  }
}

inline void fail_operations(const loop_options& wanted, test_body body, const fail_options& how) {
  for (const int error : how.errors) {
    bool met = true;
    for (std::uint64_t granted = 0; met; ++granted) {
      DOCTEST_INFO("operation ", granted, " fails with errno ", error);
      failed_run run;
      fault_observer observer{how.patience};
      observer.fail(granted, error);
      loop_options options = wanted;
      options.observer = &observer;
      run_once(options, body, run);
      judge(run);
      met = observer.met();
    }
  }
}

}  // namespace internal

/// While it lives, allocations succeed: for what a body does as a test, such as keeping notes.
class no_failures {
 public:
  no_failures() noexcept : armed_(internal::allocation_faults.counts_here()) {
    if (armed_) internal::allocation_faults.pause();
  }
  no_failures(const no_failures&) = delete;
  no_failures& operator=(const no_failures&) = delete;
  ~no_failures() {
    if (armed_) internal::allocation_faults.resume();
  }

 private:
  bool armed_;
};

/// Runs `body` again and again, each time on a new simulated loop, and makes another allocation or
/// kernel operation fail each time, until a run comes to its end without having met the failure.
/// In every run the body must come to its end, with a value, an error, or an exception that is a
/// std::bad_alloc or a std::system_error; waiting for ever is a failure of the test. Run it under
/// AddressSanitizer, which finds what was lost on the way.
///
/// One source file of the program must include `<runnel/testing/replace_new.hpp>`. The number of
/// runs is that of the allocations, so keep bodies small. A body's CHECKs must hold whatever
/// failed.
inline void fail_everywhere(test_body body, const fail_options& how = {}) {
  const loop_options options{.simulated = 0};
  if (how.allocations) internal::fail_allocations(options, body, how);
  if (how.operations) internal::fail_operations(options, body, how);
}

/// The same on the real kernel, for files, signals and sockets.
inline void fail_everywhere_real(test_body body, const fail_options& how = {}) {
  if (how.allocations) internal::fail_allocations({}, body, how);
  if (how.operations) internal::fail_operations({}, body, how);
}

}  // namespace runnel::testing
