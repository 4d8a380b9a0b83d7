#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>

#include "runnel/detail/list.hpp"
#include "runnel/net/http/detail/server_core.hpp"
#include "runnel/net/http/request.hpp"
#include "runnel/net/http/response.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http::detail {

/// What the driver of a busy connection does next; `server_connection::next` decides.
enum class next_step : std::uint8_t {
  read,          ///< Read into `room()`, then `on_read`.
  write,         ///< Write `pieces()`, then `on_written`.
  handle,        ///< Have the handler fill `slot()`, then `on_reply`.
  stream_body,   ///< Await `stream_body()`.
  discard_body,  ///< Await `discard_body()`.
  rest,          ///< Nothing left to do: wait for the next request, or end.
};

/// How a connection ends.
enum class ending : std::uint8_t {
  none,    ///< It does not: wait for the next request.
  close,   ///< Everything is said on both sides.
  linger,  ///< The client may still be sending.
  abort,   ///< A response cannot be completed: reset.
  lost,    ///< The stream has failed: there is nothing to say, and nobody to say it to.
};

/// How a stream is to be ended.
struct parting {
  net::departure how = net::departure::graceful;
  duration time{0};
  /// Where a task ends it: whether to read and throw away after our end of the stream.
  bool lingers = false;
};

/// One connection of a server, without the stream: a state machine that says what to do next and is
/// told what came of it. All policy is here; the driver, which is a template on the stream, only
/// awaits. While it waits for a request it holds nothing but this object.
class server_connection : private runnel::detail::list_hook {
 public:
  explicit server_connection(ticket place) noexcept;
  server_connection(const server_connection&) = delete;
  server_connection& operator=(const server_connection&) = delete;

  /// Before waiting in `readable()`: gives the buffers back and sets the deadline.
  void on_wait() noexcept;
  /// After it: whether to go on, with buffers, or to end.
  bool on_wake(const result<void>& outcome);

  /// The next thing to do while busy.
  next_step next();
  std::span<std::byte> room() noexcept;
  void on_read(const result<std::size_t>& outcome) noexcept;
  std::span<const std::span<const std::byte>> pieces() noexcept;
  void on_written(const result<std::size_t>& outcome) noexcept;
  request& current() noexcept;
  response& slot() noexcept;
  void on_reply();
  /// The handler threw: answers 500 in its place.
  void on_handler_exception();
  task<> stream_body();
  task<> discard_body();

  /// For the handler's body.
  task<result<std::size_t>> read_body(std::span<std::byte> into);

  /// Whether something waits to be written.
  bool has_output() const noexcept;
  /// How it ends, once the driver has come to rest.
  http::detail::ending ending() const noexcept { return ending_; }
  /// At the end: gives the buffers back, and says how to end what is neither reset nor lost.
  parting on_end() noexcept;
  /// The stream was left to end by itself.
  void on_left() noexcept;
  /// Before waiting in `readable()` for the client's end of the stream.
  void on_await_client() noexcept;
  /// Before reading what the client still sends, and after each such read: whether to go on.
  void on_linger() noexcept;
  bool keeps_lingering(const result<std::size_t>& outcome) noexcept;
  void on_closed(bool clean) noexcept;
  /// It cannot go on.
  void on_failure() noexcept { finish(http::detail::ending::abort); }

  server_core& core() const noexcept { return place_.core(); }

 protected:
  ~server_connection();

 private:
  friend class server_core;
  friend class runnel::detail::list<server_connection>;

  /// Where it stands with the current request.
  enum class phase : std::uint8_t {
    wait,      ///< In `readable()`, without buffers.
    head,      ///< The head of a request is to come.
    ready,     ///< The head is there, the handler is to be called.
    handling,  ///< The handler runs.
    send,      ///< A body in memory is to be written.
    stream,    ///< A body source is to be read and written.
    settle,    ///< The response is out or buffered; the rest of the request body is to be dropped.
    done,      ///< No further request.
  };

  virtual task<result<std::size_t>> read_some(std::span<std::byte> into) = 0;
  virtual task<result<std::size_t>> write_some(
      std::span<const std::span<const std::byte>> from) = 0;
  virtual void set_read_deadline(time_point when) noexcept = 0;
  virtual void set_write_deadline(time_point when) noexcept = 0;

  void on_drain() noexcept;
  void release_exchange() noexcept;

  bool step_head(next_step& step);
  bool step_settle(next_step& step);
  void start_request() noexcept;
  void answer(status code);
  void send_reply(bool head_only);
  bool keeps_connection() noexcept;
  status body_refusal() const noexcept;
  void finish(http::detail::ending how) noexcept;
  bool is_broken() const noexcept { return ending_ == ending::abort || ending_ == ending::lost; }
  void on_io_error(std::error_code why) noexcept;
  void arm_header_deadline() noexcept;
  duration linger_limit() const noexcept;

  std::size_t take_buffered(std::span<std::byte> into);
  void fail_body(std::error_code why) noexcept;
  task<result<std::size_t>> receive_body(std::span<std::byte> into);
  time_point body_deadline() const noexcept;
  void on_body_read(time_point began, const result<std::size_t>& outcome) noexcept;
  task<> flush();

  ticket place_;
  std::unique_ptr<exchange> exchange_;
  time_point header_deadline_;
  std::uint64_t lingered_ = 0;
  std::uint32_t requests_ = 0;
  phase phase_ = phase::wait;
  http::detail::ending ending_ = http::detail::ending::none;
  /// The first read after waking up is still to come.
  bool woken_ = false;
  /// header_deadline_ stands for the head that is being read.
  bool header_timed_ = true;
  /// The head comes right behind another request.
  bool behind_ = false;
  /// The client has sent the end of its stream.
  bool peer_finished_ = false;
  /// The last response ends where the connection ends.
  bool until_close_ = false;
  /// The last response said "Connection: close".
  bool said_close_ = false;
};

}  // namespace runnel::http::detail
