#pragma once

#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"

namespace runnel::detail {

/// The awaiter of `awaitable`: what operator co_await gives, or the awaitable itself.
template <class Awaitable>
decltype(auto) get_awaiter(Awaitable&& awaitable) {
  if constexpr (requires { std::forward<Awaitable>(awaitable).operator co_await(); }) {
    return std::forward<Awaitable>(awaitable).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<Awaitable>(awaitable)); }) {
    return operator co_await(std::forward<Awaitable>(awaitable));
  } else {
    return std::forward<Awaitable>(awaitable);
  }
}

template <class Awaitable>
using awaiter_of = decltype(detail::get_awaiter(std::declval<Awaitable>()));

/// What `co_await` of an `Awaitable` gives.
template <class Awaitable>
using await_result =
    decltype(std::declval<std::remove_reference_t<awaiter_of<Awaitable>>&>().await_resume());

/// What may be moved into a frame and awaited there.
template <class Awaitable>
concept movable_awaitable = !std::is_lvalue_reference_v<Awaitable> && requires {
  typename await_result<std::remove_cvref_t<Awaitable>>;
};

/// Puts a coroutine into another scope for as long as it takes to hand it to what it awaits.
template <class Promise>
class scope_guard {
 public:
  scope_guard(Promise& promise, cancel_scope& inner) noexcept
      : promise_(&promise), outer_(&promise.scope()) {
    promise.set_scope(inner);
  }
  scope_guard(const scope_guard&) = delete;
  scope_guard& operator=(const scope_guard&) = delete;
  ~scope_guard() { promise_->set_scope(*outer_); }

 private:
  Promise* promise_;
  cancel_scope* outer_;
};

}  // namespace runnel::detail
