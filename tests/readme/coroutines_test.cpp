// docs/coroutines.md, run.
#include <pages/coroutines.hpp>

#include "support/task_test.hpp"

namespace page = page_coroutines;

TASK_TEST("docs coroutines: a group's children use what was declared before it") {
  std::size_t sum = co_await page::sum_of_two();
  CHECK(sum == 33 + 3 + 5);
}

TASK_TEST("docs coroutines: a lambda without captures takes parameters") {
  std::size_t size = co_await page::with_a_lambda();
  CHECK(size == 8);
}
