#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "runnel/event.hpp"
#include "runnel/loop.hpp"
#include "runnel/remote.hpp"
#include "runnel/task.hpp"

namespace runnel::testing {

/// A door that threads wait at until it is opened, for tests that put threads into an order.
class gate {
 public:
  void open() {
    std::lock_guard lock{mutex_};
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

/// A loop on a thread of its own that serves what is sent to it until `end()`.
class loop_thread {
 public:
  enum class start { at_once, when_told };

  /// With `when_told` the loop exists and takes letters, but runs only after `go()`.
  explicit loop_thread(start when = start::at_once) {
    if (when == start::at_once) go_.open();
    thread_ = std::thread{[this] { main(); }};
    made_.pass();
  }
  loop_thread(const loop_thread&) = delete;
  loop_thread& operator=(const loop_thread&) = delete;
  ~loop_thread() { end(); }

  const loop_remote& remote() const { return remote_; }
  std::thread::id id() const { return thread_.get_id(); }
  void go() { go_.open(); }

  /// Ends the loop, which destroys what still runs there, and joins the thread. The post is made by
  /// a thread without a loop: one of a loop leaves at the end of its turn, which may be the very
  /// turn that this call holds up.
  void end() {
    if (!thread_.joinable()) return;
    std::thread{[this] { static_cast<void>(remote_.post([this] { ended_.set(); })); }}.join();
    go_.open();
    thread_.join();
  }
  /// Ends it without ever running it, when it was to be told.
  void end_unrun() {
    run_it_ = false;
    go_.open();
    thread_.join();
  }

 private:
  static task<> wait_for(event& e) { co_await e.wait(); }

  void main() {
    loop here;
    remote_ = here.remote();
    made_.open();
    go_.pass();
    if (run_it_) here.run(wait_for(ended_));
  }

  loop_remote remote_;
  event ended_;
  gate made_;
  gate go_;
  bool run_it_ = true;
  std::thread thread_;
};

}  // namespace runnel::testing
