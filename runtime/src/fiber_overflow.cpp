#include "fiber_overflow.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string_view>
#include <system_error>

#include "fiber_stack.hpp"
#include "runnel/detail/thread_state.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RUNNEL_OWNS_SIGSEGV 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RUNNEL_OWNS_SIGSEGV 0
#endif
#endif
#if !defined(RUNNEL_OWNS_SIGSEGV)
#define RUNNEL_OWNS_SIGSEGV 1
#endif

namespace runnel::detail {

#if RUNNEL_OWNS_SIGSEGV
namespace {

// Room for this handler and for one that was there before, such as a crash reporter's.
constexpr std::size_t alternate_bytes = 64 * 1024;

// Written before the handler is installed, read by it.
struct sigaction previous {};

void say(std::string_view text) noexcept {
  static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
}

bool is_in_guard(const void* address, const fiber_stack& stack) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto bottom = reinterpret_cast<std::uintptr_t>(stack.bottom);
  return at < bottom && at >= bottom - fiber_guard_bytes;
}

void report(const fiber_stack& stack) noexcept {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, stack.size).ptr;
  say("runnel: a fiber's stack of ");
  say({digits, static_cast<std::size_t>(end - digits)});
  say(" bytes overflowed; give it more by fiber_options::stack_size.\n");
}

// Returning runs the instruction again, which then meets whatever stands behind.
void pass_on(int number, siginfo_t* facts, void* context) noexcept {
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(number, facts, context);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(number, &standard, nullptr);
    // One that somebody sent does not come again by itself.
    if (facts->si_code <= 0) ::raise(number);
  } else {
    previous.sa_handler(number);
  }
}

void on_segv(int number, siginfo_t* facts, void* context) {
  const int saved = errno;
  const fiber_stack* stack = this_thread.running_stack;
  if (stack != nullptr && facts->si_code > 0 && is_in_guard(facts->si_addr, *stack)) {
    report(*stack);
  }
  pass_on(number, facts, context);
  errno = saved;
}

void install_handler() {
  struct sigaction mine {};
  mine.sa_sigaction = &on_segv;
  mine.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&mine.sa_mask);
  if (::sigaction(SIGSEGV, nullptr, &previous) != 0 || ::sigaction(SIGSEGV, &mine, nullptr) != 0) {
    throw std::system_error(errno, std::generic_category(),
                            "runnel: no handler for SIGSEGV may be installed");
  }
}

}  // namespace

void report_fiber_overflow() {
  static std::once_flag once;
  std::call_once(once, install_handler);
  if (this_thread.alternate_stack_users++ > 0) return;
  stack_t there{};
  ::sigaltstack(nullptr, &there);
  if ((there.ss_flags & SS_DISABLE) == 0) return;
  void* memory = ::mmap(nullptr, alternate_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  stack_t mine{};
  mine.ss_sp = memory;
  mine.ss_size = alternate_bytes;
  if (memory == MAP_FAILED || ::sigaltstack(&mine, nullptr) != 0) {
    if (memory != MAP_FAILED) ::munmap(memory, alternate_bytes);
    --this_thread.alternate_stack_users;
    throw std::bad_alloc();
  }
  this_thread.alternate_stack = memory;
}

void release_alternate_stack() noexcept {
  if (--this_thread.alternate_stack_users > 0 || this_thread.alternate_stack == nullptr) return;
  stack_t there{};
  ::sigaltstack(nullptr, &there);
  if (there.ss_sp == this_thread.alternate_stack) {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    ::sigaltstack(&none, nullptr);
  }
  ::munmap(this_thread.alternate_stack, alternate_bytes);
  this_thread.alternate_stack = nullptr;
}

#else

void report_fiber_overflow() {}

void release_alternate_stack() noexcept {}

#endif

}  // namespace runnel::detail
