#pragma once

#include <runnel/detail/list.hpp>
#include <runnel/net/kernel/detail/awaiters.hpp>
#include <runnel/result.hpp>
#include <runnel/waiter.hpp>
#include <runnel/wire/address.hpp>

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <system_error>
#include <utility>

namespace runnel::net::kernel::detail {

class acceptor;
enum class medium : std::uint8_t;
struct accept_tag;

struct acceptor_deleter {
  void operator()(acceptor* gone) const noexcept;
};
using acceptor_ptr = std::unique_ptr<acceptor, acceptor_deleter>;

/// Waits for a connection. What it was given and did not pass on goes back to the listener.
class accept_wait : public waiter, private runnel::detail::tagged_hook<accept_tag> {
 public:
  explicit accept_wait(acceptor* of) noexcept : acceptor_(of) {}
  accept_wait(accept_wait&&) noexcept = default;
  ~accept_wait() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }

 protected:
  result<channel_ptr> take() noexcept;

 private:
  friend class acceptor;
  using hook = runnel::detail::tagged_hook<accept_tag>;
  friend class runnel::detail::list<accept_wait, hook>;

  bool begin() noexcept;
  void on_cancel() noexcept override;
  wait_description describe() const override { return {"socket accept"}; }
  void end(std::error_code why) noexcept;

  /// Null once the listener is gone.
  acceptor* acceptor_;
  loop* loop_ = nullptr;
  endpoint remote_{};
  int fd_ = -1;
  medium kind_{};
  bool nodelay_ = false;
  std::error_code error_;
};

template <class Stream>
class [[nodiscard]] accept_awaiter final : public accept_wait {
 public:
  using accept_wait::accept_wait;
  result<Stream> await_resume() noexcept {
    auto taken = take();
    if (!taken) return taken.error();
    return Stream(std::move(*taken));
  }
};

}  // namespace runnel::net::kernel::detail
