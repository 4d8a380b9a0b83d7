#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "runnel/loop.hpp"
#include "runnel/net/http/client_options.hpp"
#include "runnel/net/http/client_request.hpp"
#include "runnel/net/http/client_response.hpp"
#include "runnel/net/http/detail/client_call.hpp"
#include "runnel/net/http/detail/client_connection.hpp"
#include "runnel/net/http/detail/client_core.hpp"
#include "runnel/net/http/detail/client_probe.hpp"
#include "runnel/net/http/method.hpp"
#include "runnel/net/http/response.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/timeout.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::http {

/// An HTTP/1.1 client over anything that opens streams.
///
/// ```
/// http::client client{loop, stack};
/// auto response = co_await client.get(endpoint, "/hello");
/// if (!response) co_return response.error();
/// auto text = co_await response->body().read_all();
/// ```
///
/// It keeps connections per endpoint and uses the one that was used last. Before a kept connection
/// is used it is looked at, and one that the server has closed, or on which it spoke without being
/// asked, is thrown away. When a kept connection dies before a byte of the response came, the
/// request is sent once more on a new one: if nothing of it had been sent, or it is repeatable (see
/// `client_request::repeatable`; RFC 9110 section 9.2.2 forbids it for others).
///
/// Any number of tasks of one loop may use it at the same time; each request has a connection of
/// its own. Cancelling a task closes its connection and leaves nothing behind. A deadline for the
/// whole of a request is `with_timeout(5s, client.get(...))`.
template <net::connector Connector>
class client {
 public:
  /// Throws `std::invalid_argument` when an option is out of range. `owner` and `connector` must
  /// outlive it.
  client(loop& owner, Connector& connector, const client_options& options = {})
      : connector_(&connector), core_(owner, options) {}
  client(const client&) = delete;
  client& operator=(const client&) = delete;
  /// Closes the kept connections without waiting. No request may be under way and no response may
  /// be left; this is checked.
  ~client() = default;

  /// Sends `request` and waits for the head of the final response. `request` must live until then.
  ///
  /// Errors: those of connect(2), `errc::deadline_exceeded` for a connection that did not open in
  /// time; `http::errc` for what is wrong with the response, `http::errc::truncated` when the
  /// connection ended before it, `http::errc::timed_out` when it did not come in time or the
  /// request was not taken; the stream's errors, such as `std::errc::connection_reset`;
  /// `errc::cancelled`.
  ///
  /// A server that answers before it has taken the whole request, and closes, is heard.
  task<result<client_response>> send(net::endpoint to, const client_request& request) {
    return exchange(to, request, nullptr);
  }
  /// The same with a body that is read while it is sent, in place of the request's own. `source`
  /// must live as long as `request`. There is no retry once it has been read from. Its error, and
  /// `http::errc::body_mismatch` when it ends before the size it announced, reset the connection.
  task<result<client_response>> send(net::endpoint to, const client_request& request,
                                     body_source& source) {
    return exchange(to, request, &source);
  }

  /// GET of `target`, which must live until the response is there; see `client_request` for what
  /// makes it throw `std::invalid_argument`.
  task<result<client_response>> get(net::endpoint to, std::string_view target) {
    return send_plain(to, method::get, target);
  }
  /// HEAD of `target`: the response has no body.
  task<result<client_response>> head(net::endpoint to, std::string_view target) {
    return send_plain(to, method::head, target);
  }
  /// DELETE of `target`.
  task<result<client_response>> delete_(net::endpoint to, std::string_view target) {
    return send_plain(to, method::delete_, target);
  }
  /// POST of `content`. All views must live until the response is there.
  task<result<client_response>> post(net::endpoint to, std::string_view target,
                                     std::string_view content, std::string_view type) {
    return send_content(to, method::post, target, content, type);
  }
  /// PUT of `content`. All views must live until the response is there.
  task<result<client_response>> put(net::endpoint to, std::string_view target,
                                    std::string_view content, std::string_view type) {
    return send_content(to, method::put, target, content, type);
  }

  /// Closes the kept connections, gracefully and without waiting.
  void close_idle() noexcept { core_.close_idle(); }

  /// What it has done so far.
  const client_counters& counters() const noexcept { return core_.counters(); }

 private:
  using connection_type = detail::client_stream<typename Connector::stream_type>;

  task<result<client_response>> exchange(net::endpoint to, const client_request& request,
                                         body_source* source);
  task<result<client_response>> send_plain(net::endpoint to, method how, std::string_view target) {
    const client_request request{how, target};
    auto response = co_await send(to, request);
    co_return std::move(response);
  }
  task<result<client_response>> send_content(net::endpoint to, method how, std::string_view target,
                                             std::string_view content, std::string_view type) {
    client_request request{how, target};
    request.header("Content-Type", type).set_body_literal(content);
    auto response = co_await send(to, request);
    co_return std::move(response);
  }

  Connector* connector_;
  detail::client_core core_;
};

template <net::connector Connector>
task<result<client_response>> client<Connector>::exchange(net::endpoint to,
                                                          const client_request& request,
                                                          body_source* source) {
  detail::client_call call{core_, to, request, source};
  for (;;) {
    const detail::client_step step = call.next();
    if (step == detail::client_step::done) break;
    if (step == detail::client_step::connect) {
      auto opened = co_await with_timeout(core_.options().connect_timeout, connector_->connect(to));
      if (opened) {
        call.on_connected(std::make_unique<connection_type>(std::move(*opened)));
      } else {
        call.on_connect_error(opened.error());
      }
      continue;
    }
    if (step == detail::client_step::fill) {
      const auto got = co_await source->read(call.source_room());
      call.on_source(got);
      continue;
    }
    auto& stream = static_cast<connection_type&>(call.connection()).stream;
    if (step == detail::client_step::write) {
      const auto sent = co_await stream.write(call.pieces());
      call.on_written(sent);
    } else if (step == detail::client_step::read) {
      const auto got = co_await stream.read(call.room());
      call.on_read(got);
    } else {
      const bool readable = co_await detail::would_not_wait(stream.readable());
      call.on_probe(readable);
    }
  }
  auto outcome = call.take();
  co_return std::move(outcome);
}

}  // namespace runnel::http
