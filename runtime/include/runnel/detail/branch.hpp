#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <ranges>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/result.hpp"
#include "runnel/waiter.hpp"

// What when_all, when_all_settled and when_any share: children that run at the same time inside the
// task that awaits them.
namespace runnel::detail {

/// What may be given to when_all and when_any besides a pack.
template <class R>
concept movable_awaitable_range =
    !movable_awaitable<R> && !std::is_lvalue_reference_v<R> && std::ranges::input_range<R> &&
    movable_awaitable<std::ranges::range_value_t<R>>;

/// What of a child's outcome is kept as it is: something that a variant can hold.
template <class R>
struct kept {
  using type = R;
};
template <>
struct kept<void> {
  using type = std::monostate;
};
template <class R>
struct kept<R&> {
  using type = std::reference_wrapper<R>;
};
template <class R>
using kept_t = typename kept<R>::type;

class branch_set;

/// The frame of one child. It stays until the whole is over, what the child awaits does not.
class branch_base : public promise_base {
 public:
  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<branch_base> Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> h) const noexcept {
      return h.promise().end();
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }

  bool failed() const noexcept { return exception_ != nullptr || error_; }
  const std::exception_ptr& exception() const noexcept { return exception_; }
  std::error_code error() const noexcept { return error_; }
  branch_base* next() const noexcept { return next_; }

 protected:
  friend class branch_set;
  friend class branch_chain;

  /// Whether anybody will ask for its value; else it is destroyed at once, as it may hold what
  /// other children wait for.
  bool wanted() const noexcept;
  std::coroutine_handle<> end() noexcept;

  std::coroutine_handle<> frame_;
  branch_base* next_ = nullptr;
  branch_set* set_ = nullptr;
  starter starter_;
  std::exception_ptr exception_;
  std::error_code error_;
};

template <class R>
class branch_promise;

template <class R>
struct branch {
  using promise_type = branch_promise<R>;
  promise_type* promise;
};

template <class R>
class branch_promise final : public branch_base {
 public:
  branch<R> get_return_object() noexcept {
    frame_ = handle_of(*this);
    return {this};
  }
  template <class U>
  void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<kept_t<R>, U>) {
    if constexpr (is_result<R>) {
      if (value.has_error()) error_ = value.error();
    }
    if (wanted()) value_.emplace(std::forward<U>(value));
  }
  /// Once, after it has ended with a value.
  kept_t<R> take() { return std::move(*value_); }

 private:
  std::optional<kept_t<R>> value_;
};

template <>
class branch_promise<void> final : public branch_base {
 public:
  branch<void> get_return_object() noexcept {
    frame_ = handle_of(*this);
    return {this};
  }
  void return_void() const noexcept {}
  std::monostate take() const noexcept { return {}; }
};

template <class Awaitable>
branch<await_result<Awaitable>> make_branch(Awaitable given) {
  // A local, as a parameter would live as long as the frame.
  Awaitable target = std::move(given);
  if constexpr (std::is_void_v<await_result<Awaitable>>) {
    co_await std::move(target);
  } else {
    co_return co_await std::move(target);
  }
}

/// Owns the frames of children.
class branch_chain {
 public:
  branch_chain() noexcept = default;
  branch_chain(branch_chain&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)),
        last_(std::exchange(other.last_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  branch_chain& operator=(branch_chain&&) = delete;
  ~branch_chain();

  template <class R>
  branch_promise<R>* add(branch<R> child) noexcept {
    link(*child.promise);
    return child.promise;
  }
  branch_base* first() const noexcept { return first_; }
  std::size_t size() const noexcept { return size_; }

 private:
  void link(branch_base& child) noexcept;

  branch_base* first_ = nullptr;
  branch_base* last_ = nullptr;
  std::size_t size_ = 0;
};

/// Which child decides how the whole ends; the others are then cancelled, and awaited.
enum class decided_by : unsigned char { first_failure, first_end, nobody };

/// The base of the awaiters. It goes on with the awaiting coroutine when the last child has ended.
class branch_set {
 public:
  branch_set(const branch_set&) = delete;
  branch_set& operator=(const branch_set&) = delete;

  bool await_ready() const noexcept { return children_.size() == 0; }
  template <std::derived_from<promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    parent_ = h;
    start(h.promise());
  }

 protected:
  branch_set(branch_chain&& children, decided_by rule) noexcept
      : rule_(rule), children_(std::move(children)) {}
  ~branch_set() = default;

  /// The child that decided, or null.
  branch_base* decisive() const noexcept { return decisive_; }
  const branch_chain& children() const noexcept { return children_; }

 private:
  friend class branch_base;

  void start(promise_base& parent) noexcept;
  std::coroutine_handle<> on_end(branch_base& child) noexcept;

  decided_by rule_;
  std::size_t running_ = 0;
  branch_base* decisive_ = nullptr;
  std::coroutine_handle<> parent_;
  // In this order: the children must be gone before the scope that they wait in.
  std::optional<cancel_scope> scope_;
  branch_chain children_;
};

inline bool branch_base::wanted() const noexcept {
  return set_->decisive_ == nullptr;
}

inline std::coroutine_handle<> branch_base::end() noexcept {
  return set_->on_end(*this);
}

/// Children that wait to be awaited as one `Awaiter`, which is constructed from them.
template <class Awaiter, class... Extra>
class [[nodiscard]] branch_operation {
 public:
  explicit branch_operation(branch_chain&& children, Extra... extra) noexcept
      : children_(std::move(children)), extra_(extra...) {}

  Awaiter operator co_await() && noexcept {
    return std::apply(
        [this](const auto&... extra) { return Awaiter(std::move(children_), extra...); }, extra_);
  }

 private:
  branch_chain children_;
  std::tuple<Extra...> extra_;
};

template <template <class...> class Awaiter, class... Awaitables>
auto make_operation(Awaitables&&... given) {
  using awaiter = Awaiter<await_result<Awaitables>...>;
  using typed = typename awaiter::children_type;
  branch_chain chain;
  typed children{chain.add(detail::make_branch<Awaitables>(std::move(given)))...};
  return branch_operation<awaiter, typed>(std::move(chain), children);
}

template <template <class> class Awaiter, class Range>
auto make_range_operation(Range&& given) {
  using awaitable = std::ranges::range_value_t<Range>;
  using awaiter = Awaiter<await_result<awaitable>>;
  branch_chain chain;
  for (auto it = std::ranges::begin(given); it != std::ranges::end(given); ++it) {
    chain.add(detail::make_branch<awaitable>(std::ranges::iter_move(it)));
  }
  return branch_operation<awaiter>(std::move(chain));
}

}  // namespace runnel::detail
