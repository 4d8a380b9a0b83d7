#include "runnel/fiber.hpp"

#include <cxxabi.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstring>

#include "fiber_stack.hpp"
#include "runnel/detail/thread_state.hpp"
#include "runnel/detail/transfer.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RUNNEL_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define RUNNEL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define RUNNEL_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define RUNNEL_TSAN 1
#endif

#if defined(RUNNEL_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(RUNNEL_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace runnel {
namespace detail {
namespace {

namespace context = boost::context::detail;

// What the C++ ABI keeps per thread about exceptions being thrown and handled (Itanium C++ ABI
// 2.2.2). Two fibers that wait inside catch blocks would otherwise exchange their exceptions.
struct exception_state {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

void exchange_exceptions(exception_state& save, const exception_state& load) noexcept {
  void* globals = abi::__cxa_get_globals();
  std::memcpy(&save.caught, globals, sizeof save.caught);
  std::memcpy(&save.uncaught, static_cast<std::byte*>(globals) + sizeof save.caught,
              sizeof save.uncaught);
  std::memcpy(globals, &load.caught, sizeof load.caught);
  std::memcpy(static_cast<std::byte*>(globals) + sizeof load.caught, &load.uncaught,
              sizeof load.uncaught);
}

}  // namespace

// How often a fiber that is being destroyed may try to wait again.
constexpr unsigned refusals_bearable = 10'000;

/// The two sides of a switch. Whoever switches away leaves here what it needs to come back.
struct fiber_switch {
  fiber_switch(std::shared_ptr<fiber_stack_pool> pool, fiber_entry e, void* c, std::size_t size)
      : stacks(std::move(pool)), stack(stacks->take(size)), entry(e), call(c) {
    inside = context::make_fcontext(stack.bottom + stack.size, stack.size, &start);
#if defined(RUNNEL_TSAN)
    tsan_inside = __tsan_create_fiber(0);
#endif
  }
  fiber_switch(const fiber_switch&) = delete;
  fiber_switch& operator=(const fiber_switch&) = delete;
  ~fiber_switch() {
#if defined(RUNNEL_TSAN)
    __tsan_destroy_fiber(tsan_inside);
#endif
    stacks->give_back(stack);
  }

  void enter(fiber& self) noexcept {
    started = true;
    running = true;
    const fiber_stack* outer_stack = std::exchange(this_thread.running_stack, &stack);
    exchange_exceptions(outer_exceptions, inner_exceptions);
#if defined(RUNNEL_TSAN)
    tsan_outside = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_inside, 0);
#endif
#if defined(RUNNEL_ASAN)
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack.bottom, stack.size);
#endif
    inside = context::jump_fcontext(inside, &self).fctx;
#if defined(RUNNEL_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
    exchange_exceptions(inner_exceptions, outer_exceptions);
    this_thread.running_stack = outer_stack;
    running = false;
  }

  void leave() noexcept {
#if defined(RUNNEL_TSAN)
    __tsan_switch_to_fiber(tsan_outside, 0);
#endif
#if defined(RUNNEL_ASAN)
    // Without a place to save it, the fake stack of a finished fiber is freed.
    __sanitizer_start_switch_fiber(finished ? nullptr : &fake_stack_inside, outside_bottom,
                                   outside_size);
#endif
    outside = context::jump_fcontext(outside, nullptr).fctx;
    arrive();
  }

  void arrive() noexcept {
#if defined(RUNNEL_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_inside, &outside_bottom, &outside_size);
#endif
  }

  static void start(context::transfer_t from) {
    auto& self = *static_cast<fiber*>(from.data);
    fiber_switch& me = *self.switch_;
    me.outside = from.fctx;
    me.arrive();
    me.entry(self, me.call);
    me.finished = true;
    me.leave();
  }

  std::shared_ptr<fiber_stack_pool> stacks;
  fiber_stack stack;
  fiber_entry entry;
  void* call;
  context::fcontext_t inside = nullptr;
  context::fcontext_t outside = nullptr;
  exception_state inner_exceptions;
  exception_state outer_exceptions;
  bool started = false;
  bool running = false;
  bool finished = false;
  bool unwinding = false;
  unsigned refusals = 0;
#if defined(RUNNEL_ASAN)
  void* fake_stack_inside = nullptr;
  const void* outside_bottom = nullptr;
  std::size_t outside_size = 0;
#endif
#if defined(RUNNEL_TSAN)
  void* tsan_inside = nullptr;
  void* tsan_outside = nullptr;
#endif
};

// Suspends the driver, runs the fiber until it waits, and then leaves the driver suspended in what
// the fiber waits for.
class fiber_step {
 public:
  explicit fiber_step(fiber& self) noexcept : self_(&self) {}
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(fiber::driver_handle driver) noexcept {
    return self_->switch_in(driver);
  }
  void await_resume() const noexcept {}

 private:
  fiber* self_;
};

task<> drive_fiber(fiber_entry entry, void* call, std::size_t stack_size) {
  loop& owner = co_await this_loop();
  fiber self(owner.fiber_stacks(), entry, call, stack_size);
  while (!self.switch_->finished) {
    co_await fiber_step(self);
  }
}

}  // namespace detail

fiber::fiber(std::shared_ptr<detail::fiber_stack_pool> stacks, detail::fiber_entry entry,
             void* call, std::size_t stack_size)
    : switch_(std::make_unique<detail::fiber_switch>(std::move(stacks), entry, call, stack_size)) {}

fiber::~fiber() {
  if (!switch_->started || switch_->finished) return;
  switch_->unwinding = true;
  switch_->enter(*this);
  detail::check(switch_->finished,
                "runnel: a fiber went on waiting while it was being destroyed; do not swallow what "
                "fiber::await throws.");
}

void fiber::check_running() const {
  detail::check(switch_->running,
                "runnel: fiber::await was called from outside the fiber's own body.");
  if (!switch_->unwinding) return;
  // Code that swallows it and tries again, as a stream does, gets some time to notice.
  detail::check(++switch_->refusals < detail::refusals_bearable,
                "runnel: a fiber goes on waiting for ever while it is being destroyed; leave the "
                "loop when a stream has failed, and let pass what fiber::await throws.");
  throw detail::fiber_unwind{};
}

void fiber::switch_out(std::coroutine_handle<> next) {
  next_ = next;
  switch_->leave();
  if (switch_->unwinding) throw detail::fiber_unwind{};
}

std::coroutine_handle<> fiber::switch_in(driver_handle driver) noexcept {
  driver_ = driver;
  driver.promise().set_fiber();
  switch_->enter(*this);
  return switch_->finished ? detail::transfer(driver) : next_;
}

}  // namespace runnel
