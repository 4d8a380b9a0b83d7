#include "functions.hpp"

#include "scan.hpp"

namespace tidy {

namespace {

enum class block { scope, function, other };

// What stands before the opening brace, without template lists and parameters.
std::string skeleton(std::string_view head) {
  std::string plain;
  int depth = 0;
  for (std::size_t i = 0; i < head.size(); ++i) {
    const char c = head[i];
    const bool arrow = c == '>' && i > 0 && head[i - 1] == '-';
    if (c == '(' || c == '<' || c == '[') ++depth;
    if (depth == 0) plain += c;
    if ((c == ')' || c == '>' || c == ']') && !arrow && depth > 0) --depth;
  }
  return plain;
}

block kind_of(std::string_view head) {
  const auto plain = skeleton(head);
  for (const auto* word : {"namespace", "class", "struct", "union", "enum"}) {
    if (has_word(plain, word)) return block::scope;
  }
  if (trim(plain) == "extern 0") return block::scope;  // extern "C": the literal reads as 0
  return head.find('(') == npos ? block::other : block::function;
}

std::string name_of(std::string_view head) {
  auto open = head.find('(');
  if (has_word(head.substr(0, open), "operator")) {
    const auto at = find_words(head, "operator").front();
    return std::string(trim(head.substr(at, open - at)));
  }
  auto end = previous_visible(head, open);
  if (end == npos) return "lambda";
  auto begin = end + 1;
  while (begin > 0 &&
         (is_word(head[begin - 1]) || head[begin - 1] == ':' || head[begin - 1] == '~')) {
    --begin;
  }
  return std::string(head.substr(begin, end + 1 - begin));
}

}  // namespace

std::vector<function_extent> find_functions(const source& file) {
  std::vector<function_extent> found;
  const std::string_view code = file.code();
  std::size_t head = 0;
  for (std::size_t i = 0; i < code.size(); ++i) {
    const char c = code[i];
    if (c == ';' || c == '}') head = i + 1;
    if (c == '(') {
      const auto close = close_of(code, i);
      if (close == npos) return found;
      i = close;
    }
    if (c != '{') continue;
    const auto text = code.substr(head, i - head);
    const auto kind = kind_of(text);
    if (kind == block::scope) {
      head = i + 1;
      continue;
    }
    const auto close = close_of(code, i);
    if (close == npos) return found;
    // A member initialiser's braces: the function's own body is still to come.
    const auto next = next_visible(code, close + 1);
    const bool body_follows = kind == block::function && next != npos &&
                              (code[next] == ',' || code[next] == '{') && text.find(':') != npos;
    if (kind == block::function && !body_follows) {
      const auto first = file.line_of(next_visible(code, head));
      found.push_back({name_of(text), first, file.line_of(close) - first + 1});
    }
    i = close;
    if (!body_follows && kind == block::function) head = close + 1;
  }
  return found;
}

}  // namespace tidy
