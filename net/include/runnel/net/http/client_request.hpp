#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "runnel/net/http/header_block.hpp"
#include "runnel/net/http/method.hpp"

namespace runnel::http {

/// A request that is being made: method, target, fields and body. The client adds Host where there
/// is none, the fields that frame the body, and Connection where it is needed.
///
/// It may be sent any number of times, also at the same time. With a target of up to 15 bytes and a
/// handful of fields it allocates nothing.
class client_request {
 public:
  /// A request without a body. `target` is what goes on the request line: a path with its query,
  /// percent-encoded, "*" for OPTIONS, or an absolute URI for a proxy. Throws
  /// `std::invalid_argument` when it is empty or holds white space, a control character or "#", and
  /// for CONNECT, which makes a tunnel, and `method::other`.
  explicit client_request(http::method how, std::string_view target = "/");

  /// What is asked of the target.
  http::method method() const noexcept { return method_; }
  /// What goes on the request line; valid until the request is assigned to or destroyed.
  std::string_view target() const noexcept { return target_; }

  /// The fields, without those that the client adds. `headers().set("Host", ...)` says the host
  /// where the endpoint's address is not its name.
  header_block& headers() noexcept { return headers_; }
  /// The same, to look at.
  const header_block& headers() const noexcept { return headers_; }
  /// Adds a field; see `header_block::add` for what it refuses.
  client_request& header(std::string_view name, std::string_view value) & {
    headers_.add(name, value);
    return *this;
  }
  /// The same, of a temporary.
  client_request&& header(std::string_view name, std::string_view value) && {
    return std::move(header(name, value));
  }

  /// Gives it a body that it owns.
  client_request& set_body(std::string content) & noexcept {
    body_ = std::move(content);
    return *this;
  }
  /// The same, of a temporary.
  client_request&& set_body(std::string content) && noexcept {
    return std::move(set_body(std::move(content)));
  }
  /// Gives it a body that belongs to somebody else and must live until the request was sent.
  client_request& set_body_literal(std::string_view content) & noexcept {
    body_ = content;
    return *this;
  }
  /// The same, of a temporary.
  client_request&& set_body_literal(std::string_view content) && noexcept {
    return std::move(set_body_literal(content));
  }
  /// The body where it lies in memory.
  std::string_view content() const noexcept {
    if (const auto* owned = std::get_if<std::string>(&body_)) return *owned;
    return std::get<std::string_view>(body_);
  }

  /// Has the client wait for 100 (Continue), up to `client_options::continue_timeout`, before it
  /// sends the body, so that a server that refuses it need not receive it.
  client_request& expect_continue(bool on = true) & noexcept {
    expect_continue_ = on;
    return *this;
  }
  /// Whether `expect_continue` was asked for.
  bool expects_continue() const noexcept { return expect_continue_; }

  /// Has the connection closed after the response.
  client_request& close(bool on = true) & noexcept {
    close_ = on;
    return *this;
  }
  /// Whether `close` was asked for.
  bool closes() const noexcept { return close_; }

  /// Says whether doing it twice is the same as doing it once, which decides about the retry on a
  /// stale connection. By default that is so for the methods RFC 9110 section 9.2.2 calls
  /// idempotent.
  client_request& repeatable(bool on) & noexcept {
    repeatable_ = on;
    return *this;
  }
  /// Whether it may be sent again when nobody knows what became of it.
  bool is_repeatable() const noexcept { return repeatable_; }

 private:
  std::string target_;
  header_block headers_;
  std::variant<std::string_view, std::string> body_;
  http::method method_;
  bool expect_continue_ = false;
  bool close_ = false;
  bool repeatable_;
};

}  // namespace runnel::http
