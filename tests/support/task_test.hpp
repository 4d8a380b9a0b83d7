#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>

#include "runnel/fiber.hpp"
#include "runnel/loop.hpp"
#include "runnel/task.hpp"

namespace runnel::testing {

using test_body = task<void> (*)(loop& loop, std::uint64_t seed);

/// Calls `run` with a new simulated loop for each of a few seeds; 0 is FIFO order. With RUNNEL_SEED
/// in the environment only that one runs, which repeats a failure exactly.
template <class Run>
void for_each_seed(Run run) {
  std::uint64_t first = 0;
  std::uint64_t last = 4;
  if (const char* wanted = std::getenv("RUNNEL_SEED")) {
    first = last = std::strtoull(wanted, nullptr, 0);
  }
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    INFO("repeat with RUNNEL_SEED=", seed);
    loop driver{loop_options{.simulated = seed}};
    run(driver, seed);
  }
}

/// Runs `body` on a new simulated loop for each seed.
inline void run_simulated(test_body body) {
  for_each_seed([body](loop& driver, std::uint64_t seed) { driver.run(body(driver, seed)); });
}

/// Runs `body` once on a loop of the real kernel; `seed` is 0.
inline void run_real(test_body body) {
  loop driver;
  driver.run(body(driver, 0));
}

using fiber_body = void (*)(fiber& self, loop& loop, std::uint64_t seed);

/// As run_simulated, with a body on a stack of its own.
inline void run_fiber_simulated(fiber_body body) {
  for_each_seed([body](loop& driver, std::uint64_t seed) {
    driver.run(run_fiber([&](fiber& self) { body(self, driver, seed); }));
  });
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

#define RUNNEL_FIBER_TEST_(function, name)                     \
  static void function([[maybe_unused]] ::runnel::fiber& self, \
                       [[maybe_unused]] ::runnel::loop& loop,  \
                       [[maybe_unused]] std::uint64_t seed);   \
  TEST_CASE(name) {                                            \
    ::runnel::testing::run_fiber_simulated(&function);         \
  }                                                            \
  static void function([[maybe_unused]] ::runnel::fiber& self, \
                       [[maybe_unused]] ::runnel::loop& loop, [[maybe_unused]] std::uint64_t seed)

/// FIBER_TEST("area: behaviour") { self.await(...); CHECK(...); }
///
/// As TASK_TEST, with a body on a fiber: `self` is what can wait.
#define FIBER_TEST(name) RUNNEL_FIBER_TEST_(DOCTEST_ANONYMOUS(runnel_fiber_test_), name)
