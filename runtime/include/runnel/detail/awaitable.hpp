#pragma once

#include <type_traits>
#include <utility>

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

}  // namespace runnel::detail
