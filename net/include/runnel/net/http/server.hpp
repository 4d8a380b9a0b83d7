#pragma once

#include <concepts>
#include <coroutine>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

#include "runnel/loop.hpp"
#include "runnel/net/http/answer.hpp"
#include "runnel/net/http/detail/server_driver.hpp"
#include "runnel/net/http/request.hpp"
#include "runnel/net/http/response.hpp"
#include "runnel/net/http/server_options.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http {

/// What answers requests: a function or function object `task<response>(request&)`,
/// `response(request&)` where there is nothing to wait for, or `answer(request&)` where there is
/// only sometimes. It is called for each request, for several connections at the same time, never
/// for two requests of one connection. An exception is answered with 500 and closes the connection.
template <class Handler>
concept handler = std::move_constructible<Handler> &&
    (std::same_as<std::invoke_result_t<Handler&, request&>, task<response>> ||
     std::same_as<std::invoke_result_t<Handler&, request&>, response> ||
     std::same_as<std::invoke_result_t<Handler&, request&>, answer>);

/// An HTTP/1.1 server over anything that accepts streams.
///
/// ```
/// task<http::response> handle(http::request& request) {
///   if (request.path() == "/hello") co_return http::response::literal("hello, world\n");
///   co_return http::response::plain(http::status::not_found);
/// }
/// http::server server{loop, handle};
/// auto ended = co_await server.serve(listener);
/// ```
///
/// Keep-alive, pipelining with the responses in order, HTTP/1.0, both framings both ways, HEAD and
/// 100 (Continue) are handled here; the handler sees one request at a time. A connection that waits
/// for its next request holds no buffer and no parser. It must outlive its `serve` calls, and be
/// used by one loop.
template <handler Handler>
class server {
 public:
  /// Throws `std::invalid_argument` when an option is out of range.
  server(loop& owner, Handler handler, const server_options& options = {})
      : handler_(std::move(handler)), core_(owner, options) {}

  /// Accepts from `listener` and answers until `drain()` is called or the listener is closed; then
  /// finishes the requests under way, for at most `drain_grace`, resets what is left, and gives no
  /// error. May run for several listeners at once. When the awaiting task is cancelled, the
  /// connections are reset at once. `listener` must outlive it, and is closed by a drain.
  template <net::listener Listener>
  task<result<void>> serve(Listener& listener) {
    return detail::serve(listener, handler_, core_);
  }

  /// Stops accepting; closes the connections that wait for a request, with the end of the stream
  /// and not a reset; lets the others answer what they have begun and close. Returns at once:
  /// `serve` ends when all is done. Call it from a task of the loop; a second call does nothing.
  void drain() noexcept { core_.drain(); }

  /// What it has done so far.
  const server_counters& counters() noexcept { return core_.counters(); }

 private:
  Handler handler_;
  detail::server_core core_;
};

/// One listener, one handler, until the listener is closed or the task is cancelled: see `server`.
template <net::listener Listener, handler Handler>
task<result<void>> serve(Listener& listener, Handler handler, server_options options = {}) {
  loop& owner = co_await this_loop();
  server<Handler> one{owner, std::move(handler), options};
  auto ended = co_await one.serve(listener);
  co_return ended;
}

}  // namespace runnel::http
