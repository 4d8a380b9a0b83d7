// A fiber's stack that is too small: each case is a process of its own that dies of it. Sanitizers
// keep SIGSEGV to themselves.

#include <signal.h>

#include <cstdint>
#include <thread>

#include "runnel/fiber.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "support/death_test.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_CRASH_TESTS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_CRASH_TESTS 0
#endif
#endif
#if !defined(RUNNEL_CRASH_TESTS)
#define RUNNEL_CRASH_TESTS 1
#endif

#if RUNNEL_CRASH_TESTS

namespace {

using namespace std::chrono_literals;
using runnel::testing::death;
using runnel::testing::run_in_child;

runnel::loop_options reporting() {
  return {.simulated = 0, .report_fiber_overflow = true};
}

[[gnu::noinline]] int sink(volatile char* place) {
  *place = 1;
  return *place;
}

template <std::size_t Frame>
[[gnu::noinline]] int descend(int depth) {
  volatile char frame[Frame];
  const int here = sink(frame);
  if (depth == 0) return here;
  return descend<Frame>(depth - 1) + sink(frame + Frame - 1);
}

template <std::size_t Frame>
void overflow(runnel::loop& loop, std::size_t stack_size) {
  runnel::fiber_options options;
  options.stack_size = stack_size;
  loop.run(runnel::run_fiber(
      [](runnel::fiber& self) {
        self.await(runnel::sleep(1ms)).value();
        descend<Frame>(1'000'000);
      },
      options));
}

const char* const sentence =
    "runnel: a fiber's stack of 32768 bytes overflowed; give it more by "
    "fiber_options::stack_size.\n";

// What the parent has installed for its own crashes is inherited.
void plain_signals(void (*handler)(int) = SIG_DFL) {
  ::signal(SIGSEGV, handler);
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  ::sigaltstack(&none, nullptr);
}

void crash() {
  volatile std::uintptr_t nowhere = 8;
  *reinterpret_cast<volatile int*>(nowhere) = 1;
}

}  // namespace

TEST_CASE("fiber overflow: is one sentence, and then the signal") {
  const death d = run_in_child([] {
    plain_signals();
    runnel::loop loop{reporting()};
    overflow<256>(loop, 32 * 1024);
  });
  CHECK(d.signal == SIGSEGV);
  CHECK(d.said == sentence);
}

TEST_CASE("fiber overflow: a frame that is larger than a page does not step over the guard") {
  const death d = run_in_child([] {
    plain_signals();
    runnel::loop loop{reporting()};
    overflow<48 * 1024>(loop, 32 * 1024);
  });
  CHECK(d.signal == SIGSEGV);
  CHECK(d.said == sentence);
}

TEST_CASE("fiber overflow: on any thread of the process, among other fibers") {
  const death d = run_in_child([] {
    plain_signals();
    std::thread other{[] {
      runnel::loop first{reporting()};
      { runnel::loop second{reporting()}; }
      auto body = [](runnel::loop& loop) -> runnel::task<> {
        runnel::task_group group{loop};
        for (int i = 0; i < 4; ++i) {
          runnel::fiber_options small;
          small.stack_size = i == 2 ? 32 * 1024 : 64 * 1024;
          group.spawn(runnel::run_fiber(
              [i](runnel::fiber& self) {
                self.await(runnel::sleep(1ms * (5 - i))).value();
                if (i == 2) descend<256>(1'000'000);
                self.await(runnel::sleep(1s)).value();
              },
              small));
        }
        co_await group.join();
      };
      first.run(body(first));
    }};
    other.join();
  });
  CHECK(d.signal == SIGSEGV);
  CHECK(d.said == sentence);
}

TEST_CASE("fiber overflow: the handler that was there before hears of it, and of all the rest") {
  const auto before = [](int) { ::_exit(42); };
  const death overflowed = run_in_child([&] {
    plain_signals(before);
    runnel::loop loop{reporting()};
    overflow<256>(loop, 32 * 1024);
  });
  CHECK(overflowed.exit_code == 42);
  CHECK(overflowed.said == sentence);
  const death crashed = run_in_child([&] {
    plain_signals(before);
    runnel::loop loop{reporting()};
    crash();
  });
  CHECK(crashed.exit_code == 42);
  CHECK(crashed.said.empty());
}

TEST_CASE("fiber overflow: another crash dies as it would have, also one that somebody sends") {
  const death in_fiber = run_in_child([] {
    plain_signals();
    runnel::loop loop{reporting()};
    loop.run(runnel::run_fiber([](runnel::fiber&) { crash(); }));
  });
  CHECK(in_fiber.signal == SIGSEGV);
  CHECK(in_fiber.said.empty());
  const death sent = run_in_child([] {
    plain_signals();
    runnel::loop loop{reporting()};
    ::raise(SIGSEGV);
  });
  CHECK(sent.signal == SIGSEGV);
  CHECK(sent.said.empty());
}

TEST_CASE("fiber overflow: a loop gives its alternate stack back, and leaves another's alone") {
  const death d = run_in_child([] {
    plain_signals();
    stack_t there{};
    {
      runnel::loop first{reporting()};
      { runnel::loop second{reporting()}; }
      ::sigaltstack(nullptr, &there);
      if ((there.ss_flags & SS_DISABLE) != 0) ::_exit(1);
    }
    ::sigaltstack(nullptr, &there);
    if ((there.ss_flags & SS_DISABLE) == 0) ::_exit(2);
    static char memory[64 * 1024];
    stack_t own{};
    own.ss_sp = memory;
    own.ss_size = sizeof memory;
    if (::sigaltstack(&own, nullptr) != 0) ::_exit(3);
    { runnel::loop third{reporting()}; }
    ::sigaltstack(nullptr, &there);
    if (there.ss_sp != static_cast<void*>(memory)) ::_exit(4);
  });
  CHECK(d.exit_code == 0);
}

#endif
