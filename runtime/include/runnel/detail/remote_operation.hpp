#pragma once

#include <atomic>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "runnel/cancel.hpp"
#include "runnel/detail/frame_pool.hpp"
#include "runnel/detail/mailbox.hpp"
#include "runnel/remote.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/waiter.hpp"

namespace runnel::detail {

class remote_waiter;

/// Something that one loop does for another: the control block of `call` and `run_on`, from the
/// frame pool. Home is the loop that asks, there the one that is asked.
///
/// It is counted: by the awaiter; by the request until its answer is back; by a cancel letter. So
/// the awaiting frame and either loop may go away at any moment. `stage_` decides between the two
/// sides whether the function is begun or taken back; everything else is passed from one thread to
/// the other by the mailboxes and touched by one at a time.
class remote_operation {
 public:
  static void* operator new(std::size_t size) { return allocate_frame(size); }
  static void* operator new(std::size_t size, std::align_val_t alignment) {
    return ::operator new(size, alignment);
  }
  static void operator delete(void* block, std::size_t size) noexcept { free_frame(block, size); }
  static void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
    ::operator delete(block, alignment);
  }

  explicit remote_operation(loop_remote there) noexcept : there_(std::move(there)) {}
  remote_operation(const remote_operation&) = delete;
  remote_operation& operator=(const remote_operation&) = delete;

  // At home.

  /// Sends the request; on an error nothing was sent.
  std::error_code send_from(loop& home, remote_waiter& who) noexcept;
  /// Takes the function back, or asks for the child there to be cancelled. True: `who` need not
  /// wait any longer.
  bool cancel() noexcept;
  /// The awaiter goes away. This may end the operation's life.
  void part() noexcept;

 protected:
  virtual ~remote_operation() = default;

  /// There: calls the function. Leads to `answer()`, at once or later.
  virtual void perform(loop& there) noexcept = 0;
  /// There: whether `stop` would do anything; asked at home.
  virtual bool stoppable() const noexcept { return false; }
  /// There: cancels the child, if it still runs.
  virtual void stop() noexcept {}
  virtual void drop_function() noexcept = 0;
  virtual void drop_outcome() noexcept = 0;

  /// There: sends the outcome home. Nothing of this may be touched after it.
  void answer() noexcept;

  std::error_code failure_;

 private:
  enum class stage : std::uint8_t { asked, begun, taken_back };

  class letter final : public mail {
   public:
    letter(remote_operation& whole, handler on_arrival) noexcept
        : mail(on_arrival), whole_(&whole) {}
    static remote_operation& of(mail& self) noexcept { return *static_cast<letter&>(self).whole_; }

   private:
    remote_operation* whole_;
  };

  static void on_request(mail& self, loop* there) noexcept;
  static void on_answer(mail& self, loop* home) noexcept;
  static void on_cancel(mail& self, loop* there) noexcept;
  bool take_back() noexcept;
  void ask_to_stop() noexcept;
  void release() noexcept;

  std::atomic<std::uint32_t> refs_{1};
  std::atomic<stage> stage_{stage::asked};
  loop_remote there_;
  loop_remote home_;
  letter request_{*this, &on_request};
  letter answer_{*this, &on_answer};
  letter cancel_{*this, &on_cancel};

  // At home only.
  remote_waiter* waiter_ = nullptr;
  bool under_way_ = false;
  bool cancel_sent_ = false;
};

/// The part of the awaiter that does not depend on the value.
class remote_waiter : public waiter {
 public:
  remote_waiter(remote_waiter&& other) noexcept
      : waiter(std::move(other)), operation_(std::exchange(other.operation_, nullptr)) {}

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend(h);
    begin();
  }

 protected:
  explicit remote_waiter(remote_operation& operation) noexcept : operation_(&operation) {}
  ~remote_waiter() override {
    if (operation_ != nullptr) operation_->part();
  }

  remote_operation* operation_;
  /// Why there is no outcome to be taken.
  std::error_code refused_;

 private:
  void begin() noexcept;
  void on_cancel() noexcept override;
};

/// An operation with the place for what comes back.
template <class T>
class remote_outcome : public remote_operation {
 public:
  using remote_operation::remote_operation;

  using value_type = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
  using as_result = std::conditional_t<is_result<T>, T, result<T>>;

  template <class... Args>
  void set_value(Args&&... args) {
    value_.emplace(std::forward<Args>(args)...);
  }
  void set_exception(std::exception_ptr e) noexcept { exception_ = std::move(e); }

  as_result take() {
    // In place, as a T may be made from an error too.
    if (failure_) return as_result(boost::system::in_place_error, failure_);
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
    if constexpr (std::is_void_v<T>) {
      return {};
    } else if constexpr (is_result<T>) {
      return std::move(*value_);
    } else {
      return as_result(boost::system::in_place_value, std::move(*value_));
    }
  }

 protected:
  void drop_outcome() noexcept override {
    value_.reset();
    exception_ = nullptr;
  }

 private:
  std::optional<value_type> value_;
  std::exception_ptr exception_;
};

template <class T>
class [[nodiscard]] remote_awaiter final : public remote_waiter {
 public:
  explicit remote_awaiter(remote_outcome<T>& operation) noexcept : remote_waiter(operation) {}
  remote_awaiter(remote_awaiter&&) noexcept = default;

  typename remote_outcome<T>::as_result await_resume() {
    using as_result = typename remote_outcome<T>::as_result;
    if (refused_) return as_result(boost::system::in_place_error, refused_);
    return static_cast<remote_outcome<T>*>(operation_)->take();
  }
};

/// An operation that owns a function.
template <class Fn, class T>
class remote_function : public remote_outcome<T> {
 public:
  template <class F>
  remote_function(const loop_remote& there, F&& fn)
      : remote_outcome<T>(there), fn_(std::in_place, std::forward<F>(fn)) {}

 protected:
  void drop_function() noexcept override { fn_.reset(); }
  std::optional<Fn> fn_;
};

template <class Fn, class T>
class call_operation final : public remote_function<Fn, T> {
 public:
  using remote_function<Fn, T>::remote_function;

 private:
  void perform(loop& there) noexcept override {
    try {
      if constexpr (std::is_void_v<T>) {
        detail::invoke_on(*this->fn_, there);
        this->set_value();
      } else {
        this->set_value(detail::invoke_on(*this->fn_, there));
      }
    } catch (...) {
      this->set_exception(std::current_exception());
    }
    this->drop_function();
    this->answer();
  }
};

/// Whoever wants to know how a child ended; on the child's loop.
class child_owner {
 public:
  virtual void child_threw(std::exception_ptr e) noexcept = 0;
  /// The last word; after it neither knows the other.
  virtual void child_done(std::error_code failure) noexcept = 0;

 protected:
  ~child_owner() = default;
};

/// The frame that runs a child for another loop. It destroys itself at its end, after the answer
/// has left, so all that it then touches is its own and its loop's.
class remote_child {
 public:
  class promise_type final : public promise_base, public guest {
   public:
    // A template for the owner: g++ 12 does not convert the *this of a member coroutine to a base.
    template <class Owner, class Task>
    promise_type(Owner& owner, loop& there, Task&)
        : owner_(std::addressof(owner)), scope_(there.root_scope()) {}

    remote_child get_return_object() noexcept { return remote_child{handle_of(*this)}; }
    std::suspend_never final_suspend() noexcept {
      unlink();
      owner_->child_done({});
      return {};
    }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { owner_->child_threw(std::current_exception()); }

    void start() noexcept;
    void cancel() noexcept { scope_.cancel(); }
    void evict() noexcept override;

   private:
    child_owner* owner_;
    cancel_scope scope_;
    starter starter_;
  };

  explicit remote_child(std::coroutine_handle<promise_type> handle) noexcept : frame(handle) {}

  std::coroutine_handle<promise_type> frame;
};

template <class Fn, class T>
class child_operation final : public remote_function<Fn, T>, public child_owner {
 public:
  using remote_function<Fn, T>::remote_function;

 private:
  void child_threw(std::exception_ptr e) noexcept override { this->set_exception(std::move(e)); }
  void child_done(std::error_code failure) noexcept override {
    child_ = nullptr;
    this->failure_ = failure;
    this->drop_function();
    this->answer();
  }
  void perform(loop& there) noexcept override {
    std::coroutine_handle<remote_child::promise_type> frame;
    try {
      task<T> body = detail::invoke_on(*this->fn_, there);
      frame = run(there, std::move(body)).frame;
    } catch (...) {
      child_threw(std::current_exception());
    }
    if (!frame) {
      child_done({});
      return;
    }
    child_ = &frame.promise();
    child_->start();
  }
  // A member, as g++ warns of a free coroutine whose frame names a type of an anonymous namespace.
  remote_child run(loop&, task<T> child) {
    task<T> body = std::move(child);
    if constexpr (std::is_void_v<T>) {
      co_await std::move(body);
      this->set_value();
    } else {
      T value = co_await std::move(body);
      this->set_value(std::move(value));
    }
  }
  bool stoppable() const noexcept override { return true; }
  void stop() noexcept override {
    if (child_ != nullptr) child_->cancel();
  }

  /// There only.
  remote_child::promise_type* child_ = nullptr;
};

}  // namespace runnel::detail
