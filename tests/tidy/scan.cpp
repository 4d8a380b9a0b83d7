#include "scan.hpp"

#include <algorithm>
#include <array>
#include <regex>

namespace tidy {

namespace {

constexpr std::string_view openers = "([{";
constexpr std::string_view closers = ")]}";

template <std::size_t N>
bool one_of(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

constexpr std::array<std::string_view, 4> condition_words = {"if", "while", "for", "switch"};
constexpr std::array<std::string_view, 6> operator_words = {"return",   "co_return", "co_await",
                                                            "co_yield", "case",      "else"};

// True when a closing brace ends an initialiser, since the expression goes on behind it.
bool expression_goes_on(std::string_view code, std::size_t brace) {
  const auto next = next_visible(code, brace + 1);
  return next != npos && std::string_view(":,).?&|=<>+-*/%]").find(code[next]) != npos;
}

// True for braces around values, as opposed to a block of statements.
bool is_braced_list(std::string_view code, std::size_t open, std::size_t close) {
  return open != npos && close != npos && close > open + 1 &&
         code.substr(open, close - open).find(';') == npos;
}

std::size_t statement_begin(std::string_view code, std::size_t at) {
  auto i = at;
  while (i > 0) {
    const char c = code[i - 1];
    if (c == ';' || (c == '{' && !is_braced_list(code, i - 1, close_of(code, i - 1)))) return i;
    if (c == '}' && !expression_goes_on(code, i - 1)) return i;
    if (closers.find(c) != npos) {
      const auto open = open_of(code, i - 1);
      if (open == npos) return i;
      if (c == ')' && one_of(condition_words, word_before(code, open))) return i;
      i = open;
    } else if (c == '(' && one_of(condition_words, word_before(code, i - 1))) {
      return i;
    } else {
      --i;
    }
  }
  return 0;
}

std::size_t statement_end(std::string_view code, std::size_t at) {
  auto i = at;
  bool left_parentheses = false;
  while (i < code.size()) {
    const char c = code[i];
    if (c == ';' || (c == '}' && !is_braced_list(code, open_of(code, i), i))) return i;
    if (c == '{' && left_parentheses) return i;
    if (c == ')') left_parentheses = true;
    if (openers.find(c) != npos) {
      const auto close = close_of(code, i);
      if (close == npos) return code.size();
      i = close;
      left_parentheses = false;
    } else if (!is_space(c) && c != ')') {
      left_parentheses = false;
    }
    ++i;
  }
  return code.size();
}

}  // namespace

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::size_t next_visible(std::string_view code, std::size_t from) {
  while (from < code.size() && is_space(code[from])) ++from;
  return from < code.size() ? from : npos;
}

std::size_t previous_visible(std::string_view code, std::size_t before) {
  while (before > 0 && is_space(code[before - 1])) --before;
  return before > 0 ? before - 1 : npos;
}

std::string_view word_before(std::string_view code, std::size_t before) {
  const auto last = previous_visible(code, before);
  if (last == npos) return {};
  auto first = last + 1;
  while (first > 0 && is_word(code[first - 1])) --first;
  return code.substr(first, last + 1 - first);
}

std::string_view word_at(std::string_view code, std::size_t at) {
  auto end = at;
  while (end < code.size() && is_word(code[end])) ++end;
  return code.substr(at, end - at);
}

std::vector<std::size_t> find_words(std::string_view code, std::string_view word) {
  std::vector<std::size_t> places;
  for (auto at = code.find(word); at != npos; at = code.find(word, at + 1)) {
    const auto end = at + word.size();
    if (at > 0 && is_word(code[at - 1])) continue;
    if (end < code.size() && is_word(code[end])) continue;
    places.push_back(at);
  }
  return places;
}

bool has_word(std::string_view code, std::string_view word) {
  return !find_words(code, word).empty();
}

std::size_t close_of(std::string_view code, std::size_t open) {
  int depth = 0;
  for (auto i = open; i < code.size(); ++i) {
    if (openers.find(code[i]) != npos) ++depth;
    if (closers.find(code[i]) != npos && --depth == 0) return i;
  }
  return npos;
}

std::size_t open_of(std::string_view code, std::size_t close) {
  int depth = 0;
  for (auto i = close + 1; i > 0; --i) {
    if (closers.find(code[i - 1]) != npos) ++depth;
    if (openers.find(code[i - 1]) != npos && --depth == 0) return i - 1;
  }
  return npos;
}

std::size_t close_of_angle(std::string_view code, std::size_t open) {
  int depth = 0;
  for (auto i = open; i < code.size(); ++i) {
    if (code[i] == '<') ++depth;
    if (code[i] == '>' && --depth == 0) return i;
    if (code[i] == ';' || code[i] == '{' || code[i] == '}') return npos;
  }
  return npos;
}

std::pair<std::size_t, std::size_t> statement_around(std::string_view code, std::size_t at) {
  return {statement_begin(code, at), statement_end(code, at)};
}

std::string without_bodies(std::string_view code) {
  std::string result(code);
  for (std::size_t i = 0; i < code.size(); ++i) {
    if (code[i] != '{') continue;
    const auto close = close_of(code, i);
    if (close == npos || code.substr(i, close - i).find(';') == npos) continue;
    std::fill(result.begin() + static_cast<std::ptrdiff_t>(i) + 1,
              result.begin() + static_cast<std::ptrdiff_t>(close), ' ');
    i = close;
  }
  return result;
}

std::vector<capture_list> find_captures(std::string_view code) {
  std::vector<capture_list> lists;
  for (auto open = code.find('['); open != npos; open = code.find('[', open + 1)) {
    if (open + 1 < code.size() && code[open + 1] == '[') {
      ++open;  // an attribute
      continue;
    }
    auto before = previous_visible(code, open);
    while (before != npos && code[before] == '&') before = previous_visible(code, before);
    if (before != npos) {
      const auto word = word_before(code, before + 1);
      if (word == "auto") continue;  // a structured binding
      const bool value_before = !word.empty() || code[before] == ')' || code[before] == ']';
      const bool adjacent = previous_visible(code, open) == before;
      if (value_before && adjacent && !one_of(operator_words, word)) continue;  // a subscript
    }
    const auto close = close_of(code, open);
    if (close == npos) break;
    lists.push_back({open, close, trim(code.substr(open + 1, close - open - 1))});
  }
  return lists;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text = end == npos ? std::string_view() : text.substr(end + 1);
  }
  return lines;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<include_line> find_includes(std::string_view text) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<include_line> includes;
  int number = 0;
  for (const auto line : split_lines(text)) {
    ++number;
    std::match_results<std::string_view::const_iterator> match;
    if (line.find("include") == npos) continue;
    if (!std::regex_search(line.begin(), line.end(), match, pattern)) continue;
    includes.push_back({match[2].str(), match[1].str() == "\"", number});
  }
  return includes;
}

}  // namespace tidy
