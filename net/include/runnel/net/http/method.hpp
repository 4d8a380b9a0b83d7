#pragma once

#include <cstdint>
#include <string_view>

namespace runnel::http {

/// The request methods that have a meaning here. `other` is any other token; its text is beside it
/// wherever a method was received.
enum class method : std::uint8_t {
  get,
  head,
  post,
  put,
  delete_,
  patch,
  options,
  trace,
  connect,
  other
};

/// "GET" and so on; empty for `other`.
std::string_view to_string(method value) noexcept;

/// The method that `token` spells, which is case-sensitive (RFC 9110 section 9.1).
method to_method(std::string_view token) noexcept;

/// Whether sending the request twice does what sending it once does (RFC 9110 section 9.2.2), so
/// that it may be retried when a connection was lost.
constexpr bool is_idempotent(method value) noexcept {
  return value != method::post && value != method::patch && value != method::connect &&
         value != method::other;
}

}  // namespace runnel::http
