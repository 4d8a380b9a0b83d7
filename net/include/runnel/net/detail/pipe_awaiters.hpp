#pragma once

#include <runnel/detail/list.hpp>
#include <runnel/result.hpp>
#include <runnel/waiter.hpp>
#include <runnel/wire/address.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <span>
#include <system_error>
#include <utility>

namespace runnel::net {

class pipe_stream;

/// How a pipe's `close()` ended.
class pipe_ending {
 public:
  pipe_ending() noexcept = default;
  explicit pipe_ending(std::error_code why) noexcept : why_(why) {}

  /// Whether the peer got everything that was written and nobody reset the connection.
  bool clean() const noexcept { return !why_; }
  /// Why it was not clean: `connection_reset` by the peer, `connection_aborted` by us, either by
  /// `abort()` or by closing with bytes unread.
  std::error_code error() const noexcept { return why_; }

 private:
  std::error_code why_;
};

namespace detail {

class pipe_end;
class pipe_queue;

void add_reference(pipe_end& to) noexcept;
void drop_reference(pipe_end& to) noexcept;
void add_reference(pipe_queue& to) noexcept;
void drop_reference(pipe_queue& to) noexcept;

/// A counted reference.
template <class Shared>
class pipe_reference {
 public:
  pipe_reference() noexcept = default;
  explicit pipe_reference(Shared& to) noexcept : to_(&to) { add_reference(to); }
  pipe_reference(const pipe_reference& other) noexcept : to_(other.to_) {
    if (to_ != nullptr) add_reference(*to_);
  }
  pipe_reference(pipe_reference&& other) noexcept : to_(std::exchange(other.to_, nullptr)) {}
  pipe_reference& operator=(pipe_reference other) noexcept {
    std::swap(to_, other.to_);
    return *this;
  }
  ~pipe_reference() {
    if (to_ != nullptr) drop_reference(*to_);
  }

  explicit operator bool() const noexcept { return to_ != nullptr; }
  Shared* operator->() const noexcept { return to_; }

 private:
  Shared* to_ = nullptr;
};

/// To one end of a pipe; the two ends live and die together.
using pipe_ref = pipe_reference<pipe_end>;
/// To what a listener and its connectors share.
using pipe_queue_ref = pipe_reference<pipe_queue>;

/// The base of what waits in a pipe: `begin` starts the operation and says whether it is finished.
class pipe_waiter : public runnel::waiter {
 public:
  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }

 protected:
  pipe_waiter() noexcept = default;
  pipe_waiter(pipe_waiter&&) noexcept = default;

  virtual bool begin() noexcept = 0;
  /// Ends the wait with this error; one that is over keeps its outcome.
  void fail(std::error_code why) noexcept {
    if (!waiting()) return;
    error_ = why;
    wake();
  }
  void on_cancel() noexcept override { fail(errc::cancelled); }

  std::error_code error_;
};

/// The base of what waits at one end of a pipe, as its reader or its writer.
class pipe_op : public pipe_waiter {
 protected:
  explicit pipe_op(pipe_ref end) noexcept : end_(std::move(end)) {}
  pipe_op(pipe_op&&) noexcept = default;
  ~pipe_op() override { release(); }

  /// Takes the end's only place for a reader or a writer; a second one is a checked error.
  void occupy(pipe_op* pipe_end::*place) noexcept;
  void release() noexcept;

  friend class pipe_end;

  pipe_ref end_;
  pipe_op** place_ = nullptr;
};

class [[nodiscard]] pipe_read final : public pipe_op {
 public:
  pipe_read(pipe_ref end, std::span<std::byte> into) noexcept
      : pipe_op(std::move(end)), into_(into) {}
  result<std::size_t> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"pipe read"}; }

  std::span<std::byte> into_;
};

class [[nodiscard]] pipe_readable final : public pipe_op {
 public:
  explicit pipe_readable(pipe_ref end) noexcept : pipe_op(std::move(end)) {}
  result<void> await_resume() noexcept;

 private:
  bool begin() noexcept override;
  wait_description describe() const override { return {"pipe readable"}; }
};

class [[nodiscard]] pipe_write final : public pipe_op {
 public:
  pipe_write(pipe_ref end, std::span<const std::byte> from) noexcept
      : pipe_op(std::move(end)), current_(from) {}
  pipe_write(pipe_ref end, std::span<const std::span<const std::byte>> pieces) noexcept
      : pipe_op(std::move(end)), pieces_(pieces) {}
  result<std::size_t> await_resume() noexcept;

 private:
  friend class pipe_end;

  bool begin() noexcept override;
  wait_description describe() const override { return {"pipe write"}; }
  /// Moves what fits; true when all is taken or it has failed.
  bool advance() noexcept;

  std::span<const std::byte> current_;
  std::span<const std::span<const std::byte>> pieces_;
  std::size_t taken_ = 0;
};

class [[nodiscard]] pipe_drained final : public pipe_op {
 public:
  explicit pipe_drained(pipe_ref end) noexcept : pipe_op(std::move(end)) {}
  result<void> await_resume() noexcept;

 private:
  bool begin() noexcept override { return true; }
};

class [[nodiscard]] pipe_close final : public pipe_op {
 public:
  explicit pipe_close(pipe_ref end) noexcept : pipe_op(std::move(end)) {}
  pipe_ending await_resume() noexcept;

 private:
  bool begin() noexcept override { return true; }
};

struct pipe_accept_tag;
struct pipe_connect_tag;

class [[nodiscard]] pipe_accept final : public pipe_waiter,
                                        private runnel::detail::tagged_hook<pipe_accept_tag> {
 public:
  explicit pipe_accept(pipe_queue_ref queue) noexcept : queue_(std::move(queue)) {}
  pipe_accept(pipe_accept&&) noexcept = default;
  ~pipe_accept() override;
  result<pipe_stream> await_resume() noexcept;

 private:
  friend class pipe_queue;
  using hook = runnel::detail::tagged_hook<pipe_accept_tag>;
  friend class runnel::detail::list<pipe_accept, hook>;

  bool begin() noexcept override;
  void on_cancel() noexcept override;
  wait_description describe() const override;

  pipe_queue_ref queue_;
  pipe_ref child_;
};

class [[nodiscard]] pipe_connect final : public pipe_waiter,
                                         private runnel::detail::tagged_hook<pipe_connect_tag> {
 public:
  pipe_connect(pipe_queue_ref queue, const endpoint& from) noexcept
      : queue_(std::move(queue)), from_(from) {}
  pipe_connect(pipe_connect&&) noexcept = default;
  ~pipe_connect() override;
  result<pipe_stream> await_resume() noexcept;

 private:
  friend class pipe_queue;
  using hook = runnel::detail::tagged_hook<pipe_connect_tag>;
  friend class runnel::detail::list<pipe_connect, hook>;

  bool begin() noexcept override;
  void on_cancel() noexcept override;
  wait_description describe() const override;

  pipe_queue_ref queue_;
  endpoint from_;
  pipe_ref mine_;
};

}  // namespace detail
}  // namespace runnel::net
