#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runnel/net/http/headers.hpp"
#include "runnel/net/http/method.hpp"
#include "runnel/net/http/status.hpp"

namespace runnel::http {

/// How a reader knows where the body of a message ends (RFC 9112 section 6).
enum class framing : std::uint8_t {
  /// There is no body.
  none,
  /// After Content-Length bytes.
  length,
  /// After the last chunk and the trailer section.
  chunked,
  /// When the sender closes: responses only.
  until_close,
};

/// The part of a request before its body, as it was received and checked. Its memory is reused when
/// it is filled again, which invalidates all views.
class request_head {
 public:
  /// The method, `method::other` for one without a name here.
  http::method method() const noexcept { return method_; }
  /// The method as it was sent.
  std::string_view method_text() const noexcept { return bytes().substr(0, method_size_); }
  /// The request target as it was sent: "/a/b?c=d", "*", "http://host/a" or, for CONNECT,
  /// "host:443".
  std::string_view target() const noexcept { return bytes().substr(target_begin_, target_size_); }
  /// The target's path, still percent-encoded, without scheme, authority and query; at least "/"
  /// unless the target is "*" or an authority.
  std::string_view path() const noexcept;
  /// What follows the first "?" of the target, still percent-encoded.
  std::string_view query() const noexcept;
  /// Which host was asked for: the target's authority, else the Host field, else nothing.
  std::string_view host() const noexcept;
  /// Whether the sender speaks HTTP/1.0; otherwise it speaks HTTP/1.1.
  bool is_http_1_0() const noexcept { return http_1_0_; }
  /// The fields.
  const http::headers& headers() const noexcept { return headers_; }

  /// Where the body ends: `none`, `length` or `chunked`.
  http::framing framing() const noexcept { return framing_; }
  /// The body's length where framing is `length`, else 0.
  std::uint64_t content_length() const noexcept { return content_length_; }
  /// Whether the client lets the connection live on after the response (RFC 9112 section 9.3).
  bool keep_alive() const noexcept { return keep_alive_; }
  /// Whether the client waits for 100 (Continue) before it sends the body.
  bool expects_continue() const noexcept { return expects_continue_; }

 private:
  friend struct detail::head_access;

  std::string_view bytes() const noexcept;
  std::string_view origin_form() const noexcept;

  http::headers headers_;
  std::uint64_t content_length_ = 0;
  std::uint16_t method_size_ = 0;
  std::uint16_t target_begin_ = 0;
  std::uint16_t target_size_ = 0;
  http::method method_ = http::method::get;
  http::framing framing_ = http::framing::none;
  bool http_1_0_ = false;
  bool keep_alive_ = false;
  bool expects_continue_ = false;
};

/// The part of a response before its body, as it was received and checked.
class response_head {
 public:
  /// The status code.
  http::status status() const noexcept { return status_; }
  /// The reason phrase as it was sent, which means nothing (RFC 9112 section 4).
  std::string_view reason() const noexcept;
  /// Whether the sender speaks HTTP/1.0; otherwise it speaks HTTP/1.1.
  bool is_http_1_0() const noexcept { return http_1_0_; }
  /// The fields.
  const http::headers& headers() const noexcept { return headers_; }

  /// Where the body ends.
  http::framing framing() const noexcept { return framing_; }
  /// The body's length where framing is `length`, else 0.
  std::uint64_t content_length() const noexcept { return content_length_; }
  /// Whether the connection may carry another request after this response.
  bool keep_alive() const noexcept { return keep_alive_; }

 private:
  friend struct detail::head_access;

  http::headers headers_;
  std::uint64_t content_length_ = 0;
  std::uint16_t reason_begin_ = 0;
  std::uint16_t reason_size_ = 0;
  http::status status_ = http::status::ok;
  http::framing framing_ = http::framing::none;
  bool http_1_0_ = false;
  bool keep_alive_ = false;
};

}  // namespace runnel::http
