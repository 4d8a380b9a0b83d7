// A user's program with the runtime alone: a loop on the kernel's ring, a task and its child.
#include <chrono>
#include <cstdio>
#include <runnel/loop.hpp>
#include <runnel/sleep.hpp>
#include <runnel/task.hpp>

namespace {

runnel::task<int> answer() {
  co_await runnel::sleep(std::chrono::milliseconds{1});
  co_return 42;
}

runnel::task<int> ask() {
  int got = co_await answer();
  co_return got;
}

}  // namespace

int main() {
  runnel::loop io;
  if (io.run(ask()) != 42) return 1;
  std::puts("the task has answered");
}
