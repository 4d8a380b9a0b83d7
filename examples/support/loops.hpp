#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "link_flags.hpp"
#include "runnel/remote.hpp"
#include "runnel/runtime.hpp"

namespace example {

/// The flag that says on how many loops a server runs.
inline CLI::Option* add_loops_to(CLI::App& app, std::uint32_t& loops) {
  return app
      .add_option("--loops", loops, "Loops, each on a thread of its own with a queue of the device")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
}

/// Runs `body(loop, part)` on so many loops, each on a thread of its own with its part of the
/// device; the largest of their exit codes. One loop runs on this thread.
template <class Body>
int run_on_loops(const link_flags& flags, std::uint32_t loops, Body body) {
  std::vector<device_part> parts = open_device(flags, loops);
  if (loops == 1) {
    runnel::loop here;
    return here.run(body(here, std::move(parts.front())));
  }
  runnel::runtime cores({.threads = loops});
  const std::vector<int> codes = cores.run(
      [&](runnel::loop& here, std::size_t index) { return body(here, std::move(parts[index])); });
  return *std::max_element(codes.begin(), codes.end());
}

/// What one loop's signals mean for all loops: each joins with what it does about the first one and
/// the next ones, which is then done on its own thread.
class interruption {
 public:
  using reaction = std::function<void(unsigned times)>;

  /// A loop's part in it, for as long as it lives; it belongs to the loop's thread.
  class part {
   public:
    part(interruption& of, runnel::loop& here, reaction react)
        : of_(&of), where_(here.remote()), react_(std::move(react)) {
      const std::lock_guard lock(of_->mutex_);
      of_->parts_.push_back(this);
      if (of_->times_ > 0) of_->tell(*this, of_->times_);
    }
    part(const part&) = delete;
    part& operator=(const part&) = delete;
    ~part() {
      const std::lock_guard lock(of_->mutex_);
      std::erase(of_->parts_, this);
    }

   private:
    friend class interruption;
    interruption* of_;
    runnel::loop_remote where_;
    reaction react_;
  };

  /// One more signal.
  void happen() {
    const std::lock_guard lock(mutex_);
    ++times_;
    for (part* each : parts_) tell(*each, times_);
  }

 private:
  /// With the lock held. A loop that has ended needs to hear nothing.
  void tell(part& who, unsigned times) {
    static_cast<void>(who.where_.post([this, to = &who, times] {
      if (is_there(to)) to->react_(times);
    }));
  }
  /// On that part's thread, which alone can take it away.
  bool is_there(const part* who) {
    const std::lock_guard lock(mutex_);
    return std::find(parts_.begin(), parts_.end(), who) != parts_.end();
  }

  std::mutex mutex_;
  std::vector<part*> parts_;
  unsigned times_ = 0;
};

}  // namespace example
