#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/kernel/detail/accept.hpp>
#include <runnel/net/kernel/socket_stream.hpp>
#include <runnel/net/stream.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace runnel::net::kernel {

/// What the kernel does with each connection. Zero means the kernel's own default.
struct tcp_options {
  /// TCP_NODELAY: nothing waits for the acknowledgement of what was sent before. On by default,
  /// unlike Linux, since a `write` of several pieces is one.
  bool nodelay = true;
  /// SO_KEEPALIVE with TCP_KEEPIDLE: how long a connection may be silent before the peer is asked
  /// whether it is there. Zero: it is never asked.
  std::chrono::seconds keepalive_idle{0};
  /// TCP_KEEPINTVL: the time between such questions.
  std::chrono::seconds keepalive_interval{0};
  /// TCP_KEEPCNT: how many of them in a row may stay without an answer.
  int keepalive_probes = 0;
  /// TCP_USER_TIMEOUT: how long what was written may stay unacknowledged.
  std::chrono::milliseconds user_timeout{0};
  /// SO_SNDBUF and SO_RCVBUF in bytes, of which the kernel makes twice as much, and stops its own
  /// tuning.
  int send_buffer = 0;
  /// The same for received bytes (SO_RCVBUF).
  int receive_buffer = 0;
  /// SO_BINDTODEVICE: the only network device that it uses.
  std::string device{};
};

/// How a listener is made.
struct tcp_listener_options {
  /// How many connections may wait to be accepted (listen(2)); the kernel's `somaxconn` at most.
  int backlog = 4096;
  /// SO_REUSEADDR: connections of before that wait in TIME-WAIT do not keep the port.
  bool reuse_address = true;
  /// SO_REUSEPORT: several listeners of one user share the port, and the kernel divides
  /// connections.
  bool reuse_port = false;
  /// IPV6_V6ONLY: a listener on `::` does not take IPv4, too.
  bool v6only = false;
  /// One operation of the ring accepts all connections (IORING_OP_ACCEPT multishot), which saves
  /// two system calls for each where they come one by one. Up to 64, and those of one burst, then
  /// wait here and not in the kernel's backlog, and the peer of one that was reset before it was
  /// accepted is unknown. Without it, on epoll and before Linux 6.0 the listener is polled and
  /// asked for each connection.
  bool multishot = true;
  /// Of each connection that is accepted.
  tcp_options connection{};
};

/// How connections are opened.
struct tcp_connector_options {
  /// The local address and port; none, or port 0, is the kernel's choice.
  endpoint local{};
  /// Of each connection that is opened.
  tcp_options connection{};
};

/// A TCP connection of the kernel: the `stream` concept.
class tcp_stream : public socket_stream {
 public:
  tcp_stream() noexcept = default;

  /// Its own end, asked of the kernel; none when it is closed.
  endpoint local_endpoint() const noexcept;
  /// The peer's end. Known also when it is closed.
  endpoint remote_endpoint() const noexcept;
  /// TCP_NODELAY.
  void set_nodelay(bool on) noexcept;

 private:
  friend class detail::accept_awaiter<tcp_stream>;
  friend class tcp_connect_awaiter;

  explicit tcp_stream(detail::channel_ptr channel) noexcept : socket_stream(std::move(channel)) {}
};

/// Accepts TCP connections of the kernel: the `listener` concept. Several tasks may accept at once
/// and are served in the order they came. Connections wait in the kernel until they are accepted,
/// but for those that `tcp_listener_options::multishot` takes ahead of the tasks.
/// `std::errc::too_many_files_open` leaves them where they are.
class tcp_listener {
 public:
  /// What `accept` gives.
  using stream_type = tcp_stream;

  /// No listener: accept fails with `std::errc::bad_file_descriptor`.
  tcp_listener() noexcept = default;
  tcp_listener(tcp_listener&&) noexcept = default;
  tcp_listener& operator=(tcp_listener&& other) noexcept = default;
  /// As `close()`.
  ~tcp_listener() = default;

  /// Binds and listens at once; `owner` must outlive it. Port 0 is any free one. Errors are those
  /// of bind(2) and listen(2), and `errc::not_supported` on a simulated loop.
  static result<tcp_listener> listen(loop& owner, const endpoint& at,
                                     const tcp_listener_options& options = {});

  /// See `listener`: `result<tcp_stream>`.
  detail::accept_awaiter<tcp_stream> accept() noexcept {
    return detail::accept_awaiter<tcp_stream>{acceptor_.get()};
  }
  /// See `listener`.
  void close() noexcept;
  /// The endpoint with the port that the kernel chose.
  endpoint local_endpoint() const noexcept;
  /// The socket's descriptor, still owned by this; -1 when it is closed.
  int descriptor() const noexcept;

 private:
  explicit tcp_listener(detail::acceptor_ptr acceptor) noexcept : acceptor_(std::move(acceptor)) {}

  detail::acceptor_ptr acceptor_;
};

/// `co_await` gives a `result<tcp_stream>`.
class [[nodiscard]] tcp_connect_awaiter final : public runnel::detail::op_awaiter {
 public:
  /// What `tcp_connector::connect` makes; `options` must live until it completes.
  tcp_connect_awaiter(loop& owner, const endpoint& to,
                      const tcp_connector_options& options) noexcept
      : op_awaiter({}), loop_(&owner), to_(to), options_(&options) {}
  tcp_connect_awaiter(tcp_connect_awaiter&& other) noexcept
      : op_awaiter(std::move(other)),
        loop_(other.loop_),
        to_(other.to_),
        options_(other.options_),
        error_(other.error_),
        fd_(std::exchange(other.fd_, -1)) {}
  ~tcp_connect_awaiter() override;

  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    if (h.promise().scope().cancelled()) {
      error_ = errc::cancelled;
      return suspend_unless(h, false);
    }
    return operate_unless(h, connected_at_once());
  }
  result<tcp_stream> await_resume() noexcept;

 private:
  bool connected_at_once() noexcept;
  wait_description describe() const override { return {"socket connect"}; }

  loop* loop_;
  endpoint to_;
  const tcp_connector_options* options_;
  std::error_code error_;
  int fd_ = -1;
};

/// Opens TCP connections of the kernel: the `connector` concept.
class tcp_connector {
 public:
  /// What `connect` gives.
  using stream_type = tcp_stream;

  /// `owner` must outlive it.
  explicit tcp_connector(loop& owner, tcp_connector_options options = {})
      : loop_(&owner), options_(std::move(options)) {}

  /// Connects to `to`: `result<tcp_stream>`. The connector must outlive it. Errors are those of
  /// connect(2), and `errc::not_supported` on a simulated loop. Cancelled: the kernel forgets the
  /// attempt.
  tcp_connect_awaiter connect(const endpoint& to) noexcept { return {*loop_, to, options_}; }

 private:
  loop* loop_;
  tcp_connector_options options_;
};

static_assert(leavable_stream<tcp_stream>);
static_assert(listener<tcp_listener>);
static_assert(connector<tcp_connector>);

}  // namespace runnel::net::kernel
