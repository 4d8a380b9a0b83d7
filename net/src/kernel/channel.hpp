#pragma once

#include "runnel/detail/operation.hpp"
#include "runnel/detail/receive_buffers.hpp"
#include "runnel/loop.hpp"
#include "runnel/net/kernel/detail/awaiters.hpp"
#include "runnel/timer.hpp"
#include "runnel/wire/address.hpp"

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace runnel::net::kernel::detail {

enum class medium : std::uint8_t { tcp, unix_socket, pipe };

/// What one attempt to move bytes came to.
struct attempt {
  std::size_t count = 0;
  std::error_code error{};
  bool blocked = false;
};

/// A non-blocking descriptor as one or two byte streams: what has arrived, who waits in which
/// direction, and how it ended.
class channel final {
 public:
  /// Takes over `fd`, and the memory that waiting for input will need. Null, and `fd` untouched,
  /// when there is none.
  static channel_ptr make(loop& owner, int fd, medium kind) noexcept;
  channel(loop& owner, int fd, medium kind);
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel();

  /// Each tries once, without waiting.
  attempt read(std::span<std::byte> into) noexcept;
  attempt write(std::span<const iovec> pieces) noexcept;
  /// Whether `read` has something to say without asking the kernel.
  bool has_input() const noexcept {
    return !received_.empty() || finished_ || (ended_ && !input_.receiving());
  }
  /// Whether there are bytes that nobody has read. Asks the kernel.
  bool unread() const noexcept;
  /// Tells the reader when there may be more.
  void await_input() noexcept { input_.arm(); }
  /// The same for the writer; false without memory.
  bool await_output() noexcept { return output_.arm(); }
  /// Leaves a writer's bytes to the end of the turn, when that is cheaper; the writer is told. They
  /// must stay where they are until then, or until `stop_sending`.
  bool send_with_others(std::span<const std::byte> bytes) noexcept;
  void stop_sending() noexcept { output_.stop(); }
  /// Whether all that was written is acknowledged, or never will be. Asks the kernel.
  bool settled() noexcept;
  /// Looks again and again until it is, and tells drainer and closer.
  void await_settling() noexcept;

  /// What every operation says: closed or aborted; none otherwise.
  std::error_code local_error() const noexcept;
  std::error_code read_error() const noexcept;
  std::error_code write_error() noexcept;
  /// A write has failed with the error that ended the connection.
  void writer_was_told() noexcept { writer_told_ = true; }
  /// How the connection ended, when a reset or a time-out ended it.
  std::error_code ended() const noexcept { return ended_; }

  result<void> shutdown() noexcept;
  void abort() noexcept;
  /// Nothing is read or written any more. False when there is nothing to wait for.
  bool begin_close() noexcept;
  /// Closes a pipe.
  void drop() noexcept;
  /// Nobody waits and nothing has ended it, so that it may end by itself.
  bool may_leave() const noexcept {
    return fd_ >= 0 && !closing_ && !aborted_ && !ended_ && kind_ != medium::pipe;
  }
  /// The stream's last word, by close or without.
  close_ending finish_close(std::error_code why) noexcept;

  /// A deadline of one direction. It is moved far more often than it fires, so moving it later
  /// leaves the timer where it is.
  class deadline final : public timer {
   public:
    deadline(loop& owner, channel_waiter*& who) noexcept : timer(owner), who_(&who) {}
    void set(time_point when) noexcept;
    bool passed() const noexcept { return owner().now() >= when_; }

   private:
    void on_expire() noexcept override;

    channel_waiter** who_;
    time_point when_ = time_point::max();
  };

  int fd() const noexcept { return fd_; }
  loop& owner() const noexcept { return *owner_; }

  channel_waiter* reader = nullptr;
  channel_waiter* writer = nullptr;
  channel_waiter* drainer = nullptr;
  channel_waiter* closer = nullptr;
  deadline read_deadline;
  deadline write_deadline;
  endpoint remote;
  /// As it was last set, which saves asking for it again.
  bool nodelay = false;

  /// Who hears of input instead of a reader.
  class listener {
   public:
    /// There may be something to read, or the end of it. Must not destroy the channel.
    virtual void on_input() noexcept = 0;

   protected:
    ~listener() = default;
  };
  listener* heir = nullptr;

 private:
  /// How many buffers of the loop one connection may hold while nobody reads it.
  static constexpr unsigned most_unread_buffers = 16;

  /// Has the kernel receive into shared buffers, or say that there is something to read.
  class input final : private runnel::detail::operation_user {
   public:
    explicit input(channel& of) : of_(&of) { keep(of.owner()); }
    static std::uint64_t watch_number(loop& owner) noexcept { return new_watch(owner); }
    void arm() noexcept;
    /// Takes the request back.
    void stop() noexcept { cancel(); }
    /// Lets go of the descriptor: true when it will be closed behind the last completion.
    bool part_with(int fd) noexcept;
    /// Bytes may be on their way in completions: they come before all others.
    bool armed() const noexcept { return busy(); }
    bool receiving() const noexcept { return busy() && receiving_; }
    /// Whether there are such bytes.
    bool underway() const noexcept { return receiving() && has_received(); }

   private:
    void on_complete(runnel::detail::operation& op, int result) noexcept override;
    void on_progress(runnel::detail::operation& op, std::uint16_t id,
                     std::uint32_t length) noexcept override;

    channel* of_;
    bool receiving_ = false;
  };

  /// Hears of a reset. The kernel's multishot receive sleeps on when the reset came before the
  /// receive had taken what arrived ahead of it: it looks for bytes then, and not for errors.
  class hangup final : private runnel::detail::operation_user {
   public:
    explicit hangup(channel& of) noexcept : of_(&of) {}
    /// False without memory.
    bool listen() noexcept;
    void stop() noexcept { abandon(); }
    bool armed() const noexcept { return busy(); }
    bool heard() const noexcept { return heard_; }

   private:
    void on_complete(runnel::detail::operation& op, int result) noexcept override;

    channel* of_;
    bool heard_ = false;
  };

  /// Tells the writer of room, or sends for it. Most connections never need the one, and quiet
  /// loops not the other.
  class output final : private runnel::detail::operation_user {
   public:
    explicit output(channel& of) noexcept : of_(&of) {}
    /// False without memory.
    bool arm() noexcept;
    static bool worth_it(loop& owner) noexcept { return batches_sends(owner); }
    bool send(std::span<const std::byte> bytes) noexcept;
    void stop() noexcept { abandon(); }
    bool armed() const noexcept { return busy(); }

   private:
    void on_complete(runnel::detail::operation& op, int result) noexcept override;

    channel* of_;
  };

  /// Looks whether everything is acknowledged.
  class look final : public timer {
   public:
    explicit look(channel& of) noexcept : timer(of.owner()), of_(&of) {}
    void start(duration first) noexcept;

   private:
    void on_expire() noexcept override;

    channel* of_;
    duration pause_{};
  };

  void on_output() noexcept;
  void on_sent(int result) noexcept;
  /// What a writer has left to the end of the turn goes now.
  void send_held() noexcept;
  void on_input(bool ready) noexcept;
  std::error_code remember(int error) noexcept;
  void take_socket_error() noexcept;
  void fail_waiters(std::error_code why) noexcept;
  void release() noexcept;
  /// Whether a request in flight keeps the descriptor's file open.
  bool held() const noexcept;

  loop* owner_;
  /// For `op_request::watch`, in both directions.
  std::uint64_t watch_;
  int fd_;
  medium kind_;
  bool finished_ = false;
  bool known_empty_ = false;
  bool shut_ = false;
  bool aborted_ = false;
  bool closing_ = false;
  bool closed_ = false;
  bool writer_told_ = false;
  std::error_code ended_;
  close_ending ending_;
  std::size_t lost_bytes_ = 0;
  runnel::detail::received_bytes received_;
  input input_;
  output output_;
  hangup hangup_;
  look look_;
};

/// Has the peer of this socket read a reset, which only TCP knows.
void reset_peer(int fd, medium kind) noexcept;

/// The code of an errno value.
inline std::error_code system_error(int number) noexcept {
  return {number, std::generic_category()};
}

}  // namespace runnel::net::kernel::detail
