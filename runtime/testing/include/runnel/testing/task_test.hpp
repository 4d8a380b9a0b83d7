#pragma once

#include <doctest/doctest.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "runnel/fiber.hpp"
#include "runnel/loop.hpp"
#include "runnel/task.hpp"
#include "runnel/testing/killed_run.hpp"

/// Deterministic tests for programs that use runnel: doctest cases whose bodies are coroutines or
/// fibers on a simulated loop. Link `runnel::testing`.
namespace runnel::testing {

/// A test as a coroutine. `seed` is the one that the simulated loop was made with.
using test_body = task<void> (*)(loop& loop, std::uint64_t seed);

/// Which seeds a case is run with: `first`, `first + 1`, ... Seed 0 keeps ready tasks in FIFO
/// order; every other one shuffles them in its own way.
struct seed_range {
  /// The first one.
  std::uint64_t first = 0;
  /// How many.
  std::uint64_t count = 5;
};

namespace internal {

inline std::uint64_t number_from(const char* variable, const char* text) {
  char* end = nullptr;
  errno = 0;
  const std::uint64_t value = std::strtoull(text, &end, 0);
  if (errno != 0 || end == text || *end != '\0') {
    throw std::invalid_argument(std::string(variable) + " is \"" + text +
                                "\", which is no number; write RUNNEL_SEED=7, RUNNEL_SEEDS=100 or "
                                "RUNNEL_KILL=50.");
  }
  return value;
}

/// The command line that runs this case again with this seed, and nothing else.
inline std::string how_to_repeat(std::uint64_t seed) {
  const doctest::ContextOptions* run = doctest::getContextOptions();
  std::string line = "repeat with RUNNEL_SEED=" + std::to_string(seed);
  if (run == nullptr || run->currentTest == nullptr) return line;
  return line + " " + run->binary_name.c_str() + " -tc='" + run->currentTest->m_name + "'";
}

}  // namespace internal

/// The seeds to run with: `wanted`, unless the environment says otherwise. RUNNEL_SEED=n is that
/// one only, which repeats a failure exactly; RUNNEL_SEEDS=n is the first n. Throws
/// `std::invalid_argument` when one of these is no number.
inline seed_range seeds_to_run(seed_range wanted = {}) {
  if (const char* one = std::getenv("RUNNEL_SEED")) {
    return {internal::number_from("RUNNEL_SEED", one), 1};
  }
  if (const char* many = std::getenv("RUNNEL_SEEDS")) {
    return {wanted.first, internal::number_from("RUNNEL_SEEDS", many)};
  }
  return wanted;
}

/// Calls `run(loop&, seed)` with a new simulated loop for each of the seeds. What fails in it, be
/// it a check, an exception that escapes or a `deadlock_error`, is reported with the command line
/// that repeats it. A process that dies, which doctest says without its notes, is narrowed down
/// with RUNNEL_SEED.
template <class Run>
void for_each_seed(Run run, seed_range wanted = {}) {
  const seed_range seeds = seeds_to_run(wanted);
  for (std::uint64_t i = 0; i < seeds.count; ++i) {
    const std::uint64_t seed = seeds.first + i;
    DOCTEST_INFO(internal::how_to_repeat(seed));
    loop driver{loop_options{.simulated = seed}};
    run(driver, seed);
  }
}

/// Whether cases are destroyed in the middle, and at how many turns each: RUNNEL_KILL=n. Zero, the
/// default, is not at all.
inline std::uint64_t kill_points() {
  const char* wanted = std::getenv("RUNNEL_KILL");
  return wanted == nullptr ? 0 : internal::number_from("RUNNEL_KILL", wanted);
}

/// Runs `body` on a new simulated loop for each seed. With RUNNEL_KILL=n in the environment it is
/// also run n times destroyed in another turn each, evenly spread over its life: run the program
/// under AddressSanitizer, and each case shows whether what it uses may die at any point.
inline void run_simulated(test_body body) {
  const std::uint64_t points = kill_points();
  for_each_seed([body, points](loop& driver, std::uint64_t seed) {
    if (points == 0) {
      driver.run(body(driver, seed));
    } else {
      internal::run_killed([&](loop& on) { return body(on, seed); }, seed, points);
    }
  });
}

/// Runs `body` once on a loop of the real kernel; `seed` is 0.
inline void run_real(test_body body) {
  loop driver;
  driver.run(body(driver, 0));
}

/// A test as a fiber: `self` is what can wait.
using fiber_body = void (*)(fiber& self, loop& loop, std::uint64_t seed);

/// As run_simulated, with a body on a stack of its own.
inline void run_fiber_simulated(fiber_body body) {
  const std::uint64_t points = kill_points();
  for_each_seed([body, points](loop& driver, std::uint64_t seed) {
    const auto make = [&](loop& on) {
      return run_fiber([&on, body, seed](fiber& self) { body(self, on, seed); });
    };
    if (points == 0) {
      driver.run(make(driver));
    } else {
      internal::run_killed(make, seed, points);
    }
  });
}

}  // namespace runnel::testing

#define RUNNEL_TASK_TEST_(function, name, runner)                             \
  static ::runnel::task<void> function([[maybe_unused]] ::runnel::loop& loop, \
                                       [[maybe_unused]] std::uint64_t seed);  \
  DOCTEST_TEST_CASE(name) {                                                   \
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
  DOCTEST_TEST_CASE(name) {                                    \
    ::runnel::testing::run_fiber_simulated(&function);         \
  }                                                            \
  static void function([[maybe_unused]] ::runnel::fiber& self, \
                       [[maybe_unused]] ::runnel::loop& loop, [[maybe_unused]] std::uint64_t seed)

/// FIBER_TEST("area: behaviour") { self.await(...); CHECK(...); }
///
/// As TASK_TEST, with a body on a fiber: `self` is what can wait.
#define FIBER_TEST(name) RUNNEL_FIBER_TEST_(DOCTEST_ANONYMOUS(runnel_fiber_test_), name)
