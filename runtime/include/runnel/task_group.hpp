#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>

#include "runnel/cancel.hpp"
#include "runnel/detail/awaitable.hpp"
#include "runnel/detail/list.hpp"
#include "runnel/detail/promise_base.hpp"
#include "runnel/loop.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/waiter.hpp"

namespace runnel {

class task_group;

/// What a task_group does when a child fails.
enum class on_failure {
  cancel_rest,  ///< The first failure cancels the other children.
  collect,      ///< The others go on; failures are counted and the first is kept.
};

namespace detail {

struct group_child_tag;

template <class Value>
concept group_outcome = std::is_void_v<Value> || std::is_same_v<Value, result<void>>;

template <class Callable, class... Args>
concept group_callable = requires(Callable& callable, Args... args) {
  requires group_outcome<await_result<decltype(std::invoke(callable, std::move(args)...))>>;
};

// The frame that runs one child: it destroys itself at its end, after it told the group.
class group_child {
 public:
  class promise_type final : public promise_base, private tagged_hook<group_child_tag> {
   public:
    template <class... Parameters>
    explicit promise_type(task_group& group, Parameters&...) noexcept : group_(&group) {}

    group_child get_return_object() noexcept { return group_child{handle_of(*this)}; }
    // Where the child was spawned is kept in place of where it is awaited.
    template <class Awaitable>
    decltype(auto) await_transform(Awaitable&& child) noexcept {
      return promise_base::await_transform(std::forward<Awaitable>(child), where());
    }
    std::suspend_never final_suspend() noexcept;
    void return_value(std::error_code failure) noexcept { failure_ = failure; }
    void unhandled_exception() noexcept { exception_ = std::current_exception(); }

   private:
    friend class runnel::task_group;
    friend class list<promise_type, tagged_hook<group_child_tag>>;

    task_group* group_;
    starter starter_;
    std::error_code failure_;
    std::exception_ptr exception_;
  };

  explicit group_child(std::coroutine_handle<promise_type> handle) noexcept : frame(handle) {}

  std::coroutine_handle<promise_type> frame;
};

class [[nodiscard]] join_awaiter final : public waiter {
 public:
  explicit join_awaiter(task_group& group) noexcept : group_(&group) {}
  join_awaiter(join_awaiter&&) noexcept = default;
  ~join_awaiter() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept;
  result<void> await_resume();

 private:
  friend class runnel::task_group;

  void on_cancel() noexcept override;
  wait_description describe() const override;
  void begin() noexcept;
  void expect_more() noexcept;

  task_group* group_;
};

}  // namespace detail

/// A scope that owns tasks running at the same time. It must be joined before it dies: destroying
/// one with live children aborts with a sentence, unless the frame that holds it is itself being
/// destroyed while suspended, then the children are destroyed too. For the tasks of one loop.
class task_group {
 public:
  /// A group whose children nothing cancels but itself and a cancelled `join()`.
  explicit task_group(loop& owner, on_failure mode = on_failure::cancel_rest) noexcept
      : scope_(owner.root_scope()), mode_(mode) {}
  /// A group whose children are cancelled with `parent`, such as `co_await this_scope()`.
  explicit task_group(cancel_scope& parent, on_failure mode = on_failure::cancel_rest) noexcept
      : scope_(parent), mode_(mode) {}
  task_group(const task_group&) = delete;
  task_group& operator=(const task_group&) = delete;
  ~task_group();

  /// Makes `child` ready: a task or any other awaitable that gives nothing or `result<void>`, moved
  /// in. It first runs in phase 4, not from inside this call. A `result` that holds an error, and
  /// an exception, is a failure; `errc::cancelled` after the group was cancelled is not. In a
  /// cancelled group the child still runs, so that it can give back what it owns, but what it
  /// awaits is cancelled. Costs one pooled frame beside the child's own. `where` is for
  /// `dump_tasks`.
  template <detail::movable_awaitable Awaitable>
  requires detail::group_outcome<detail::await_result<Awaitable>>
  void spawn(Awaitable&& child, std::source_location where = std::source_location::current()) {
    launch(run_child<Awaitable>(*this, std::move(child)).frame, where);
  }
  /// The same with the task that `callable(args...)` returns; it is called when the child first
  /// runs. The callable and the arguments are moved here and live as long as the child, so a lambda
  /// that is a coroutine may capture and may take its parameters by reference.
  template <class Callable>
  requires detail::group_callable<Callable>
  void spawn(Callable callable, std::source_location where = std::source_location::current()) {
    launch(run_call<Callable>(*this, std::move(callable)).frame, where);
  }
  /// With one argument.
  template <class Callable, class A>
  requires detail::group_callable<Callable, A>
  void spawn(Callable callable, A a, std::source_location where = std::source_location::current()) {
    launch(run_call<Callable, A>(*this, std::move(callable), std::move(a)).frame, where);
  }
  /// With two.
  template <class Callable, class A, class B>
  requires detail::group_callable<Callable, A, B>
  void spawn(Callable callable, A a, B b,
             std::source_location where = std::source_location::current()) {
    launch(run_call<Callable, A, B>(*this, std::move(callable), std::move(a), std::move(b)).frame,
           where);
  }
  /// With three.
  template <class Callable, class A, class B, class C>
  requires detail::group_callable<Callable, A, B, C>
  void spawn(Callable callable, A a, B b, C c,
             std::source_location where = std::source_location::current()) {
    launch(run_call<Callable, A, B, C>(*this, std::move(callable), std::move(a), std::move(b),
                                       std::move(c))
               .frame,
           where);
  }
  /// With four or more, of which a dump does not know where it was: nothing can follow arguments
  /// whose number is open.
  template <class Callable, class A, class B, class C, class D, class... Rest>
  requires detail::group_callable<Callable, A, B, C, D, Rest...>
  void spawn(Callable callable, A a, B b, C c, D d, Rest... rest) {
    launch(run_call<Callable, A, B, C, D, Rest...>(*this, std::move(callable), std::move(a),
                                                   std::move(b), std::move(c), std::move(d),
                                                   std::move(rest)...)
               .frame,
           {});
  }

  /// Waits until there are no children, also those spawned meanwhile. Gives the first failure: an
  /// error as `result<void>`, an exception by throwing it. When the waiting task is cancelled the
  /// group is cancelled, and join still waits for the children; it gives `errc::cancelled` unless
  /// a child failed before. One at a time.
  detail::join_awaiter join() noexcept { return detail::join_awaiter{*this}; }

  /// Cancels all children, and those still to be spawned.
  void cancel() noexcept { scope_.cancel(); }
  /// Whether it was cancelled, by a failure too.
  bool cancelled() const noexcept { return scope_.cancelled(); }
  /// Whether no child is running.
  bool empty() const noexcept { return count_ == 0; }
  /// How many children are running.
  std::size_t size() const noexcept { return count_; }
  /// How many children have failed so far.
  std::size_t failures() const noexcept { return failures_; }

 private:
  friend class detail::group_child::promise_type;
  friend class detail::join_awaiter;
  using child_promise = detail::group_child::promise_type;

  template <class Awaitable>
  static detail::group_child run_child(task_group&, Awaitable given) {
    Awaitable child = std::move(given);
    using value = detail::await_result<Awaitable>;
    if constexpr (std::is_void_v<value>) {
      co_await std::move(child);
      co_return std::error_code{};
    } else {
      value outcome = co_await std::move(child);
      co_return outcome.has_error() ? outcome.error() : std::error_code{};
    }
  }
  template <class Callable, class... Args>
  static detail::group_child run_call(task_group&, Callable callable, Args... args) {
    auto child = std::invoke(callable, std::move(args)...);
    using value = detail::await_result<decltype(child)>;
    if constexpr (std::is_void_v<value>) {
      co_await std::move(child);
      co_return std::error_code{};
    } else {
      value outcome = co_await std::move(child);
      co_return outcome.has_error() ? outcome.error() : std::error_code{};
    }
  }

  void launch(std::coroutine_handle<child_promise> frame, std::source_location where) noexcept;
  void on_child_done(child_promise& child) noexcept;

  cancel_scope scope_;
  on_failure mode_;
  std::size_t count_ = 0;
  std::size_t failures_ = 0;
  std::error_code first_error_;
  std::exception_ptr first_exception_;
  waiter* joining_ = nullptr;
  detail::list<child_promise, detail::tagged_hook<detail::group_child_tag>> children_;
};

template <std::derived_from<detail::promise_base> Promise>
bool detail::join_awaiter::await_suspend(std::coroutine_handle<Promise> h) noexcept {
  check(group_->joining_ == nullptr,
        "runnel: task_group::join is already awaited by another task; join from one place.");
  if (group_->empty()) {
    if (!suspend_unless(h, true)) return false;
    group_->joining_ = this;
    return true;
  }
  suspend(h);
  begin();
  return true;
}

}  // namespace runnel
