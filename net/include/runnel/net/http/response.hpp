#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "runnel/net/http/header_block.hpp"
#include "runnel/net/http/status.hpp"
#include "runnel/result.hpp"
#include "runnel/task.hpp"

namespace runnel::http {

/// Where a streamed body comes from. It is read only as fast as the peer takes it, one read at a
/// time, and destroyed when the message is over, sent or not.
class body_source {
 public:
  body_source() noexcept = default;
  body_source(const body_source&) = delete;
  body_source& operator=(const body_source&) = delete;
  virtual ~body_source() = default;

  /// The exact number of bytes that will come, or nothing when that is not known beforehand. Known:
  /// the message has a Content-Length and must keep it. Unknown: it is sent in chunks, and to an
  /// HTTP/1.0 client it ends with the connection.
  virtual std::optional<std::uint64_t> size() const noexcept { return std::nullopt; }

  /// Stores at least one and at most `into.size()` bytes and gives how many; 0 is the end. `into`
  /// lives until the task is done. After an error the connection is reset, so that the peer cannot
  /// take what it got for the whole.
  virtual task<result<std::size_t>> read(std::span<std::byte> into) = 0;
};

/// A response that is being made: status, fields and body. The server adds Date, the fields that
/// frame the body, and Connection where it is needed.
///
/// Move-only and cheap to move; without an owned body longer than 15 bytes and with a handful of
/// fields it allocates nothing. The body is left out by itself when the request was HEAD, so a
/// handler treats HEAD as GET.
class response {
 public:
  /// 200 (OK) without content.
  response() noexcept = default;
  /// `code` without content.
  explicit response(http::status code) noexcept : status_(code) {}

  /// 200 (OK) with a text that the response owns.
  static response text(std::string content, std::string_view type = "text/plain; charset=utf-8");
  /// 200 (OK) with bytes that belong to somebody else and must live until the response was sent: a
  /// literal, or what outlives the server.
  static response literal(std::string_view content,
                          std::string_view type = "text/plain; charset=utf-8");
  /// 200 (OK) with a text that several responses share.
  static response shared(std::shared_ptr<const std::string> content, std::string_view type);
  /// 200 (OK) with a body that is read from `source` while it is sent.
  static response stream(std::unique_ptr<body_source> source, std::string_view type);
  /// A refusal with its reason phrase as content.
  static response plain(http::status code);
  /// 405 (Method Not Allowed); `allow` lists what is: "GET, HEAD".
  static response method_not_allowed(std::string_view allow);
  /// 302, 307 and so on to `location`.
  static response redirect(http::status code, std::string_view location);

  /// The status it is sent with.
  http::status status() const noexcept { return status_; }
  /// Changes the status. 1xx is not a response: the server answers 500 in its place.
  response& set_status(http::status code) & noexcept {
    status_ = code;
    return *this;
  }
  /// The same, of a temporary: `co_return response::text(page).set_status(status::created);`
  response&& set_status(http::status code) && noexcept { return std::move(set_status(code)); }

  /// The fields, without those that the server adds.
  header_block& headers() noexcept { return headers_; }
  /// The same, to look at.
  const header_block& headers() const noexcept { return headers_; }
  /// Adds a field; see `header_block::add` for what it refuses.
  response& header(std::string_view name, std::string_view value) & {
    headers_.add(name, value);
    return *this;
  }
  /// The same, of a temporary.
  response&& header(std::string_view name, std::string_view value) && {
    return std::move(header(name, value));
  }

  /// Gives it a body that it owns.
  response& set_body(std::string content) noexcept {
    body_ = std::move(content);
    return *this;
  }
  /// Gives it a body that belongs to somebody else and must live until it was sent.
  response& set_body_literal(std::string_view content) noexcept {
    body_ = content;
    return *this;
  }
  /// Gives it a body that several responses share.
  response& set_body(std::shared_ptr<const std::string> content) noexcept {
    body_ = std::move(content);
    return *this;
  }
  /// Gives it a body that is read while it is sent.
  response& set_body(std::unique_ptr<body_source> source) noexcept {
    body_ = std::move(source);
    return *this;
  }
  /// The body where it lies in memory; empty for a streamed one.
  std::string_view content() const noexcept;
  /// The source of a streamed body, else null.
  body_source* source() const noexcept;

  /// Makes it what a new response is, but keeps the memory of its fields.
  void clear() noexcept {
    status_ = http::status::ok;
    close_ = false;
    headers_.clear();
    body_ = std::string_view{};
  }

  /// Has the connection closed after this response.
  response& close() & noexcept {
    close_ = true;
    return *this;
  }
  /// The same, of a temporary.
  response&& close() && noexcept { return std::move(close()); }
  /// Whether `close()` was called.
  bool closes() const noexcept { return close_; }

 private:
  response(http::status code, std::string_view type) : status_(code) {
    headers_.append("Content-Type", type);
  }

  http::status status_ = http::status::ok;
  bool close_ = false;
  header_block headers_;
  std::variant<std::string_view, std::string, std::shared_ptr<const std::string>,
               std::unique_ptr<body_source>>
      body_;
};

}  // namespace runnel::http
