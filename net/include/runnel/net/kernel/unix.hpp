#pragma once

#include <runnel/loop.hpp>
#include <runnel/net/kernel/detail/accept.hpp>
#include <runnel/net/kernel/socket_stream.hpp>
#include <runnel/net/stream.hpp>
#include <runnel/timer.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace runnel::net::kernel {

/// What a listener does with a socket file that is there already.
enum class stale_file : std::uint8_t {
  refuse,   ///< Fails with `std::errc::address_in_use`.
  replace,  ///< Removes it when nobody listens on it any more; else fails as `refuse` does.
};

/// How a Unix listener is made.
struct unix_listener_options {
  /// How many connections may wait to be accepted; further ones wait in `connect`.
  int backlog = 4096;
  /// What to do with a file of before.
  stale_file existing = stale_file::refuse;
  /// The permissions of the new file, less what umask(2) takes away: who may write may connect.
  unsigned mode = 0777;
};

/// A connection of a Unix stream socket: the `stream` concept. Its endpoints are none; the other
/// side is known by `peer()`.
///
/// It differs from TCP in this: there is no reset but by closing with bytes unread, so that a peer
/// of an aborted stream reads the end of it; and what was written counts as acknowledged at once,
/// since it lies in the peer's buffer.
class unix_stream : public socket_stream {
 public:
  /// Who is on the other side, as the kernel knew it when the connection was made (SO_PEERCRED).
  struct credentials {
    /// Process number (pid).
    int process = 0;
    /// Effective user (uid).
    unsigned user = 0;
    /// Effective group (gid).
    unsigned group = 0;
  };

  unix_stream() noexcept = default;

  /// Two ends that are connected to each other (socketpair(2)). `owner` must outlive them.
  /// `errc::not_supported` on a simulated loop.
  static result<std::pair<unix_stream, unix_stream>> pair(loop& owner);

  /// None.
  endpoint local_endpoint() const noexcept { return {}; }
  /// None.
  endpoint remote_endpoint() const noexcept { return {}; }
  /// The other side. `std::errc::bad_file_descriptor` when the stream is closed.
  result<credentials> peer() const noexcept;

 private:
  friend class detail::accept_awaiter<unix_stream>;
  friend class unix_connect_awaiter;

  explicit unix_stream(detail::channel_ptr channel) noexcept : socket_stream(std::move(channel)) {}
};

/// Accepts connections of a Unix stream socket: the `listener` concept.
class unix_listener {
 public:
  /// What `accept` gives.
  using stream_type = unix_stream;

  /// No listener: accept fails with `std::errc::bad_file_descriptor`.
  unix_listener() noexcept = default;
  unix_listener(unix_listener&& other) noexcept
      : acceptor_(std::move(other.acceptor_)), file_(std::exchange(other.file_, {})) {}
  unix_listener& operator=(unix_listener&& other) noexcept;
  /// As `close()`.
  ~unix_listener();

  /// Listens at `path`, a file that is made, or with "@name" at a name that is no file (the
  /// abstract namespace, gone with the socket). `owner` must outlive it. Errors are those of
  /// bind(2); `std::errc::filename_too_long` beyond 107 bytes; `errc::not_supported` on a simulated
  /// loop.
  static result<unix_listener> listen(loop& owner, std::string_view path,
                                      const unix_listener_options& options = {});

  /// See `listener`: `result<unix_stream>`.
  detail::accept_awaiter<unix_stream> accept() noexcept {
    return detail::accept_awaiter<unix_stream>{acceptor_.get()};
  }
  /// See `listener`; the file goes too, unless somebody else has put another one there meanwhile.
  void close() noexcept;
  /// None.
  endpoint local_endpoint() const noexcept { return {}; }
  /// The socket's descriptor, still owned by this; -1 when it is closed.
  int descriptor() const noexcept;

 private:
  /// The file that was made, and which one it is.
  struct made_file {
    std::string path{};
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };

  unix_listener(detail::acceptor_ptr acceptor, made_file file) noexcept
      : acceptor_(std::move(acceptor)), file_(std::move(file)) {}

  detail::acceptor_ptr acceptor_;
  made_file file_;
};

/// `co_await` gives a `result<unix_stream>`.
class [[nodiscard]] unix_connect_awaiter final : public waiter {
 public:
  /// What `unix_connector::connect` makes; `path` must live until it completes.
  unix_connect_awaiter(loop& owner, std::string_view path) noexcept : loop_(&owner), path_(path) {}
  unix_connect_awaiter(unix_connect_awaiter&& other) noexcept
      : waiter(std::move(other)),
        loop_(other.loop_),
        path_(other.path_),
        error_(other.error_),
        fd_(std::exchange(other.fd_, -1)) {}
  ~unix_connect_awaiter() override;

  bool await_ready() const noexcept { return false; }
  template <std::derived_from<runnel::detail::promise_base> Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return suspend_unless_done(h, [this]() noexcept { return begin(); });
  }
  result<unix_stream> await_resume() noexcept;

 private:
  /// The kernel tells nobody when a full backlog has room again, so it is tried again.
  class retry final : public timer {
   public:
    explicit retry(unix_connect_awaiter& of) noexcept;

   private:
    void on_expire() noexcept override;

    unix_connect_awaiter* of_;
    duration pause_;
  };

  bool begin() noexcept;
  bool attempt() noexcept;
  void on_cancel() noexcept override;
  wait_description describe() const override { return {"socket connect"}; }

  loop* loop_;
  std::string_view path_;
  std::error_code error_;
  int fd_ = -1;
  std::optional<retry> again_;
};

/// Opens connections to one Unix socket: the `connector` concept.
class unix_connector {
 public:
  /// What `connect` gives.
  using stream_type = unix_stream;

  /// To `path`, or to the abstract name "@name". `owner` must outlive it.
  unix_connector(loop& owner, std::string path) : loop_(&owner), path_(std::move(path)) {}

  /// `result<unix_stream>`. `to` is not looked at: it is for protocols that speak of endpoints. The
  /// connector must outlive it. Waits while the backlog is full, by trying again after 1 ms and
  /// then ever less often, at least each 50 ms. Errors are those of connect(2), and
  /// `errc::not_supported` on a simulated loop.
  unix_connect_awaiter connect(const endpoint& to = {}) noexcept {
    static_cast<void>(to);
    return {*loop_, path_};
  }

 private:
  loop* loop_;
  std::string path_;
};

static_assert(stream<unix_stream>);
static_assert(listener<unix_listener>);
static_assert(connector<unix_connector>);

}  // namespace runnel::net::kernel
