#pragma once

#include <runnel/result.hpp>
#include <runnel/waiter.hpp>
#include <runnel/wire/address.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace runnel::net::kernel {

struct datagram_slot;
struct outgoing_datagram;

/// A datagram that was received.
struct received_datagram {
  /// Its own size, also where the memory that it was given is smaller.
  std::size_t size = 0;
  /// Who sent it.
  endpoint from{};
  /// It did not fit; the rest of it is lost.
  bool truncated = false;
};

namespace detail {

class datagram_core;

struct datagram_core_deleter {
  void operator()(datagram_core* gone) const noexcept;
};
using datagram_core_ptr = std::unique_ptr<datagram_core, datagram_core_deleter>;

/// The base of what waits on a datagram socket: tries, and stands in the socket's place for its
/// direction until it is done.
class datagram_waiter : public waiter {
 public:
  datagram_waiter(datagram_waiter&&) noexcept = default;
  ~datagram_waiter() override { leave(); }

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }

 protected:
  enum class direction : unsigned char { in, out };

  datagram_waiter(datagram_core* of, direction where) noexcept : core_(of), where_(where) {}

  /// One attempt; false when it has to wait. Stores what came of it.
  virtual bool attempt() noexcept = 0;
  void on_cancel() noexcept override { fail(errc::cancelled); }
  int fd() const noexcept;

  datagram_core* core_;
  std::error_code error_;

 private:
  friend class datagram_core;

  bool begin() noexcept;
  void fail(std::error_code why) noexcept {
    if (!waiting()) return;
    error_ = why;
    wake();
  }
  void leave() noexcept {
    if (place_ != nullptr) *std::exchange(place_, nullptr) = nullptr;
  }

  datagram_waiter** place_ = nullptr;
  direction where_;
};

class [[nodiscard]] datagram_readable final : public datagram_waiter {
 public:
  explicit datagram_readable(datagram_core* of) noexcept : datagram_waiter(of, direction::in) {}
  result<void> await_resume() const noexcept;

 private:
  bool attempt() noexcept override;
  wait_description describe() const override { return {"datagram readable"}; }
};

class [[nodiscard]] datagram_receive final : public datagram_waiter {
 public:
  datagram_receive(datagram_core* of, std::span<std::byte> into) noexcept
      : datagram_waiter(of, direction::in), into_(into) {}
  result<received_datagram> await_resume() const noexcept;

 private:
  bool attempt() noexcept override;
  wait_description describe() const override { return {"datagram receive"}; }

  std::span<std::byte> into_;
  received_datagram got_;
};

class [[nodiscard]] datagram_receive_many final : public datagram_waiter {
 public:
  datagram_receive_many(datagram_core* of, std::span<datagram_slot> slots) noexcept
      : datagram_waiter(of, direction::in), slots_(slots) {}
  result<std::size_t> await_resume() const noexcept;

 private:
  bool attempt() noexcept override;
  wait_description describe() const override { return {"datagram receive"}; }

  std::span<datagram_slot> slots_;
  std::size_t count_ = 0;
};

class [[nodiscard]] datagram_send final : public datagram_waiter {
 public:
  datagram_send(datagram_core* of, std::span<const std::byte> from, const endpoint& to) noexcept
      : datagram_waiter(of, direction::out), from_(from), to_(to) {}
  result<std::size_t> await_resume() const noexcept;

 private:
  bool attempt() noexcept override;
  wait_description describe() const override { return {"datagram send"}; }

  std::span<const std::byte> from_;
  endpoint to_;
};

class [[nodiscard]] datagram_send_many final : public datagram_waiter {
 public:
  datagram_send_many(datagram_core* of, std::span<const outgoing_datagram> all) noexcept
      : datagram_waiter(of, direction::out), left_(all) {}
  result<std::size_t> await_resume() const noexcept;

 private:
  bool attempt() noexcept override;
  wait_description describe() const override { return {"datagram send"}; }

  std::span<const outgoing_datagram> left_;
  std::size_t count_ = 0;
};

}  // namespace detail
}  // namespace runnel::net::kernel
