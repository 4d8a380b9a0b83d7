#pragma once

#include <doctest/doctest.h>

#include <cstdint>

#include "runnel/loop.hpp"
#include "support/task_test.hpp"

namespace runnel::testing {

/// Runs `body` on io_uring, where this machine allows it, and on epoll.
inline void run_on_both(test_body body) {
  for (const backend_kind kind : {backend_kind::io_uring, backend_kind::epoll}) {
    loop_options options;
    options.backend = kind;
    try {
      loop driver{options};
      INFO(driver.description());
      driver.run(body(driver, 0));
    } catch (const startup_error& refusal) {
      REQUIRE(kind == backend_kind::io_uring);
      MESSAGE("skipped on io_uring: ", refusal.what());
    }
  }
}

inline void run_on_epoll(test_body body) {
  loop_options options;
  options.backend = backend_kind::epoll;
  loop driver{options};
  driver.run(body(driver, 0));
}

}  // namespace runnel::testing

/// As RING_TASK_TEST, once on each backend of the kernel: they have to behave the same.
#define BOTH_TASK_TEST(name) \
  RUNNEL_TASK_TEST_(DOCTEST_ANONYMOUS(runnel_task_test_), name, run_on_both)

/// As RING_TASK_TEST, on epoll.
#define EPOLL_TASK_TEST(name) \
  RUNNEL_TASK_TEST_(DOCTEST_ANONYMOUS(runnel_task_test_), name, run_on_epoll)
