// docs/gcc12.md, run.
#include <pages/gcc12.hpp>

#include "support/task_test.hpp"

TASK_TEST("docs gcc12: the safe spellings do what they say") {
  std::string many = co_await page_gcc12::safe(3);
  CHECK(many == "313");
  std::string few = co_await page_gcc12::safe(1);
  CHECK(few == "124");
}
