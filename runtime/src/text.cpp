#include "runnel/detail/text.hpp"

#include <array>
#include <cstdio>

namespace runnel::detail {
namespace {

void erase_all(std::string& text, std::string_view what) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what)) {
    text.erase(at, what.size());
  }
}

// Where the parameter list begins; the last space outside angle brackets before it ends the type.
struct span_of_name {
  std::size_t begin = 0;
  std::size_t end = std::string_view::npos;
};

span_of_name find_name(std::string_view pretty) {
  span_of_name found;
  int depth = 0;
  for (std::size_t i = 0; i < pretty.size(); ++i) {
    const char c = pretty[i];
    if (c == '<') ++depth;
    if (c == '>') --depth;
    if (depth > 0) continue;
    if (c == ' ' || c == '*' || c == '&') found.begin = i + 1;
    if (c == '(') {
      found.end = i;
      return found;
    }
  }
  return found;
}

}  // namespace

std::string text_of(duration span) {
  struct unit {
    double length;
    const char* name;
  };
  constexpr std::array<unit, 6> units{
      {{3600e9, "h"}, {60e9, "min"}, {1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}}};
  const auto count = static_cast<double>(span.count());
  const double size = count < 0 ? -count : count;
  for (const unit& u : units) {
    // Minutes and hours only where seconds would be many.
    if (size < u.length * (u.length > 2e9 ? 2 : 1) && u.length > 1) continue;
    char text[48];
    std::snprintf(text, sizeof text, u.length > 1 ? "%.1f %s" : "%.0f %s", count / u.length,
                  u.name);
    return text;
  }
  return {};
}

std::string short_name(std::string_view pretty) {
  std::string text(pretty.substr(0, pretty.find(" [")));
  const bool lambda = text.find("<lambda") != std::string::npos ||
                      text.find("anonymous class") != std::string::npos ||
                      text.find("(lambda at") != std::string::npos;
  erase_all(text, "{anonymous}::");
  erase_all(text, "(anonymous namespace)::");
  const span_of_name name = find_name(text);
  std::string result = text.substr(name.begin, name.end - name.begin);
  if (const auto angle = result.find('<'); angle != std::string::npos && angle > 0) {
    result.erase(angle);
  }
  return lambda && result.find("lambda") == std::string::npos ? result + "::lambda" : result;
}

std::string file_and_line(const std::source_location& where) {
  std::string_view file = where.file_name();
  file.remove_prefix(file.rfind('/') + 1);
  return std::string(file) + ":" + std::to_string(where.line());
}

std::string text_of(const std::source_location& where) {
  if (where.line() == 0) return "an unknown place";
  return short_name(where.function_name()) + " at " + file_and_line(where);
}

}  // namespace runnel::detail
