#pragma once

#include <system_error>

namespace runnel::http {

/// What can be wrong with a message, on top of what can be wrong with the stream that carries it.
enum class errc {
  /// The bytes are not HTTP, or are HTTP that different readers would cut up differently.
  bad_message = 1,
  /// The start line or the fields exceed the limit.
  header_too_large,
  /// The body exceeds the limit.
  body_too_large,
  /// The stream ended inside a message.
  truncated,
  /// A transfer coding other than chunked.
  unsupported_coding,
  /// An HTTP version other than 1.0 and 1.1.
  unsupported_version,
  /// The body did not come, or did not go, as fast as the options demand.
  timed_out,
  /// A body source gave more or fewer bytes than it had announced, or a message that has already
  /// been sent was to be changed.
  body_mismatch,
  /// The server is shutting down, or the client was closed.
  closed,
};

/// The category named "http" that `errc` belongs to.
const std::error_category& error_category() noexcept;

/// Makes the code for `e`; found by `std::error_code`'s converting constructor.
std::error_code make_error_code(errc e) noexcept;

}  // namespace runnel::http

template <>
struct std::is_error_code_enum<runnel::http::errc> : std::true_type {};
