#pragma once

#include <string>
#include <string_view>

#include "runnel/loop.hpp"
#include "runnel/net/http/client_options.hpp"
#include "runnel/net/http/client_request.hpp"
#include "runnel/net/http/client_response.hpp"
#include "runnel/net/stream.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
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
  client(loop& owner, Connector& connector, const client_options& options = {});
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
  task<result<client_response>> send(net::endpoint to, const client_request& request);

  /// GET of `target`, which must live until the response is there.
  task<result<client_response>> get(net::endpoint to, std::string_view target);
  /// HEAD of `target`: the response has no body.
  task<result<client_response>> head(net::endpoint to, std::string_view target);
  /// POST of `content`, which must live until the response is there.
  task<result<client_response>> post(net::endpoint to, std::string_view target,
                                     std::string_view content, std::string_view type);
  /// PUT of `content`, which must live until the response is there.
  task<result<client_response>> put(net::endpoint to, std::string_view target,
                                    std::string_view content, std::string_view type);
  /// DELETE of `target`.
  task<result<client_response>> delete_(net::endpoint to, std::string_view target);

  /// Closes the kept connections, gracefully and without waiting.
  void close_idle() noexcept;

  /// What it has done so far.
  const client_counters& counters() const noexcept;
};

}  // namespace runnel::http
