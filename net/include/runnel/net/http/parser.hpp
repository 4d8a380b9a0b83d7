#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

#include "runnel/net/http/message.hpp"

namespace runnel::http {

/// What a parser accepts before it gives up.
struct message_limits {
  /// Start line and fields with their line ends; also the most that the line of a chunk, or the
  /// trailer section, may take. At most 65,535. More is 431, or errc::header_too_large.
  std::uint32_t header_bytes = 8192;
  /// The start line. More is 414. RFC 9112 section 3 wants at least 8000.
  std::uint32_t start_line_bytes = 8000;
  /// Field lines, those of the trailer section included. More is 431.
  std::uint32_t header_fields = 100;
};

/// What a look at the received bytes came to.
enum class parse_result : std::uint8_t { need_more, complete, failed };

/// What became of a look at a chunked body.
struct decode_result {
  /// How many bytes of the input are done with.
  std::size_t consumed = 0;
  /// How many body bytes were written.
  std::size_t produced = 0;
  /// `complete` once the trailer section has ended; `need_more` when there is more to come, or more
  /// room is needed.
  parse_result state = parse_result::need_more;
};

/// What request_parser and response_parser share: one message at a time, no I/O, no allocation in
/// the steady state. The grammar is Boost.Beast's; what Beast tolerates and another reader might
/// understand differently is refused on top of it: folded fields, repeated or conflicting framing
/// fields, transfer codings other than chunked, control characters in chunk extensions, line feeds
/// without a carriage return. How large a body may be is the caller's business.
class message_parser {
 public:
  message_parser(const message_parser&) = delete;
  message_parser& operator=(const message_parser&) = delete;

  /// The bytes that the head took, once `parse` has returned `complete`; the body follows.
  std::size_t head_size() const noexcept { return head_size_; }
  /// After `failed`: what is wrong.
  std::error_code error() const noexcept { return error_; }
  /// After `failed`: the status to answer a request with.
  status refusal() const noexcept { return refusal_; }

 protected:
  /// A parser with these limits.
  explicit message_parser(const message_limits& limits) noexcept : limits_(limits) {}
  ~message_parser() = default;

  struct attempt;

  /// Whether a look at `text` can be worth while: at the first piece of a message, and once the
  /// empty line that ends a head is there. Each byte is searched once.
  bool head_may_be_complete(std::string_view text) noexcept;
  /// What a text without the end of its head comes to: `need_more`, or `failed` when it is over a
  /// limit already.
  parse_result incomplete(std::string_view text) noexcept;
  /// Takes over what the grammar made of `text`, of which the first `skipped` bytes were empty
  /// lines.
  parse_result settle(const attempt& made, std::string_view text, std::size_t skipped) noexcept;
  /// `failed`, with the answer to a request and the error.
  parse_result fail(status refusal, std::error_code error) noexcept;
  /// Begins the next message.
  void restart() noexcept;

  message_limits limits_;
  std::error_code error_;
  std::size_t head_size_ = 0;
  std::size_t scanned_ = 0;
  status refusal_ = status::bad_request;
  bool tried_ = false;
  bool live_ = false;
  alignas(8) std::array<std::byte, 192> storage_;
};

/// Reads requests.
class request_parser : public message_parser {
 public:
  /// A parser with these limits, before its first message.
  explicit request_parser(const message_limits& limits = {}) noexcept : message_parser(limits) {}
  ~request_parser() { reset(); }

  /// Looks at `input`, which must hold everything received since the start of the message (it may
  /// be at another address each time), and fills `head` when it holds the whole head. Empty lines
  /// before the request line are skipped (RFC 9112 section 2.2). The cost of a message that comes
  /// in small pieces is linear in its size. After `failed` there is nothing to be done but to
  /// answer and close.
  parse_result parse(std::string_view input, request_head& head);
  /// Takes the chunked coding off: body bytes from `input`, which begins where the last call left
  /// off, go to `out`. Only after a head with `framing::chunked`.
  decode_result decode(std::string_view input, std::span<char> out);
  /// Forgets the message, for the next one.
  void reset() noexcept;
};

/// Reads responses.
class response_parser : public message_parser {
 public:
  /// A parser with these limits, before its first message.
  explicit response_parser(const message_limits& limits = {}) noexcept : message_parser(limits) {}
  ~response_parser() { reset(); }

  /// As `request_parser::parse`. `asked` is the method of the request that is being answered: the
  /// answer to a HEAD has no body, whatever its fields say. An interim response (1xx) is a message
  /// of its own.
  parse_result parse(std::string_view input, method asked, response_head& head);
  /// As `request_parser::decode`.
  decode_result decode(std::string_view input, std::span<char> out);
  /// Forgets the message, for the next one.
  void reset() noexcept;
};

}  // namespace runnel::http
