#pragma once

#include <cstddef>
#include <exception>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "runnel/detail/branch.hpp"
#include "runnel/result.hpp"

namespace runnel {

/// How one child of `when_all_settled` ended; `R` is what awaiting it alone would have given.
template <class R>
class outcome {
 public:
  /// Whether it ended with a value: neither by an exception nor with a result that holds an error.
  bool ok() const noexcept { return !exception_ && !error_; }
  /// The exception it ended with, or null.
  const std::exception_ptr& exception() const noexcept { return exception_; }
  /// The error in its result, or none.
  std::error_code error() const noexcept { return error_; }
  /// What it gave, moved out, or throws its exception. Once. Nothing is std::monostate, a T& is a
  /// std::reference_wrapper.
  detail::kept_t<R> get() {
    if (exception_) std::rethrow_exception(exception_);
    return std::move(*value_);
  }

  /// Not for users: takes over how `child` ended.
  explicit outcome(detail::branch_promise<R>& child)
      : exception_(child.exception()), error_(child.error()) {
    if (!exception_) value_.emplace(child.take());
  }

 private:
  std::exception_ptr exception_;
  std::error_code error_;
  std::optional<detail::kept_t<R>> value_;
};

namespace detail {

/// What a child adds to the value of when_all: of a result only what is in it.
template <class R>
struct unwrapped {
  using type = kept_t<R>;
};
template <class T>
struct unwrapped<result<T>> {
  using type = kept_t<T>;
};
template <class R>
using unwrapped_t = typename unwrapped<R>::type;

template <class R>
inline constexpr bool gives_nothing = std::is_same_v<unwrapped_t<R>, std::monostate>;

// Errors are made in place, as a value may be made from an error too.
template <bool Fallible, class T>
using result_if = std::conditional_t<Fallible, result<T>, T>;

template <class R>
unwrapped_t<R> take_unwrapped(branch_promise<R>& child) {
  if constexpr (gives_nothing<R>) {
    return {};
  } else if constexpr (is_result<R>) {
    R value = child.take();
    return *std::move(value);
  } else {
    return child.take();
  }
}

inline void rethrow_if_thrown(const branch_base* child) {
  if (child != nullptr && child->exception()) std::rethrow_exception(child->exception());
}

template <class... R>
class [[nodiscard]] all_awaiter final : public branch_set {
 public:
  using children_type = std::tuple<branch_promise<R>*...>;
  static constexpr bool fallible = (is_result<R> || ...);
  static constexpr bool nothing = (gives_nothing<R> && ...);
  using plain = std::conditional_t<nothing, void, std::tuple<unwrapped_t<R>...>>;

  all_awaiter(branch_chain&& chain, const children_type& children) noexcept
      : branch_set(std::move(chain), decided_by::first_failure), children_(children) {}

  result_if<fallible, plain> await_resume() {
    rethrow_if_thrown(decisive());
    if constexpr (fallible) {
      if (decisive() != nullptr) return {boost::system::in_place_error, decisive()->error()};
    }
    if constexpr (!nothing) {
      return std::apply([](auto*... child) { return plain(take_unwrapped(*child)...); }, children_);
    } else if constexpr (fallible) {
      return {};
    }
  }

 private:
  children_type children_;
};

template <class... R>
class [[nodiscard]] settled_awaiter final : public branch_set {
 public:
  using children_type = std::tuple<branch_promise<R>*...>;

  settled_awaiter(branch_chain&& chain, const children_type& children) noexcept
      : branch_set(std::move(chain), decided_by::nobody), children_(children) {}

  std::tuple<outcome<R>...> await_resume() {
    return std::apply(
        [](auto*... child) { return std::tuple<outcome<R>...>(outcome<R>(*child)...); }, children_);
  }

 private:
  children_type children_;
};

template <class R>
class [[nodiscard]] all_range_awaiter final : public branch_set {
 public:
  static constexpr bool fallible = is_result<R>;
  static constexpr bool nothing = gives_nothing<R>;
  using plain = std::conditional_t<nothing, void, std::vector<unwrapped_t<R>>>;

  explicit all_range_awaiter(branch_chain&& chain) noexcept
      : branch_set(std::move(chain), decided_by::first_failure) {}

  result_if<fallible, plain> await_resume() {
    rethrow_if_thrown(decisive());
    if constexpr (fallible) {
      if (decisive() != nullptr) return {boost::system::in_place_error, decisive()->error()};
    }
    if constexpr (!nothing) {
      plain values;
      values.reserve(children().size());
      for (branch_base* child = children().first(); child != nullptr; child = child->next()) {
        values.push_back(take_unwrapped(static_cast<branch_promise<R>&>(*child)));
      }
      return values;
    } else if constexpr (fallible) {
      return {};
    }
  }
};

template <class R>
class [[nodiscard]] settled_range_awaiter final : public branch_set {
 public:
  explicit settled_range_awaiter(branch_chain&& chain) noexcept
      : branch_set(std::move(chain), decided_by::nobody) {}

  std::vector<outcome<R>> await_resume() {
    std::vector<outcome<R>> outcomes;
    outcomes.reserve(children().size());
    for (branch_base* child = children().first(); child != nullptr; child = child->next()) {
      outcomes.emplace_back(static_cast<branch_promise<R>&>(*child));
    }
    return outcomes;
  }
};

}  // namespace detail

/// Runs all of `children` at the same time and waits for all of them: tasks, leaf operations such
/// as `sleep` or `stream.read(...)`, `with_timeout(...)`, mixed as one likes, moved in.
///
/// Gives a `std::tuple` of their values in order; a child that gives nothing has a std::monostate
/// in it, and nothing at all is given when none gives anything. When one of them gives a
/// `result<T>`, the whole is a `result<std::tuple<...>>` of what is in the results, else nothing
/// of it is a result.
///
/// The first failure, an exception or a result that holds an error, cancels the others. They are
/// awaited; then the exception is thrown or the error given, and what the others gave is destroyed.
/// Cancelling the awaiting task cancels them all and waits for them; destroying it destroys them.
///
/// They start in the order given, in phase 4, not from inside this call. Each costs one pooled
/// frame beside its own; nothing else is allocated.
template <detail::movable_awaitable... Awaitables>
requires(sizeof...(Awaitables) > 0) auto when_all(Awaitables&&... children) {
  return detail::make_operation<detail::all_awaiter>(std::move(children)...);
}

/// `when_all` of the elements of a range of awaitables, which are moved out of it: a
/// `std::vector` of the values in order, or a result of one. An empty range is a success at once.
/// Allocates the vector that it gives.
template <detail::movable_awaitable_range Range>
auto when_all(Range&& children) {
  return detail::make_range_operation<detail::all_range_awaiter>(std::move(children));
}

/// As `when_all`, but no failure cancels anybody: gives a `std::tuple` with the `outcome` of each.
template <detail::movable_awaitable... Awaitables>
requires(sizeof...(Awaitables) > 0) auto when_all_settled(Awaitables&&... children) {
  return detail::make_operation<detail::settled_awaiter>(std::move(children)...);
}

/// The same for a range: a `std::vector` of outcomes, empty for an empty range.
template <detail::movable_awaitable_range Range>
auto when_all_settled(Range&& children) {
  return detail::make_range_operation<detail::settled_range_awaiter>(std::move(children));
}

}  // namespace runnel
