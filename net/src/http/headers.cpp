#include "runnel/net/http/headers.hpp"

#include "text.hpp"

namespace runnel::http {

bool equal_ignoring_case(std::string_view left, std::string_view right) noexcept {
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i] != right[i] && detail::to_lower(left[i]) != detail::to_lower(right[i]))
      return false;
  }
  return true;
}

bool list_contains(std::string_view value, std::string_view token) noexcept {
  while (!value.empty()) {
    const std::size_t comma = value.find(',');
    if (equal_ignoring_case(detail::trimmed(value.substr(0, comma)), token)) return true;
    if (comma == std::string_view::npos) break;
    value.remove_prefix(comma + 1);
  }
  return false;
}

std::optional<std::string_view> headers::find(std::string_view name) const noexcept {
  for (const field& line : *this) {
    if (equal_ignoring_case(line.name, name)) return line.value;
  }
  return std::nullopt;
}

bool headers::has_token(std::string_view name, std::string_view token) const noexcept {
  for (const field& line : *this) {
    if (equal_ignoring_case(line.name, name) && list_contains(line.value, token)) return true;
  }
  return false;
}

}  // namespace runnel::http
