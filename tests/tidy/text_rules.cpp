#include <algorithm>
#include <array>
#include <regex>

#include "functions.hpp"
#include "scan.hpp"
#include "source.hpp"

namespace tidy {

namespace {

constexpr std::size_t columns_max = 100;
constexpr int function_lines_max = 70;
constexpr std::size_t file_lines_max = 500;
constexpr std::size_t file_bytes_max = std::size_t{512} * 1024;

// The ratchet: what was longer when the limit came. An entry may shrink or go, never grow or be
// added; `ratchet-is-tight` asks for its removal once it is not needed.
struct long_function {
  std::string_view path;
  std::string_view name;
  int lines;
};
constexpr std::array<long_function, 0> long_functions = {};

bool is_text_with_width(const source& file) {
  return file.is_cpp() || file.is_script() || file.is_cmake() || file.is_document();
}

// A table's row and a link cannot be broken, so documents may be wider there.
bool may_be_wide(const source& file, std::string_view line) {
  return file.is_document() &&
         (trim(line).starts_with("|") || line.find("](") != npos || line.find("://") != npos);
}

std::size_t width(std::string_view line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

void columns(const tree&, const source& file, const rule& self, findings& out) {
  if (!is_text_with_width(file)) return;
  int number = 0;
  for (const auto line : split_lines(file.text())) {
    ++number;
    if (width(line) <= columns_max || may_be_wide(file, line)) continue;
    self.found(file, number, "wider than 100 columns", out);
  }
}

void white_space(const tree&, const source& file, const rule& self, findings& out) {
  if (!is_text_with_width(file)) return;
  int number = 0;
  for (const auto line : split_lines(file.text())) {
    ++number;
    if (line.find('\t') != npos) self.found(file, number, "a tab: use spaces", out);
    if (!line.empty() && is_space(line.back())) {
      self.found(file, number, "white space at the end of the line", out);
    }
  }
}

void function_length(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp()) return;
  for (const auto& each : find_functions(file)) {
    auto limit = function_lines_max;
    for (const auto& known : long_functions) {
      if (known.path == file.path() && known.name == each.name) limit = known.lines;
    }
    if (each.lines <= limit) continue;
    self.found(file, each.line,
               "`" + each.name + "` has " + std::to_string(each.lines) + " lines, more than " +
                   std::to_string(limit) + ": split it by subject",
               out);
  }
}

void ratchet_is_tight(const tree& files, const source& file, const rule& self, findings& out) {
  if (!file.path().ends_with("tests/tidy/text_rules.cpp")) return;
  for (const auto& known : long_functions) {
    const auto* owner = files.find(known.path);
    bool needed = false;
    if (owner != nullptr) {
      for (const auto& each : find_functions(*owner)) {
        needed |=
            each.name == known.name && each.lines == known.lines && each.lines > function_lines_max;
      }
    }
    if (!needed) {
      self.found(file, 1, "the ratchet entry for " + std::string(known.name) + " can shrink or go",
                 out);
    }
  }
}

void file_length(const tree&, const source& file, const rule& self, findings& out) {
  const auto lines = split_lines(file.text()).size();
  if ((file.is_cpp() || file.is_script()) && lines > file_lines_max) {
    self.found(file, 1, std::to_string(lines) + " lines, more than 500: one subject a file", out);
  }
  if (file.text().size() > file_bytes_max) {
    self.found(file, 1, "more than 512 KiB: large files do not belong into the tree", out);
  }
}

void using_namespace(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp()) return;
  const auto& code = file.code();
  const bool free_scope = file.under("tests") || file.under("examples") || file.under("bench");
  for (const auto at : find_words(code, "using")) {
    const auto next = next_visible(code, at + 5);
    if (next == npos || word_at(code, next) != "namespace") continue;
    if (file.is_header()) {
      self.found(file, file.line_of(at), "`using namespace` in a header: name what is meant", out);
    } else if (!free_scope && (at == 0 || code[at - 1] == '\n')) {
      self.found(file, file.line_of(at),
                 "`using namespace` at file scope: name what is meant, or put it into the function",
                 out);
    }
  }
}

void sleep_in_test(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.under("tests") || !(file.is_cpp() || file.is_script())) return;
  static const std::regex cpp(
      R"(\b(sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep)\b|::sleep\s*\()");
  static const std::regex script(R"(\btime\.sleep\b|^\s*sleep\s+[0-9.$]|[;&|]\s*sleep\s+[0-9.$])");
  int number = 0;
  const auto& text = file.is_cpp() ? file.code() : file.text();
  for (const auto line : split_lines(text)) {
    ++number;
    if (!std::regex_search(line.begin(), line.end(), file.is_cpp() ? cpp : script)) continue;
    // The runtime's own sleep on a simulated clock is what some tests are about.
    if (line.find("runnel::sleep") != npos) continue;
    self.found(file, number, "a test that sleeps: use virtual time, or wait for the event itself",
               out);
  }
}

void unfinished(const tree&, const source& file, const rule& self, findings& out) {
  static const std::regex marker(R"(\b(TODO|FIXME|XXX|HACK)\b)");
  int number = 0;
  for (const auto line : split_lines(file.prose())) {
    ++number;
    if (!std::regex_search(line.begin(), line.end(), marker)) continue;
    self.found(file, number, "unfinished work is an issue, not a comment", out);
  }
}

void machine_path(const tree&, const source& file, const rule& self, findings& out) {
  static const std::regex place(
      R"((^|[^\w./-])/(home|Users|root|work)/[\w.]|(^|[^\w./-])/tmp/[a-z]\w*/)");
  int number = 0;
  for (const auto line : split_lines(file.prose())) {
    ++number;
    if (!std::regex_search(line.begin(), line.end(), place)) continue;
    self.found(file, number, "a path of one machine: derive it, or make a temporary folder", out);
  }
}

void one_title(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_document()) return;
  int number = 0;
  int titles = 0;
  bool fenced = false;
  bool first = true;
  for (const auto line : split_lines(file.text())) {
    ++number;
    if (trim(line).starts_with("```")) fenced = !fenced;
    if (fenced || trim(line).empty()) continue;
    const bool title = line.starts_with("# ");
    if (first && !title) self.found(file, number, "a document opens with its `# ` title", out);
    if (title && ++titles == 2) self.found(file, number, "a second `# ` title: use `##`", out);
    first = false;
  }
}

void header_guard(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_header() || file.text().find("#pragma once") != npos) return;
  self.found(file, 1, "a header without `#pragma once`", out);
}

void file_name(const tree&, const source& file, const rule& self, findings& out) {
  if (file.is_cpp() && !file.path().ends_with(".hpp") && !file.path().ends_with(".cpp")) {
    self.found(file, 1, "C++ files are called .hpp and .cpp", out);
  }
}

// A visitor by reference and a field of an options struct are not paths that packets take.
bool is_cold_function(std::string_view code, std::size_t at) {
  const auto angle = code.find('<', at);
  const auto close = angle == npos ? npos : close_of_angle(code, angle);
  const auto next = close == npos ? npos : next_visible(code, close + 1);
  if (next != npos && code[next] == '&') return true;
  for (auto i = at; i > 0; --i) {
    if (code[i - 1] == '}') {
      const auto open = open_of(code, i - 1);
      if (open == npos) return false;
      i = open + 1;
    } else if (code[i - 1] == '{') {
      return word_before(code, i - 1).ends_with("_options");
    }
  }
  return false;
}

void type_erased_function(const tree&, const source& file, const rule& self, findings& out) {
  const bool hot = file.under("runtime") || file.under("tcp") || file.under("net");
  if (!file.is_cpp() || !hot || file.path().find("/http") != npos) return;
  const auto& code = file.code();
  for (const auto at : find_words(code, "function")) {
    if (at < 5 || code.compare(at - 5, 5, "std::") != 0 || is_cold_function(code, at)) continue;
    self.found(file, file.line_of(at),
               "std::function allocates: use a template parameter, a function pointer with a "
               "context, or an intrusive object with a virtual function; a visitor is taken by "
               "const reference",
               out);
  }
}

void test_name(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp() || !file.under("tests")) return;
  static const std::regex name(R"re(^\s*(TEST_CASE|TASK_TEST|FIBER_TEST)\("([^"]*)")re");
  int number = 0;
  for (const auto line : split_lines(file.prose())) {
    ++number;
    std::match_results<std::string_view::const_iterator> match;
    if (!std::regex_search(line.begin(), line.end(), match, name)) continue;
    const auto text = match[2].str();
    const auto colon = text.find(": ");
    if (colon != std::string::npos && colon > 0 && colon + 2 < text.size()) continue;
    self.found(file, number, "a test is called \"<area>: <behaviour in words>\"", out);
  }
}

}  // namespace

const std::vector<rule>& text_rules() {
  static const std::vector<rule> rules = {
      {"columns", columns},
      {"white-space", white_space},
      {"function-length", function_length},
      {"ratchet-is-tight", ratchet_is_tight},
      {"file-length", file_length},
      {"using-namespace", using_namespace},
      {"sleep-in-test", sleep_in_test},
      {"unfinished", unfinished},
      {"machine-path", machine_path},
      {"one-title", one_title},
      {"header-guard", header_guard},
      {"file-name", file_name},
      {"type-erased-function", type_erased_function},
      {"test-name", test_name},
  };
  return rules;
}

}  // namespace tidy
