#pragma once

#include "channel.hpp"
#include "runnel/net/kernel/detail/accept.hpp"
#include "runnel/poll.hpp"

#include <deque>

namespace runnel::net::kernel::detail {

/// A listening descriptor and who waits for its connections.
class acceptor final : private fd_watch::client {
 public:
  /// Takes over `fd`, which does not block.
  acceptor(loop& owner, int fd, medium kind, bool nodelay)
      : owner_(&owner), fd_(fd), kind_(kind), nodelay_(nodelay), watch_(owner, fd, *this) {}
  ~acceptor();

  /// True when it is finished, with a connection or an error.
  bool begin(accept_wait& who) noexcept;
  /// Takes back a connection that was given to a task that went away.
  void put_back(int fd) noexcept;
  void close() noexcept;
  int fd() const noexcept { return fd_; }

 private:
  void on_ready() noexcept override;
  bool serve(accept_wait& who) noexcept;
  void give(accept_wait& who, int fd) noexcept;

  loop* owner_;
  int fd_;
  medium kind_;
  bool nodelay_;
  fd_watch watch_;
  /// In the rare case of `put_back`.
  std::deque<int> returned_;
  runnel::detail::list<accept_wait, accept_wait::hook> waiting_;
  /// Who has a connection and has not gone on yet.
  runnel::detail::list<accept_wait, accept_wait::hook> given_;
};

}  // namespace runnel::net::kernel::detail
