#pragma once

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/detail/promise_base.hpp"

namespace runnel {

namespace detail {
class task_walk;
}

/// What a leaf waits for, as `dump_tasks` shows it.
struct wait_description {
  /// The kind, a noun such as "sleep" or "tcp read", that lives for ever: waits of one kind at one
  /// place are counted together.
  std::string_view what = "something";
  /// Which one: "fd 7".
  std::string detail{};
};

/// The base of every leaf awaiter: it remembers which coroutine waits, sits in the cancel scope of
/// that coroutine, and makes it ready. No allocation, 48 bytes. A fiber waits through the coroutine
/// that drives it, so a leaf never knows the difference.
///
/// A leaf's `await_suspend(h)` calls `suspend(h)`, then `if (cancelled())` stores the error and
/// calls `wake()`, else starts its operation. A leaf that may be ready at once calls
/// `suspend_unless`, one that tries before it waits `suspend_unless_done`.
///
/// Its destructor unlinks it from the scope and from the ready queue, so that a frame may be
/// destroyed at any suspension point; a derived class must unlink itself from its own wait list
/// (a `detail::tagged_hook` base does so by itself).
///
/// `dump_tasks` shows where each leaf is awaited and since when without its help; one that
/// overrides `describe` is also shown by name.
class waiter : private detail::list_hook {
 public:
  /// Only a waiter that has not suspended may be moved.
  waiter(waiter&& other) noexcept;
  waiter(const waiter&) = delete;
  waiter& operator=(const waiter&) = delete;

  /// Makes the coroutine ready: it runs in phase 4 of a turn, never from inside this call. Does
  /// nothing unless it is suspended and not yet woken, so it may be called twice.
  void wake() noexcept;

  /// True from `suspend` until `wake`.
  bool waiting() const noexcept { return state_ == state::waiting; }

 protected:
  waiter() noexcept = default;
  virtual ~waiter() = default;

  /// Remembers who waits and links itself in the cancel scope of that coroutine.
  template <std::derived_from<detail::promise_base> Promise>
  void suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend_in(h.promise().scope(), h, promise_offset(h), now_of<Promise>(h.promise().scope()));
  }

  /// For a leaf whose value may be there already: returns false when the coroutine may simply go
  /// on, which spends one unit of the task's budget. Otherwise suspends and returns true; when it
  /// was ready but out of budget, or the scope is cancelled, it is woken already.
  template <std::derived_from<detail::promise_base> Promise>
  bool suspend_unless(std::coroutine_handle<Promise> h, bool ready) noexcept {
    if (ready && take_budget(h.promise().scope())) return false;
    suspend(h);
    if (ready || cancelled()) wake();
    return true;
  }

  /// For a leaf that tries before it waits: `begin()` gives true when it has finished, else it has
  /// put the leaf where somebody will find and wake it. In a cancelled scope `on_cancel` is called
  /// in its place. Returns whether the coroutine waits; going on spends one unit of its budget.
  template <std::derived_from<detail::promise_base> Promise, std::predicate Begin>
  bool suspend_unless_done(std::coroutine_handle<Promise> h, const Begin& begin) noexcept {
    cancel_scope& scope = h.promise().scope();
    // Looked at first: who is cancelled ends, also where there is always something ready.
    const bool stopped = scope.cancelled();
    const bool done = !stopped && begin();
    if (done && take_budget(scope)) return false;
    suspend(h);
    if (stopped) [[unlikely]] {
      on_cancel();
    } else if (done) {
      wake();
    }
    return true;
  }

  /// The scope was cancelled while this waits. Must lead to `wake()`, now or when the kernel has
  /// let go of the buffer. Runs no user code. Called at most once per suspension.
  virtual void on_cancel() noexcept = 0;

  /// What it waits for: `return {"lamp", "no 7"};`. Called only by a dump, and only while it
  /// waits; may allocate.
  virtual wait_description describe() const { return {}; }

  /// Takes back a `wake()` whose coroutine has not gone on yet: it waits again. Does nothing
  /// otherwise. A scope that was cancelled in between does not tell of it any more.
  void sleep_again() noexcept;

  /// Whether the scope is already cancelled; valid after `suspend`.
  bool cancelled() const noexcept { return scope_->cancelled(); }

  /// The loop that will resume this; valid after `suspend`.
  loop& owner() const noexcept { return scope_->owner(); }

 private:
  friend class cancel_scope;
  friend class loop;
  friend class detail::list<waiter>;
  friend struct detail::starter_access;
  friend class detail::task_walk;

  enum class state : unsigned char { idle, waiting, ready };

  // Of the loop's time in units of 2^20 ns, about a millisecond; it comes round in 52 days.
  static constexpr unsigned since_shift = 20;

  void suspend_in(cancel_scope& scope, std::coroutine_handle<> h, std::uint16_t promise_offset,
                  std::uint32_t since) noexcept {
    handle_ = h;
    scope_ = &scope;
    since_ = since;
    promise_offset_ = promise_offset;
    state_ = state::waiting;
    scope.waiting_.push_back(*this);
  }
  // Where the promise lies in its frame depends on its type; here the type is still known.
  template <class Promise>
  static std::uint16_t promise_offset(std::coroutine_handle<Promise> h) noexcept {
    return promise_offset(h, h.promise());
  }
  static std::uint16_t promise_offset(std::coroutine_handle<> h,
                                      const detail::promise_base& promise) noexcept {
    return static_cast<std::uint16_t>(reinterpret_cast<const char*>(&promise) -
                                      static_cast<const char*>(h.address()));
  }
  // `loop` is complete where this is instantiated, not where it is written.
  template <class Promise, class Scope = cancel_scope>
  static std::uint32_t now_of(const Scope& scope) noexcept {
    return static_cast<std::uint32_t>(
        static_cast<std::uint64_t>(scope.owner().now().time_since_epoch().count()) >> since_shift);
  }
  const detail::promise_base* promise() const noexcept {
    if (promise_offset_ == 0) return nullptr;
    return reinterpret_cast<const detail::promise_base*>(
        static_cast<const char*>(handle_.address()) + promise_offset_);
  }
  static bool take_budget(cancel_scope& scope) noexcept;

  std::coroutine_handle<> handle_{};
  cancel_scope* scope_ = nullptr;
  std::uint32_t since_ = 0;
  std::uint16_t promise_offset_ = 0;
  state state_ = state::idle;
};

namespace detail {

/// Puts a coroutine that has not run yet on the ready queue.
class starter final : public waiter {
 public:
  template <std::derived_from<promise_base> Promise>
  void start(cancel_scope& scope, std::coroutine_handle<Promise> h) noexcept {
    start(scope, h, h.promise());
  }
  /// The same of a coroutine of which only the base of the promise is known.
  template <std::derived_from<promise_base> Promise>
  void start(cancel_scope& scope, std::coroutine_handle<> h, const Promise& promise) noexcept;

 private:
  void on_cancel() noexcept override { wake(); }
};

struct starter_access {
  template <class Promise>
  static void suspend_in(waiter& w, cancel_scope& scope, std::coroutine_handle<> h,
                         const Promise& promise) noexcept {
    w.suspend_in(scope, h, waiter::promise_offset(h, promise), waiter::now_of<Promise>(scope));
  }
};

template <std::derived_from<promise_base> Promise>
void starter::start(cancel_scope& scope, std::coroutine_handle<> h,
                    const Promise& promise) noexcept {
  starter_access::suspend_in(*this, scope, h, promise);
  wake();
}

}  // namespace detail
}  // namespace runnel
