#include "runnel/signal.hpp"

#include <stdexcept>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using runnel::errc;
using runnel::result;
using runnel::task;

task<> raise_later(int number) {
  co_await runnel::sleep(1ms);
  std::raise(number);
}

}  // namespace

RING_TASK_TEST("signal: comes to the one who waits") {
  runnel::signal_set signals{loop, {SIGUSR1, SIGUSR2}};
  runnel::task_group group{loop};
  group.spawn(raise_later(SIGUSR2));
  result<int> number = co_await signals.wait();
  CHECK(number.value() == SIGUSR2);
  co_await group.join();
}

RING_TASK_TEST("signal: none is lost between two waits or by a cancelled one") {
  runnel::signal_set signals{loop, {SIGUSR1, SIGUSR2}};
  std::raise(SIGUSR1);
  std::raise(SIGUSR2);
  result<int> first = co_await signals.wait();
  result<int> second = co_await signals.wait();
  CHECK(first.value() == SIGUSR1);
  CHECK(second.value() == SIGUSR2);
  result<int> late = co_await runnel::with_timeout(1ms, signals.wait());
  CHECK(late.error() == errc::deadline_exceeded);
  std::raise(SIGUSR1);
  result<int> third = co_await signals.wait();
  CHECK(third.value() == SIGUSR1);
}

RING_TASK_TEST("signal: the disposition before comes back") {
  struct sigaction before {};
  before.sa_handler = SIG_IGN;
  REQUIRE(::sigaction(SIGUSR1, &before, nullptr) == 0);
  { runnel::signal_set signals{loop, {SIGUSR1}}; }
  struct sigaction now {};
  REQUIRE(::sigaction(SIGUSR1, nullptr, &now) == 0);
  bool restored = now.sa_handler == SIG_IGN;
  CHECK(restored);
  before.sa_handler = SIG_DFL;
  ::sigaction(SIGUSR1, &before, nullptr);
  co_return;
}

RING_TASK_TEST("signal: one signal belongs to one set at a time") {
  runnel::signal_set first{loop, {SIGUSR1}};
  CHECK_THROWS_AS((runnel::signal_set{loop, {SIGUSR2, SIGUSR1}}), std::logic_error);
  CHECK_THROWS_AS((runnel::signal_set{loop, {NSIG}}), std::logic_error);
  runnel::signal_set other{loop, {SIGUSR2}};
  co_return;
}
