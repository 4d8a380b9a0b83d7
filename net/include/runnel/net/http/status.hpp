#pragma once

#include <cstdint>
#include <string_view>

namespace runnel::http {

/// The status codes of RFC 9110 section 15 (and 428, 429, 431 of RFC 6585) that a program has a
/// name for. Any other number from 100 to 599 is a valid value too: `static_cast<status>(418)`.
enum class status : std::uint16_t {
  continue_ = 100,
  switching_protocols = 101,
  ok = 200,
  created = 201,
  accepted = 202,
  no_content = 204,
  reset_content = 205,
  partial_content = 206,
  moved_permanently = 301,
  found = 302,
  see_other = 303,
  not_modified = 304,
  temporary_redirect = 307,
  permanent_redirect = 308,
  bad_request = 400,
  unauthorized = 401,
  forbidden = 403,
  not_found = 404,
  method_not_allowed = 405,
  not_acceptable = 406,
  request_timeout = 408,
  conflict = 409,
  gone = 410,
  length_required = 411,
  precondition_failed = 412,
  content_too_large = 413,
  uri_too_long = 414,
  unsupported_media_type = 415,
  range_not_satisfiable = 416,
  expectation_failed = 417,
  misdirected_request = 421,
  unprocessable_content = 422,
  upgrade_required = 426,
  precondition_required = 428,
  too_many_requests = 429,
  request_header_fields_too_large = 431,
  internal_server_error = 500,
  not_implemented = 501,
  bad_gateway = 502,
  service_unavailable = 503,
  gateway_timeout = 504,
  http_version_not_supported = 505,
};

/// The number itself.
constexpr unsigned to_number(status code) noexcept {
  return static_cast<unsigned>(code);
}

/// The reason phrase of RFC 9110, as in "Not Found"; "Unknown" for a number without a name.
std::string_view reason_phrase(status code) noexcept;

/// Whether a response with this status never has content, whatever its fields say: 1xx, 204 and 304
/// (RFC 9112 section 6.3).
constexpr bool never_has_content(status code) noexcept {
  return to_number(code) < 200 || code == status::no_content || code == status::not_modified;
}

}  // namespace runnel::http
