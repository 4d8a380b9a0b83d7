#include "runnel/net/http/client_request.hpp"

#include <algorithm>
#include <stdexcept>

namespace runnel::http {

client_request::client_request(http::method how, std::string_view target)
    : target_(target), method_(how), repeatable_(is_idempotent(how)) {
  if (how == method::connect || how == method::other) {
    throw std::invalid_argument("http: a client request is neither CONNECT nor a method unknown.");
  }
  const bool spells_target = std::ranges::all_of(
      target, [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f && c != '#'; });
  if (target.empty() || !spells_target) {
    throw std::invalid_argument(
        "http: a request target must be neither empty nor hold white space, control characters or "
        "a fragment; percent-encode it.");
  }
}

}  // namespace runnel::http
