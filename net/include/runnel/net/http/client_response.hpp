#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "runnel/net/http/message.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http {

namespace detail {
class client_call;
struct client_exchange;
}  // namespace detail

/// The body of a response, read from the connection as it arrives. One task at a time may read.
/// Once an error was given, all later reads give it too.
///
/// `errc::truncated` when the connection ended before the body did, `errc::bad_message` when its
/// chunks are not well-formed, `errc::timed_out` when it stopped coming for longer than
/// `client_options::body_timeout`; a body without a length that is cut short by a reset gives the
/// stream's error. After any of these, and after a cancelled read, the connection is closed.
class client_body {
 public:
  /// Its length, when the server announced one; 0 when there is no body.
  std::optional<std::uint64_t> size() const noexcept;
  /// Whether all of it has been read.
  bool done() const noexcept;

  /// Waits for at least one byte and gives how many were stored in `into`, which must live until
  /// then; 0 is the end. The response must live until then too.
  task<result<std::size_t>> read(std::span<std::byte> into);
  /// Appends the rest to `collected`, whose memory is used again. Beyond `limit` bytes it gives
  /// `errc::body_too_large` and closes the connection.
  task<result<void>> read_into(std::string& collected, std::uint64_t limit);
  /// Collects the rest; as `read_into`.
  task<result<std::string>> read_all(std::uint64_t limit = std::uint64_t{16} << 20);
  /// Reads the rest and throws it away, so that the connection can be used again; gives its length.
  task<result<std::uint64_t>> discard();

 private:
  friend class client_response;

  explicit client_body(detail::client_exchange* exchange) noexcept : exchange_(exchange) {}

  detail::client_exchange* exchange_;
};

/// A response: its head, and its body, which may still be on its way. Move-only.
///
/// Its connection goes back to the client's pool as soon as the body has been read to its end. A
/// response that is destroyed before that closes its connection. Its client must outlive it.
class [[nodiscard]] client_response {
 public:
  client_response(client_response&& other) noexcept
      : body_(std::exchange(other.body_.exchange_, nullptr)) {}
  client_response& operator=(client_response&& other) noexcept {
    std::swap(body_.exchange_, other.body_.exchange_);
    return *this;
  }
  ~client_response();

  /// Status, version and fields. Valid as long as the response is, also after a move of it.
  const response_head& head() const noexcept;
  /// The status code, never 1xx.
  http::status status() const noexcept { return head().status(); }
  /// The fields.
  const http::headers& headers() const noexcept { return head().headers(); }
  /// The body, also where there is none.
  client_body& body() noexcept { return body_; }
  /// Whether the request went out on a connection that had carried others before.
  bool reused_connection() const noexcept;

 private:
  friend class detail::client_call;

  explicit client_response(detail::client_exchange& exchange) noexcept : body_(&exchange) {}

  client_body body_;
};

}  // namespace runnel::http
