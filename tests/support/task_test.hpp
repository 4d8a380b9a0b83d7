#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>

#include "runnel/loop.hpp"
#include "runnel/task.hpp"

namespace runnel::testing {

using test_body = task<void> (*)(loop& loop, std::uint64_t seed);

/// Runs `body` on a new simulated loop for each of a few seeds; 0 is FIFO order. With RUNNEL_SEED
/// in the environment only that one runs, which repeats a failure exactly.
inline void run_simulated(test_body body) {
  std::uint64_t first = 0;
  std::uint64_t last = 4;
  if (const char* wanted = std::getenv("RUNNEL_SEED")) {
    first = last = std::strtoull(wanted, nullptr, 0);
  }
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("repeat with RUNNEL_SEED=", seed);
    loop driver{loop_options{.simulated = seed}};
    driver.run(body(driver, seed));
  }
}

/// Runs `body` once on a loop of the real kernel; `seed` is 0.
inline void run_real(test_body body) {
  loop driver;
  driver.run(body(driver, 0));
}

}  // namespace runnel::testing

#define RUNNEL_TASK_TEST_(function, name, runner)                             \
  static ::runnel::task<void> function([[maybe_unused]] ::runnel::loop& loop, \
                                       [[maybe_unused]] std::uint64_t seed);  \
  TEST_CASE(name) {                                                           \
    ::runnel::testing::runner(&function);                                     \
  }                                                                           \
  static ::runnel::task<void> function([[maybe_unused]] ::runnel::loop& loop, \
                                       [[maybe_unused]] std::uint64_t seed)

/// TASK_TEST("area: behaviour") { co_await ...; CHECK(...); }
///
/// A doctest case whose body is a coroutine on a simulated loop: virtual time, seeded order,
/// several seeds. `loop` and `seed` are in scope. Await into a named variable first, then CHECK it.
#define TASK_TEST(name) RUNNEL_TASK_TEST_(DOCTEST_ANONYMOUS(runnel_task_test_), name, run_simulated)

/// The same on the real kernel's io_uring, once.
#define RING_TASK_TEST(name) RUNNEL_TASK_TEST_(DOCTEST_ANONYMOUS(runnel_task_test_), name, run_real)
