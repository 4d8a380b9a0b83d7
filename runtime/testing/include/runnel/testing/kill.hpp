#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>

#include "runnel/loop.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task.hpp"
#include "runnel/task_group.hpp"
#include "runnel/testing/task_test.hpp"
#include "runnel/testing/victim.hpp"

namespace runnel::testing {

/// How far a kill or cancel test goes: it stops the body at `time_step * i` plus `j` passes through
/// the ready queue, for all i < `times` and j < `passes`, and for larger i until it once came to
/// its end by itself.
struct stop_points {
  /// Of the loop's time.
  duration time_step{std::chrono::milliseconds{1}};
  /// How many steps, at least.
  int times = 8;
  /// How many passes after each.
  int passes = 6;
};

namespace internal {

inline task<> wait_for(duration time, int passes) {
  co_await sleep(time);
  for (int i = 0; i < passes; ++i) {
    co_await yield();
  }
}

inline task<> kill_at(loop& on, task<> body, duration time, int passes, bool& finished) {
  victim target = make_victim(std::move(body));
  target.start(on);
  co_await wait_for(time, passes);
  finished = target.done();
  if (finished) target.rethrow();
  target.destroy();
  // What is left in the loop must not reach the destroyed frame.
  co_await wait_for(time + std::chrono::milliseconds{1}, 2);
}

inline task<> cancel_at(loop& on, task<> body, duration time, int passes, bool& finished) {
  task_group group{on};
  group.spawn(std::move(body));
  co_await wait_for(time, passes);
  finished = group.empty();
  group.cancel();
  co_await group.join();
}

template <class MakeLoop, class Stop>
void stop_everywhere(MakeLoop make_options, test_body body, stop_points points, Stop stop) {
  bool ended_once = false;
  bool stopped_once = false;
  // A busy machine may take longer to reach the end of a body that waits in real time.
  const int patience = points.times * 50;
  for (int i = 0; i < points.times || (!ended_once && i < patience); ++i) {
    for (int j = 0; j < points.passes; ++j) {
      DOCTEST_INFO("stopped after ", i, " time steps and ", j, " passes");
      loop driver{make_options()};
      bool finished = false;
      driver.run(stop(driver, body(driver, 0), points.time_step * i, j, finished));
      ended_once = ended_once || finished;
      stopped_once = stopped_once || !finished;
    }
  }
  DOCTEST_CHECK(stopped_once);
  DOCTEST_INFO("the body never came to its end by itself");
  DOCTEST_CHECK(ended_once);
}

}  // namespace internal

/// Destroys `body` while it is suspended, at every stop point, each time on a new simulated loop,
/// and lets the loop go on. Run it under AddressSanitizer.
inline void kill_everywhere(test_body body, stop_points points = {}) {
  internal::stop_everywhere([] { return loop_options{.simulated = 0}; }, body, points,
                            &internal::kill_at);
}

/// Cancels `body` at every stop point; it must come to its end.
inline void cancel_everywhere(test_body body, stop_points points = {}) {
  internal::stop_everywhere([] { return loop_options{.simulated = 0}; }, body, points,
                            &internal::cancel_at);
}

/// `kill_everywhere` on the real kernel, where time steps take real time: keep `points` small.
inline void kill_everywhere_real(test_body body, stop_points points) {
  internal::stop_everywhere([] { return loop_options{}; }, body, points, &internal::kill_at);
}
/// `cancel_everywhere` on the real kernel, the same.
inline void cancel_everywhere_real(test_body body, stop_points points) {
  internal::stop_everywhere([] { return loop_options{}; }, body, points, &internal::cancel_at);
}

}  // namespace runnel::testing
