#pragma once

#include <coroutine>
#include <type_traits>
#include <utility>

namespace runnel::detail {

/// Whether awaiting an `Awaitable` goes through an operator co_await of its own.
template <class Awaitable>
concept has_co_await_operator = requires(Awaitable&& a) {
  static_cast<Awaitable&&>(a).operator co_await();
}
|| requires(Awaitable&& a) {
  operator co_await(static_cast<Awaitable&&>(a));
};

/// Stands for an awaiter that lives in the awaiting expression. g++ 12 copies or moves what
/// await_transform returns by reference, and a leaf is not to be moved; this is all it gets.
template <class Awaiter>
class [[nodiscard]] awaiter_ref {
 public:
  explicit awaiter_ref(Awaiter& target) noexcept : target_(&target) {}

  decltype(auto) await_ready() const noexcept(noexcept(std::declval<Awaiter&>().await_ready())) {
    return target_->await_ready();
  }
  template <class Promise>
  decltype(auto) await_suspend(std::coroutine_handle<Promise> h) const {
    return target_->await_suspend(h);
  }
  decltype(auto) await_resume() const { return target_->await_resume(); }

 private:
  Awaiter* target_;
};

}  // namespace runnel::detail
