#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <source_location>

#include "runnel/detail/await_place.hpp"
#include "runnel/detail/frame_pool.hpp"

namespace runnel {
class cancel_scope;
class waiter;
}  // namespace runnel

namespace runnel::detail {

struct starter_access;

/// The base of the promise of every coroutine of runnel: frames from the pool, and the context that
/// a coroutine inherits from the one that awaits it, which is its cancel scope and through it the
/// loop. It is set when the coroutine is started. What `dump_tasks` shows is here too: where the
/// coroutine last awaited something, and what it belongs to.
class promise_base {
 public:
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { free_frame(frame, size); }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  cancel_scope& scope() const noexcept { return *scope_; }
  void set_scope(cancel_scope& scope) noexcept { scope_ = &scope; }

  /// Remembers where it awaits, and hands on what is awaited without moving or copying it.
  template <class Awaitable>
  decltype(auto) await_transform(
      Awaitable&& awaitable,
      std::source_location where = std::source_location::current()) noexcept {
    where_ = where;
    if constexpr (has_co_await_operator<Awaitable>) {
      return static_cast<Awaitable&&>(awaitable);
    } else {
      return awaiter_ref<std::remove_reference_t<Awaitable>>(awaitable);
    }
  }

  /// Where it last awaited something; line 0 when nowhere yet.
  std::source_location where() const noexcept { return where_; }
  void set_where(std::source_location where) noexcept { where_ = where; }

  /// `parent` waits for it, or will.
  void set_parent(const promise_base& parent) noexcept { above_ = address_of(&parent); }
  /// It runs a child of a group; who joins that is in `joiner`, null for nobody. `where()` is then
  /// where the child was spawned.
  void set_group(waiter* const& joiner) noexcept { above_ = address_of(&joiner) | in_group; }
  /// It only carries another coroutine, and what it awaits is of no interest.
  void set_glue() noexcept { above_ |= glue; }
  /// It drives a fiber, and `where()` is where that waits; the coroutine above is glue.
  void set_fiber() noexcept { above_ |= fiber; }

  const promise_base* parent() const noexcept {
    return (above_ & in_group) != 0 ? nullptr : reinterpret_cast<promise_base*>(above_ & ~tags);
  }
  /// Null when it does not run a child of a group.
  waiter* const* group() const noexcept {
    return (above_ & in_group) != 0 ? reinterpret_cast<waiter* const*>(above_ & ~tags) : nullptr;
  }
  bool is_glue() const noexcept { return (above_ & glue) != 0; }
  bool is_fiber() const noexcept { return (above_ & fiber) != 0; }

 protected:
  promise_base() noexcept = default;

  /// The handle of `promise`, checked by the frame canary.
  template <class Promise>
  static std::coroutine_handle<Promise> handle_of(Promise& promise) noexcept {
    auto handle = std::coroutine_handle<Promise>::from_promise(promise);
#ifndef NDEBUG
    check_frame(handle.address());
#endif
    return handle;
  }

 private:
  static constexpr std::uintptr_t in_group = 1;
  static constexpr std::uintptr_t glue = 2;
  static constexpr std::uintptr_t fiber = 4;
  static constexpr std::uintptr_t tags = in_group | glue | fiber;

  static std::uintptr_t address_of(const void* at) noexcept {
    return reinterpret_cast<std::uintptr_t>(at);
  }

  cancel_scope* scope_ = nullptr;
  std::source_location where_;
  /// Who waits for it, with the tags in the bits that alignment leaves.
  std::uintptr_t above_ = 0;
};

}  // namespace runnel::detail
