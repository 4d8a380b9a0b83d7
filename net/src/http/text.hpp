#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace runnel::http::detail {

constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

/// tchar of RFC 9110 section 5.6.2, as one load.
inline constexpr std::array<bool, 256> token_chars = [] {
  std::array<bool, 256> allowed{};
  for (unsigned c = 0; c < allowed.size(); ++c) {
    const char lower = to_lower(static_cast<char>(c));
    allowed[c] = (lower >= 'a' && lower <= 'z') || is_digit(lower) ||
                 std::string_view{"!#$%&'*+-.^_`|~"}.find(lower) != std::string_view::npos;
  }
  return allowed;
}();

constexpr bool is_token_char(char c) noexcept {
  return token_chars[static_cast<unsigned char>(c)];
}

constexpr bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::ranges::all_of(text, is_token_char);
}

constexpr bool is_value_char(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7f) || c == '\t';
}

/// Whether one of the eight characters at `text` may be a control character; true for the tab too.
inline bool may_hold_control(const char* text) noexcept {
  constexpr std::uint64_t each = 0x0101010101010101;
  std::uint64_t word = 0;
  std::memcpy(&word, text, sizeof word);
  const std::uint64_t not_delete = word ^ (each * 0x7f);
  const std::uint64_t below_space = (word - each * 0x20) & ~word;
  const std::uint64_t is_delete = (not_delete - each) & ~not_delete;
  return ((below_space | is_delete) & (each * 0x80)) != 0;
}

/// Whether `text` may be a field value: no control character but the tab. Looks at eight characters
/// at a time, the last eight possibly twice, and singly only where that finds something.
inline bool is_field_value(std::string_view text) noexcept {
  constexpr std::size_t step = sizeof(std::uint64_t);
  if (text.size() < step) return std::ranges::all_of(text, is_value_char);
  const char* const last = text.data() + text.size() - step;
  bool doubtful = may_hold_control(last);
  for (const char* at = text.data(); at < last; at += step) doubtful |= may_hold_control(at);
  return !doubtful || std::ranges::all_of(text, is_value_char);
}

constexpr std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Copies the text to `at`, where there is room for it; where it ends.
inline char* put(char* at, std::string_view text) noexcept {
  if (!text.empty()) std::memcpy(at, text.data(), text.size());
  return at + text.size();
}

}  // namespace runnel::http::detail
