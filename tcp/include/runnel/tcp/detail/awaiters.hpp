#pragma once

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "runnel/result.hpp"
#include "runnel/tcp/close.hpp"
#include "runnel/tcp/detail/socket.hpp"
#include "runnel/tcp/engine/host.hpp"
#include "runnel/wire/owned_buffer.hpp"

namespace runnel::tcp {
class loan;
class stream;
class listener;
}  // namespace runnel::tcp

namespace runnel::tcp::detail {

using runnel::detail::promise_base;

/// Aborts with a sentence when the slot is taken.
void check_slot_free(const socket_waiter* slot) noexcept;

/// What the awaiters share: try once; when that is not enough, stand in the slot.
template <class Derived>
class slot_awaiter : public socket_waiter {
 public:
  bool await_ready() const noexcept { return false; }

  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    auto& self = static_cast<Derived&>(*this);
    socket_waiter*& slot = self.slot();
    check_slot_free(slot);
    return suspend_unless_done(h, [&]() noexcept {
      if (self.attempt()) return true;
      enter(slot);
      return false;
    });
  }

 protected:
  using socket_waiter::socket_waiter;
  wait_description describe() const override { return {Derived::kind, remote()}; }
};

class [[nodiscard]] read_awaiter final : public slot_awaiter<read_awaiter> {
 public:
  read_awaiter(socket& of, std::span<std::byte> into) noexcept : slot_awaiter(&of), into_(into) {}
  read_awaiter(socket& of, std::span<const std::span<std::byte>> places) noexcept
      : slot_awaiter(&of), places_(places) {}
  result<std::size_t> await_resume() noexcept;

 private:
  friend class slot_awaiter<read_awaiter>;
  static constexpr std::string_view kind = "tcp read";
  socket_waiter*& slot() const noexcept { return socket_->reader; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;

  bool wants_some() const noexcept;

  std::span<std::byte> into_;
  std::span<const std::span<std::byte>> places_;
  std::size_t taken_ = 0;
  bool done_ = false;
};

class [[nodiscard]] borrow_awaiter final : public slot_awaiter<borrow_awaiter> {
 public:
  borrow_awaiter(socket& of, std::size_t most) noexcept : slot_awaiter(&of), most_(most) {}
  result<loan> await_resume() noexcept;

 private:
  friend class slot_awaiter<borrow_awaiter>;
  static constexpr std::string_view kind = "tcp borrow";
  socket_waiter*& slot() const noexcept { return socket_->reader; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;

  std::size_t most_;
};

class [[nodiscard]] readable_awaiter final : public slot_awaiter<readable_awaiter> {
 public:
  explicit readable_awaiter(socket& of) noexcept : slot_awaiter(&of) {}
  result<void> await_resume() noexcept {
    leave();
    if (error_) return error_;
    return {};
  }

 private:
  friend class slot_awaiter<readable_awaiter>;
  static constexpr std::string_view kind = "tcp readable";
  socket_waiter*& slot() const noexcept { return socket_->reader; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;
};

class [[nodiscard]] write_awaiter final : public slot_awaiter<write_awaiter> {
 public:
  write_awaiter(socket& of, std::span<const std::byte> from) noexcept
      : slot_awaiter(&of), current_(from) {}
  write_awaiter(socket& of, std::span<const std::span<const std::byte>> pieces) noexcept
      : slot_awaiter(&of), pieces_(pieces) {}
  result<std::size_t> await_resume() noexcept {
    leave();
    if (error_ && taken_ == 0) return error_;
    return taken_;
  }

 private:
  friend class slot_awaiter<write_awaiter>;
  static constexpr std::string_view kind = "tcp write";
  socket_waiter*& slot() const noexcept { return socket_->writer; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;

  std::span<const std::byte> current_;
  std::span<const std::span<const std::byte>> pieces_;
  std::size_t taken_ = 0;
};

class [[nodiscard]] write_owned_awaiter final : public slot_awaiter<write_owned_awaiter> {
 public:
  write_owned_awaiter(socket& of, net::owned_buffer&& single) noexcept
      : slot_awaiter(&of), single_(std::move(single)) {}
  write_owned_awaiter(socket& of, std::span<net::owned_buffer> pieces) noexcept
      : slot_awaiter(&of), pieces_(pieces) {}
  result<std::size_t> await_resume() noexcept {
    leave();
    if (error_ && taken_ == 0) return error_;
    return taken_;
  }

 private:
  friend class slot_awaiter<write_owned_awaiter>;
  static constexpr std::string_view kind = "tcp write";
  socket_waiter*& slot() const noexcept { return socket_->writer; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;
  void forsake() noexcept override;

  net::owned_buffer single_;
  std::span<net::owned_buffer> pieces_;
  std::size_t taken_ = 0;
};

class [[nodiscard]] allocate_awaiter final : public slot_awaiter<allocate_awaiter> {
 public:
  allocate_awaiter(socket& of, std::size_t bytes) noexcept : slot_awaiter(&of), bytes_(bytes) {}
  result<net::packet> await_resume() noexcept;

 private:
  friend class slot_awaiter<allocate_awaiter>;
  static constexpr std::string_view kind = "tcp room to write";
  socket_waiter*& slot() const noexcept { return socket_->writer; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;

  std::size_t bytes_;
};

class [[nodiscard]] drained_awaiter final : public slot_awaiter<drained_awaiter> {
 public:
  explicit drained_awaiter(socket& of) noexcept : slot_awaiter(&of) {}
  result<void> await_resume() noexcept;

 private:
  friend class slot_awaiter<drained_awaiter>;
  static constexpr std::string_view kind = "tcp drained";
  socket_waiter*& slot() const noexcept { return socket_->drainer; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;
  std::error_code outcome() const noexcept;
};

class [[nodiscard]] close_awaiter final : public slot_awaiter<close_awaiter> {
 public:
  explicit close_awaiter(socket& of) noexcept : slot_awaiter(&of) {}
  close_awaiter(socket& of, close_mode mode) noexcept : slot_awaiter(&of), mode_(mode) {}
  close_awaiter(socket& of, close_mode mode, std::chrono::milliseconds time) noexcept
      : slot_awaiter(&of), mode_(mode), time_(close_time_in_range(time)) {}
  close_result await_resume() noexcept;

 private:
  friend class slot_awaiter<close_awaiter>;
  static constexpr std::string_view kind = "tcp close";
  socket_waiter*& slot() const noexcept { return socket_->closer; }
  bool attempt() noexcept;
  void on_events(events what) noexcept override;
  void begin(host& engine) const noexcept;

  std::optional<close_mode> mode_;
  std::optional<std::chrono::milliseconds> time_;
};

/// Owns the socket until the handshake is done, so that a connect that is given up leaves nothing.
class [[nodiscard]] connect_awaiter final : public socket_waiter {
 public:
  connect_awaiter(stack_core& stack, const net::endpoint& remote,
                  const connect_options& options) noexcept
      : socket_waiter(nullptr), stack_(&stack), remote_(remote), options_(options) {}
  connect_awaiter(connect_awaiter&&) noexcept = default;
  ~connect_awaiter() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }
  result<stream> await_resume() noexcept;

 private:
  bool begin() noexcept;
  void on_events(events what) noexcept override;
  wait_description describe() const override { return {"tcp connect", remote_.to_string()}; }

  stack_core* stack_;
  net::endpoint remote_;
  connect_options options_;
};

struct accept_tag;
struct listener_state;

class [[nodiscard]] accept_awaiter final : public waiter,
                                           public runnel::detail::tagged_hook<accept_tag> {
 public:
  explicit accept_awaiter(listener_state* of) noexcept : listener_(of) {}
  accept_awaiter(accept_awaiter&&) noexcept = default;
  ~accept_awaiter() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }
  result<stream> await_resume() noexcept;

  /// The listener has a connection, or an error, for this one.
  void give(socket* accepted, std::error_code error) noexcept;

 private:
  bool begin() noexcept;
  void on_cancel() noexcept override { give(nullptr, errc::cancelled); }
  wait_description describe() const override;

  listener_state* listener_;
  socket* accepted_ = nullptr;
  std::error_code error_;
};

}  // namespace runnel::tcp::detail
