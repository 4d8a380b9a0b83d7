#pragma once

#include <array>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <tuple>
#include <utility>
#include <variant>

#include "runnel/detail/branch.hpp"

namespace runnel {

/// Which child of `when_any` ended first, counted from 0, and what it gave.
template <class T>
struct first_of {
  /// Its place among the children.
  std::size_t index;
  /// What it gave: a `std::variant`, or of a range the value itself.
  T value;
};

namespace detail {

template <class... R>
class [[nodiscard]] any_awaiter final : public branch_set {
 public:
  using children_type = std::tuple<branch_promise<R>*...>;
  using value_type = std::variant<kept_t<R>...>;

  any_awaiter(branch_chain&& chain, const children_type& children) noexcept
      : branch_set(std::move(chain), decided_by::first_end), children_(children) {}

  first_of<value_type> await_resume() {
    if (decisive()->exception()) std::rethrow_exception(decisive()->exception());
    return take(std::index_sequence_for<R...>{});
  }

 private:
  template <std::size_t I>
  static first_of<value_type> take_one(const children_type& children) {
    return {I, value_type(std::in_place_index<I>, std::get<I>(children)->take())};
  }
  template <std::size_t... I>
  first_of<value_type> take(std::index_sequence<I...>) {
    using taker = first_of<value_type> (*)(const children_type&);
    static constexpr std::array<taker, sizeof...(I)> takers{&take_one<I>...};
    const std::array<const branch_base*, sizeof...(I)> all{std::get<I>(children_)...};
    std::size_t index = 0;
    while (all[index] != decisive()) ++index;
    return takers[index](children_);
  }

  children_type children_;
};

template <class R>
class [[nodiscard]] any_range_awaiter final : public branch_set {
 public:
  explicit any_range_awaiter(branch_chain&& chain) noexcept
      : branch_set(std::move(chain), decided_by::first_end) {}

  first_of<kept_t<R>> await_resume() {
    if (decisive() == nullptr) {
      throw std::logic_error(
          "runnel: when_any was given an empty range, of which nothing ever ends; ask whether it "
          "is empty first.");
    }
    if (decisive()->exception()) std::rethrow_exception(decisive()->exception());
    std::size_t index = 0;
    for (branch_base* at = children().first(); at != decisive(); at = at->next()) ++index;
    return {index, static_cast<branch_promise<R>*>(decisive())->take()};
  }
};

}  // namespace detail

/// Runs all of `children` at the same time, as `when_all` does, until the first one ends, however
/// it ends: gives its index and what it gave, or throws its exception.
///
/// The others are then cancelled and awaited, so nothing of them is left when this returns; what
/// they give all the same, or throw, is dropped. What one of them was to take from a channel, a
/// mutex or a semaphore stays there, and one that had not started yet starts nothing.
///
/// `value` is a `std::variant` with one alternative for each child, so use `std::get<index>`; a
/// `result<T>` stays one, as the first to end may have failed, and a child that gives nothing has a
/// std::monostate. Cancelling the awaiting task cancels all children and waits for them; then one
/// of them is the first. Costs as `when_all`.
template <detail::movable_awaitable... Awaitables>
requires(sizeof...(Awaitables) > 0) auto when_any(Awaitables&&... children) {
  return detail::make_operation<detail::any_awaiter>(std::move(children)...);
}

/// `when_any` of the elements of a range of awaitables, which are moved out of it; `value` is what
/// the first one gave. Throws std::logic_error for an empty range. Allocates nothing but frames.
template <detail::movable_awaitable_range Range>
auto when_any(Range&& children) {
  return detail::make_range_operation<detail::any_range_awaiter>(std::move(children));
}

}  // namespace runnel
