#include <array>
#include <regex>

#include "scan.hpp"
#include "source.hpp"

// The spellings that g++ 12.2 compiles into broken code without a warning, all of them found by
// running them (docs/gcc12.md lists them with what happens). Delete a rule when that compiler
// is no longer supported.
namespace tidy {

namespace {

void await_in_condition(const tree&, const source& file, const rule& self, findings& out) {
  const auto& code = file.code();
  for (const auto* keyword : {"if", "while", "for", "switch"}) {
    for (const auto at : find_words(code, keyword)) {
      auto open = next_visible(code, at + std::string_view(keyword).size());
      if (open != npos && word_at(code, open) == "constexpr") open = next_visible(code, open + 9);
      if (open == npos || code[open] != '(') continue;
      const auto close = close_of(code, open);
      if (close == npos) continue;
      const auto inside = without_bodies(std::string_view(code).substr(open, close - open));
      if (!has_word(inside, "co_await")) continue;
      self.found(file, file.line_of(at),
                 std::string("co_await in the parentheses of `") + keyword +
                     "`: await into a variable first, `bool more = co_await x; if (more)`, or "
                     "`for (;;) { auto v = co_await x; if (!v) break; }`",
                 out);
    }
  }
}

void await_in_conditional(const tree&, const source& file, const rule& self, findings& out) {
  const auto& code = file.code();
  for (const auto at : find_words(code, "co_await")) {
    const auto [begin, end] = statement_around(code, at);
    if (without_bodies(std::string_view(code).substr(begin, end - begin)).find('?') == npos)
      continue;
    self.found(file, file.line_of(at),
               "`?:` and co_await in one expression: use if/else that assigns a variable, or "
               "`auto t = c ? f() : g(); co_await std::move(t);`",
               out);
  }
}

// Captures that need no destructor are harmless: references and `this`.
bool captures_values(std::string_view list) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto item = trim(list.substr(0, comma));
    if (!item.empty() && item.front() != '&' && item != "this") return true;
    list = comma == npos ? std::string_view() : list.substr(comma + 1);
  }
  return false;
}

void lambda_beside_await(const tree&, const source& file, const rule& self, findings& out) {
  const auto& code = file.code();
  for (const auto at : find_words(code, "co_await")) {
    const auto [begin, end] = statement_around(code, at);
    const auto statement = without_bodies(std::string_view(code).substr(begin, end - begin));
    for (const auto& list : find_captures(statement)) {
      if (!captures_values(list.text)) continue;
      self.found(file, file.line_of(at),
                 "a lambda that captures by value in one expression with co_await: name it first, "
                 "`auto fn = [...] {...}; co_await run(std::move(fn));`",
                 out);
      break;
    }
  }
}

void await_of_aggregate(const tree&, const source& file, const rule& self, findings& out) {
  const auto& code = file.code();
  for (const auto at : find_words(code, "co_await")) {
    auto i = next_visible(code, at + 8);
    const auto name = i;
    while (i != npos && i < code.size() && (is_word(code[i]) || code[i] == ':')) ++i;
    if (i == npos || i == name) continue;
    if (i < code.size() && code[i] == '<') {
      i = close_of_angle(code, i);
      if (i == npos) continue;
      ++i;
    }
    i = next_visible(code, i);
    if (i == npos || code[i] != '{') continue;
    const auto close = close_of(code, i);
    const auto after = close == npos ? npos : next_visible(code, close + 1);
    // What is awaited is what a call on the temporary returns.
    if (after != npos && (code[after] == '.' || code[after] == '-')) continue;
    self.found(file, file.line_of(at),
               "co_await of a braced temporary: give the awaiter a constructor and use (), or let "
               "a function return it",
               out);
  }
}

// True when what is awaited is an element of a braced list: such an element ends with the list's
// closing brace before any semicolon.
bool inside_braced_list(std::string_view code, std::size_t at) {
  for (auto i = at; i < code.size(); ++i) {
    if (code[i] == ';') return false;
    if (code[i] == '}') return true;
    if (std::string_view("([{").find(code[i]) != npos) {
      const auto close = close_of(code, i);
      if (close == npos) return false;
      if (code[i] == '{' && code[previous_visible(code, i)] == ')' &&
          std::string_view(code).substr(i, close - i).find(';') != npos) {
        return false;
      }
      i = close;
    }
  }
  return false;
}

void await_in_braced_list(const tree&, const source& file, const rule& self, findings& out) {
  for (const auto at : find_words(file.code(), "co_await")) {
    if (!inside_braced_list(file.code(), at)) continue;
    self.found(file, file.line_of(at),
               "co_await inside an initialiser list: await into named variables, then build", out);
  }
}

void capturing_coroutine(const tree&, const source& file, const rule& self, findings& out) {
  static const std::regex after(R"(^\s*(<[^{;]*>)?\s*(\([^{;]*\))?)"
                                R"(\s*(mutable|noexcept|static|\s)*->\s*(::)?(runnel::)?task\b)");
  const std::string_view code = file.code();
  for (const auto& list : find_captures(code)) {
    if (list.text.empty()) continue;
    const auto rest = code.substr(list.close + 1, 400);
    if (!std::regex_search(rest.begin(), rest.end(), after)) continue;
    self.found(file, file.line_of(list.open),
               "a coroutine lambda with captures, which die with the closure at the first "
               "suspension: capture nothing and pass parameters",
               out);
  }
}

void binding_of_await(const tree&, const source& file, const rule& self, findings& out) {
  static const std::regex pattern(R"(\bauto\s*&{0,2}\s*\[[^\]]*\]\s*=\s*co_await\b)");
  const auto& code = file.code();
  for (std::sregex_iterator it(code.begin(), code.end(), pattern), end; it != end; ++it) {
    self.found(file, file.line_of(static_cast<std::size_t>(it->position())),
               "a structured binding of co_await loses its destructor in newer compilers: "
               "`auto r = co_await x; auto& [a, b] = r;`",
               out);
  }
}

void await_in_check(const tree&, const source& file, const rule& self, findings& out) {
  static const std::regex pattern(R"(\b(((DOCTEST_)?(CHECK|REQUIRE|WARN)(_[A-Z_]+)?)|)"
                                  R"(assert|RUNNEL_(ASSERT|CHECK|EXPECT))\s*\()");
  const auto& code = file.code();
  for (std::sregex_iterator it(code.begin(), code.end(), pattern), end; it != end; ++it) {
    const auto open = static_cast<std::size_t>(it->position() + it->length() - 1);
    const auto close = close_of(code, open);
    if (close == npos) continue;
    const auto inside = without_bodies(std::string_view(code).substr(open, close - open));
    if (!has_word(inside, "co_await")) continue;
    self.found(file, file.line_of(open),
               "co_await inside a checking macro, which puts it into a condition: await into a "
               "variable first",
               out);
  }
}

}  // namespace

const std::vector<rule>& coroutine_rules() {
  static const std::vector<rule> rules = {
      {"await-in-condition", await_in_condition},
      {"await-in-conditional", await_in_conditional},
      {"lambda-beside-await", lambda_beside_await},
      {"await-of-aggregate", await_of_aggregate},
      {"await-in-braced-list", await_in_braced_list},
      {"capturing-coroutine", capturing_coroutine},
      {"binding-of-await", binding_of_await},
      {"await-in-check", await_in_check},
  };
  return rules;
}

}  // namespace tidy
