#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "runnel/net/http/message.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"
#include "runnel/wire/address.hpp"

namespace runnel::http {

namespace detail {
class server_connection;
}

/// The body of a request, read by the handler from the connection as it arrives: nothing is
/// collected unless `read_all` is asked to. One task at a time may read, and none after the handler
/// has returned.
///
/// What the handler leaves unread is read and thrown away after the response where it is short, and
/// otherwise the connection closes. A body that is too large, too slow, cut off or not well-formed
/// gives an error here; the server then answers 413, 408 or 400 in place of whatever the handler
/// returns, and closes.
class request_body {
 public:
  /// Its length, when the client announced one; 0 when there is no body.
  std::optional<std::uint64_t> size() const noexcept;
  /// Whether all of it has been read.
  bool done() const noexcept { return done_; }
  /// Changes how long this body may be from `server_options::max_body_bytes`.
  void set_limit(std::uint64_t bytes) noexcept { limit_ = bytes; }

  /// Waits for at least one byte and gives how many were stored in `into`, which must live until
  /// then; 0 is the end. The first read sends 100 (Continue) to a client that waits for it.
  task<result<std::size_t>> read(std::span<std::byte> into);
  /// Collects the rest. Beyond `limit` bytes it gives `errc::body_too_large`.
  task<result<std::string>> read_all(std::uint64_t limit = UINT64_MAX);

 private:
  friend class detail::server_connection;

  detail::server_connection* connection_ = nullptr;
  std::uint64_t left_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t limit_ = 0;
  std::error_code failure_;
  http::framing framing_ = framing::none;
  bool done_ = true;
  bool owes_continue_ = false;
};

/// A request as a handler sees it. It belongs to the connection and is reused for the next request:
/// a handler gets it by reference and keeps neither it nor views into it beyond its return.
class request : public request_head {
 public:
  request() noexcept = default;
  request(const request&) = delete;
  request& operator=(const request&) = delete;

  /// The body, also where there is none.
  request_body& body() noexcept { return body_; }
  /// Who asks.
  const net::endpoint& remote_endpoint() const noexcept { return remote_; }
  /// How many requests came on this connection before this one.
  std::uint32_t requests_before() const noexcept { return requests_before_; }

 private:
  friend class detail::server_connection;

  request_body body_;
  net::endpoint remote_;
  std::uint32_t requests_before_ = 0;
};

}  // namespace runnel::http
