#pragma once

#include "channel.hpp"
#include "runnel/detail/operation.hpp"
#include "runnel/net/kernel/detail/accept.hpp"
#include "runnel/poll.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace runnel::net::kernel::detail {

/// How connections come out of a listening descriptor.
enum class accept_mode : std::uint8_t {
  /// It is polled, and asked for each connection.
  asking,
  /// One multishot operation gets them all, where the loop has it.
  multishot,
};

/// A listening descriptor and who waits for its connections.
class acceptor final : private fd_watch::client {
 public:
  /// Takes over `fd`, which does not block.
  acceptor(loop& owner, int fd, medium kind, bool nodelay, accept_mode mode = accept_mode::asking);
  ~acceptor();

  /// True when it is finished, with a connection or an error.
  bool begin(accept_wait& who) noexcept;
  /// Takes back a connection that was given to a task that went away.
  void put_back(int fd, const endpoint& remote) noexcept;
  void close() noexcept;
  int fd() const noexcept { return fd_; }

 private:
  /// How many connections may wait here before the kernel is told to keep further ones in the
  /// backlog. It hands out what it had before it hears of that, at most a completion ring full.
  static constexpr std::size_t most_arrived = 64;

  /// A connection that nobody has yet. Whose it is is asked when somebody takes it.
  struct arrival {
    int fd = -1;
    endpoint remote{};
    bool known = false;
  };

  /// Has the kernel accept.
  class arrivals final : private runnel::detail::operation_user {
   public:
    explicit arrivals(acceptor& of) : of_(&of) { keep(*of.owner_); }
    void start() noexcept;
    void stop() noexcept { cancel(); }
    /// Lets go of the listening descriptor: true when it will be closed behind the last completion.
    bool part_with(int fd) noexcept;
    bool running() const noexcept { return busy(); }
    /// Whether the kernel has taken it for what it is, so far.
    bool useful() const noexcept { return useful_; }
    static bool known_to(loop& owner) noexcept { return accepts(owner); }

   private:
    void on_accepted(runnel::detail::operation& op, int fd) noexcept override;
    void on_complete(runnel::detail::operation& op, int result) noexcept override;

    acceptor* of_;
    bool useful_ = true;
  };

  void on_ready() noexcept override;
  void await_more() noexcept;
  void store(arrival&& one) noexcept;
  bool serve(accept_wait& who) noexcept;
  void give(accept_wait& who, arrival one) noexcept;

  loop* owner_;
  int fd_;
  medium kind_;
  bool nodelay_;
  fd_watch watch_;
  std::optional<arrivals> multishot_;
  std::deque<arrival> arrived_;
  runnel::detail::list<accept_wait, accept_wait::hook> waiting_;
  /// Who has a connection and has not gone on yet.
  runnel::detail::list<accept_wait, accept_wait::hook> given_;
};

}  // namespace runnel::net::kernel::detail
