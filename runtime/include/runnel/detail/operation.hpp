#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "runnel/detail/list.hpp"
#include "runnel/detail/receive_buffers.hpp"
#include "runnel/waiter.hpp"

namespace runnel::detail {

enum class op_kind : std::uint8_t {
  poll,
  read,
  write,
  open,
  size,
  close,
  /// Receives on a socket into the loop's `receive_buffers` again and again, until it is cancelled,
  /// the stream ends or no buffer is free.
  receive,
  /// Accepts connections on a listening socket again and again, until it is cancelled or fails.
  accept,
  /// Sends bytes of the user's on a socket, without waiting for room, with this turn's submissions.
  /// The kernel sees that memory only while it takes them: cancelled before, nothing is sent.
  send,
};

/// A kernel operation as every backend understands it. What a read or write moves is the
/// operation's own memory: the kernel never sees memory of a task, which may be destroyed while the
/// operation is in flight, but for what a `send` takes before any task runs again.
struct op_request {
  op_kind kind = op_kind::poll;
  int fd = -1;
  std::uint32_t flags = 0;          ///< poll: events; open: O_ flags.
  std::uint32_t mode = 0;           ///< open: permissions of a new file.
  std::uint32_t length = 0;         ///< read, write, send: bytes.
  const std::byte* from = nullptr;  ///< send
  std::uint64_t offset = 0;         ///< read, write; all ones for the file's own position.
  /// poll: not zero, who promises that `fd` is the same open file every time this number comes, so
  /// that a backend need not ask the kernel anew; from `operation_pool::new_watch`.
  std::uint64_t watch = 0;
};

/// The result of an operation that the backend cannot do.
inline constexpr int op_not_supported = -0x7fff;

/// The most bytes one read or write moves, and the size of an operation's own buffer.
inline constexpr std::uint32_t op_buffer_size = 64 * 1024;

class operation_user;

struct operation_in_pool;
struct operation_in_backend;

/// An operation from its start until its last completion. It comes from its loop's pool and belongs
/// to nobody: its user may go away, then the result is disposed of here.
class operation final : public tagged_hook<operation_in_pool>,
                        public tagged_hook<operation_in_backend> {
 public:
  /// queued: the kernel does not know it yet; held: the same, until the turn's end; working: a
  /// thread is at it; finished: its result is there to be reaped; refused: it was failed on
  /// purpose.
  enum class state : std::uint8_t { idle, queued, held, submitted, working, finished, refused };

  op_request request;
  state where = state::idle;
  bool cancel_requested = false;
  bool cancel_queued = false;
  bool kept = false;  ///< It stays its user's between two starts.
  int result = 0;     ///< Where it is known before it is reaped, as of one that is refused.
  operation_user* user = nullptr;
  std::unique_ptr<std::byte[]> buffer;  ///< read, write: op_buffer_size bytes; size: a statx.
  std::unique_ptr<std::string> path;    ///< open
  /// A descriptor that is closed behind the last completion.
  int closes = -1;
  /// That descriptor is a process's (pidfd), to be reaped first. Is not given up when the loop
  /// dies.
  bool reaps = false;
};

/// The operations of a pool, and those in a backend's own queues.
using operation_list = list<operation, tagged_hook<operation_in_pool>>;
using operation_queue = list<operation, tagged_hook<operation_in_backend>>;

/// Whoever starts operations: one at a time.
class operation_user {
 public:
  operation_user(const operation_user&) = delete;
  operation_user& operator=(const operation_user&) = delete;

 protected:
  operation_user() noexcept = default;
  /// Only between operations.
  operation_user(operation_user&&) noexcept {}
  ~operation_user() { abandon(); }

  /// Takes an idle operation for `request`; fill its buffer or path, then `submit`. Throws
  /// std::bad_alloc, unless one is kept.
  operation& prepare(loop& owner, const op_request& request);
  /// Takes an operation for good, so that no later start needs memory. Throws std::bad_alloc.
  void keep(loop& owner);
  void submit() noexcept;
  /// Asks the kernel to give it up; its completion still comes.
  void cancel() noexcept;
  /// Asks for cancellation and does not want to hear of it any more.
  void abandon() noexcept;
  bool busy() const noexcept {
    return operation_ != nullptr && operation_->where != operation::state::idle;
  }
  /// Whether somebody wants to see every operation, so that none may be done at once.
  static bool observed(const loop& owner) noexcept;
  /// A new number for `op_request::watch`.
  static std::uint64_t new_watch(loop& owner) noexcept;
  /// The same of an operation in flight, and has `fd` closed behind its last completion: until then
  /// the number must not name anything else.
  void abandon_and_close(int fd) noexcept;
  /// The same of a `poll` of a process that is about to end: reaps it, and closes `pidfd`, then.
  void abandon_and_reap(int pidfd) noexcept;
  /// What `receive` operations of this loop fill; null where its backend has no such operation.
  static const std::shared_ptr<receive_buffers>& buffers_of(loop& owner) noexcept;
  /// `receive` only: whether bytes are on their way to `on_progress`. Looks through what has come
  /// for the whole loop and is not reaped, which is little.
  bool has_received() const noexcept;
  /// Whether this loop's backend has the `accept` operation.
  static bool accepts(loop& owner) noexcept;
  /// Whether a `send` now is cheaper than the system call.
  static bool batches_sends(loop& owner) noexcept;

  /// Phase 1: the operation is finished with `result`, a negative errno on failure; it goes back to
  /// the pool when this returns. Runs no user code.
  virtual void on_complete(operation& op, int result) noexcept = 0;
  /// Phase 1, `receive` only: `length` bytes lie in buffer `id`, which is the user's now. More may
  /// follow, and in the end on_complete: 0 for the end of the stream, else why it stopped.
  virtual void on_progress(operation& op, std::uint16_t id, std::uint32_t length) noexcept;
  /// Phase 1, `accept` only: `fd` is a new connection, which does not block and is the user's now.
  /// More may follow, and in the end on_complete: why it stopped, EAGAIN when nothing is wrong.
  virtual void on_accepted(operation& op, int fd) noexcept;

 private:
  friend class operation_pool;

  int tell_started() noexcept;

  loop* owner_ = nullptr;
  operation* operation_ = nullptr;
};

/// The base of the awaiters of kernel operations.
class op_awaiter : public waiter, protected operation_user {
 public:
  op_awaiter(op_awaiter&&) noexcept = default;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<promise_base> Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    suspend(h);
    begin();
  }

 protected:
  explicit op_awaiter(const op_request& request) noexcept : request_(request) {}
  ~op_awaiter() override = default;

  /// For one that may have finished without an operation.
  template <std::derived_from<promise_base> Promise>
  bool operate_unless(std::coroutine_handle<Promise> h, bool finished) noexcept {
    if (finished) return suspend_unless(h, true);
    suspend(h);
    begin();
    return true;
  }
  void begin() noexcept;
  /// Fills the operation's own memory.
  virtual void fill(operation&) {}
  void on_cancel() noexcept override { cancel(); }
  wait_description describe() const override;
  void on_complete(operation& op, int result) noexcept override;

  op_request request_;
  int result_ = 0;
};

}  // namespace runnel::detail
