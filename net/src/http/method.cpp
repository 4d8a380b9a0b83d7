#include "runnel/net/http/method.hpp"

#include <array>
#include <cstddef>

namespace runnel::http {
namespace {

constexpr std::array<std::string_view, 9> names{"GET",   "HEAD",    "POST",  "PUT",    "DELETE",
                                                "PATCH", "OPTIONS", "TRACE", "CONNECT"};

}  // namespace

std::string_view to_string(method value) noexcept {
  const auto index = static_cast<std::size_t>(value);
  return index < names.size() ? names[index] : std::string_view{};
}

method to_method(std::string_view token) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == token) return static_cast<method>(i);
  }
  return method::other;
}

}  // namespace runnel::http
