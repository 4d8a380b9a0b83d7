#include "file_range.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "text.hpp"

namespace runnel::http::detail {
namespace {

/// Weak comparison (RFC 9110 section 8.8.3.2) with each member of a list of entity tags, or "*".
bool lists_tag(std::string_view list, std::string_view tag) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view member = trimmed(list.substr(0, comma));
    if (member == "*") return true;
    if (member.starts_with("W/")) member.remove_prefix(2);
    if (member == tag) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

std::optional<std::uint64_t> number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

byte_range whole(std::uint64_t size) noexcept {
  return {.kind = range_kind::whole, .begin = 0, .size = size};
}

byte_range part(std::uint64_t begin, std::uint64_t end) noexcept {
  return {.kind = range_kind::part, .begin = begin, .size = end - begin};
}

constexpr byte_range none{.kind = range_kind::unsatisfiable, .begin = 0, .size = 0};

}  // namespace

bool is_unchanged(const headers& asked, const file_version& now) {
  if (const auto tags = asked.find("If-None-Match")) return lists_tag(*tags, now.tag);
  const auto since = asked.find("If-Modified-Since");
  if (!since) return false;
  const auto date = parse_date(*since);
  return date && now.changed <= *date;
}

byte_range wanted_range(const headers& asked, const file_version& now, std::uint64_t size) {
  constexpr std::string_view unit = "bytes=";
  const auto field = asked.find("Range");
  if (!field || !field->starts_with(unit) || field->find(',') != std::string_view::npos) {
    return whole(size);
  }
  if (const auto condition = asked.find("If-Range")) {
    const auto date = parse_date(*condition);
    if (date ? *date != now.changed : *condition != now.tag) return whole(size);
  }
  const std::string_view range = trimmed(field->substr(unit.size()));
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return whole(size);
  const auto first = number(range.substr(0, dash));
  const auto last = number(range.substr(dash + 1));
  if (dash == 0) {
    // The last so many bytes.
    if (!last) return whole(size);
    return *last == 0 || size == 0 ? none : part(size - std::min(*last, size), size);
  }
  const bool open_end = dash + 1 == range.size();
  if (!first || (!last && !open_end) || (last && *last < *first)) return whole(size);
  if (*first >= size) return none;
  return part(*first, open_end ? size : std::min(*last, size - 1) + 1);
}

std::string content_range(const byte_range& range, std::uint64_t size) {
  std::string text{"bytes "};
  if (range.kind == range_kind::unsatisfiable) {
    text += '*';
  } else {
    text.append(std::to_string(range.begin)).append("-");
    text.append(std::to_string(range.begin + range.size - 1));
  }
  return text.append("/").append(std::to_string(size));
}

}  // namespace runnel::http::detail
