#include "source.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "scan.hpp"

namespace tidy {

namespace {

// Walks C++ text and says for each character whether it is code, comment or literal.
class masker {
 public:
  masker(const std::string& text, std::string& code, std::string& no_literals)
      : text_(text), code_(code), no_literals_(no_literals) {}

  void run() {
    while (at_ < text_.size()) {
      if (line_start_ && text_[at_] == '#') {
        directive();
      } else if (starts("//")) {
        comment(text_.find('\n', at_));
      } else if (starts("/*")) {
        const auto end = text_.find("*/", at_ + 2);
        comment(end == std::string::npos ? end : end + 2);
      } else if (raw_literal()) {
        continue;
      } else if (text_[at_] == '"' || (text_[at_] == '\'' && !digit_separator())) {
        quoted(text_[at_]);
      } else {
        if (text_[at_] == '\n') line_start_ = true;
        if (!is_space(text_[at_])) line_start_ = false;
        ++at_;
      }
    }
  }

 private:
  bool starts(std::string_view what) const { return text_.compare(at_, what.size(), what) == 0; }

  bool digit_separator() const { return at_ > 0 && is_word(text_[at_ - 1]) && !prefix_before(); }

  // u8'x', L'x' and the like: a letter before the quote that is no number.
  bool prefix_before() const {
    return std::string_view("uUL8").find(text_[at_ - 1]) != std::string_view::npos &&
           (at_ < 2 || !is_word(text_[at_ - 2]) || text_[at_ - 2] == 'u');
  }

  void blank(std::string& target, std::size_t end) const {
    for (auto i = at_; i < std::min(end, text_.size()); ++i) {
      if (target[i] != '\n') target[i] = ' ';
    }
  }

  void comment(std::size_t end) {
    end = std::min(end, text_.size());
    blank(code_, end);
    at_ = end;
  }

  void literal(std::size_t end) {
    end = std::min(end, text_.size());
    blank(code_, end);
    blank(no_literals_, end);
    at_ = end;
    line_start_ = false;
  }

  void quoted(char quote) {
    auto end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    literal(end + 1);
    // A literal is a value where a rule looks at the character before an operator.
    if (at_ <= code_.size()) code_[at_ - 1] = '0';
  }

  bool raw_literal() {
    if (!starts("R\"") || (at_ > 0 && is_word(text_[at_ - 1]))) return false;
    const auto open = text_.find('(', at_);
    if (open == std::string::npos) return false;
    std::string close(1, ')');
    close.append(text_, at_ + 2, open - at_ - 2).push_back('"');
    const auto end = text_.find(close, open);
    literal(end == std::string::npos ? end : end + close.size());
    return true;
  }

  void directive() {
    auto end = at_;
    do {
      end = text_.find('\n', end + 1);
    } while (end != std::string::npos && text_[end - 1] == '\\');
    comment(end);
  }

  const std::string& text_;
  std::string& code_;
  std::string& no_literals_;
  std::size_t at_ = 0;
  bool line_start_ = true;
};

// Of a page, its blocks of C++ are code.
void blank_prose(std::string& page) {
  constexpr std::string_view open = "\n```cpp\n";
  std::size_t at = 0;
  while (at < page.size()) {
    const auto begin = std::min(page.find(open, at), page.size());
    for (; at < begin; ++at) {
      if (page[at] != '\n') page[at] = ' ';
    }
    if (begin == page.size()) return;
    for (const auto end = begin + open.size(); at < end; ++at) {
      if (page[at] != '\n') page[at] = ' ';
    }
    at = std::min(page.find("\n```", at), page.size());
  }
}

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](auto end) { return path.ends_with(end); });
}

}  // namespace

source::source(std::string path, std::string text, bool executable)
    : path_(std::move(path)),
      text_(std::move(text)),
      code_(text_),
      prose_(text_),
      executable_(executable) {
  if (is_cpp()) {
    auto no_literals = text_;
    masker(text_, code_, no_literals).run();
    if (under("tests/tidy")) prose_ = no_literals;
  } else if (is_document()) {
    blank_prose(code_);
  }
  line_starts_.push_back(0);
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] == '\n') line_starts_.push_back(i + 1);
  }
}

bool source::is_cpp() const {
  return ends_with_any(path_, {".hpp", ".cpp", ".h", ".cc", ".cxx", ".hxx", ".ipp"});
}

bool source::is_header() const {
  return ends_with_any(path_, {".hpp", ".h", ".hxx", ".ipp"});
}

bool source::is_script() const {
  return ends_with_any(path_, {".sh", ".py"}) || text_.starts_with("#!");
}

bool source::is_document() const {
  return path_.ends_with(".md");
}

bool source::is_cmake() const {
  return name() == "CMakeLists.txt" || ends_with_any(path_, {".cmake", ".cmake.in"});
}

bool source::under(std::string_view folder) const {
  return path_.size() > folder.size() && path_.starts_with(folder) && path_[folder.size()] == '/';
}

std::string_view source::name() const {
  return std::string_view(path_).substr(path_.rfind('/') + 1);
}

std::string_view source::stem() const {
  return name().substr(0, name().rfind('.'));
}

std::string_view source::folder() const {
  const auto slash = path_.rfind('/');
  return slash == std::string::npos ? std::string_view() : std::string_view(path_).substr(0, slash);
}

int source::line_of(std::size_t offset) const {
  const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  return static_cast<int>(after - line_starts_.begin());
}

const source* tree::find(std::string_view path) const {
  const auto it = std::find_if(files.begin(), files.end(),
                               [&](const source& file) { return file.path() == path; });
  return it == files.end() ? nullptr : &*it;
}

bool tree::has_folder(std::string_view path) const {
  while (path.ends_with('/')) path.remove_suffix(1);
  return std::any_of(files.begin(), files.end(),
                     [&](const source& file) { return file.under(path); });
}

tree read_tree(const std::string& root) {
  namespace fs = std::filesystem;
  constexpr std::array skipped = {".git", "build", "out", ".cache", "__pycache__"};
  tree result;
  for (auto it = fs::recursive_directory_iterator(root); it != fs::end(it); ++it) {
    const auto name = it->path().filename().string();
    if (std::find(skipped.begin(), skipped.end(), name) != skipped.end()) {
      if (it->is_directory()) it.disable_recursion_pending();
      continue;
    }
    if (!it->is_regular_file() || it->path().extension() == ".pcapng") continue;
    std::ifstream stream(it->path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    if (text.find('\0') != std::string::npos) continue;
    const auto mode = it->status().permissions();
    result.files.emplace_back(fs::relative(it->path(), root).generic_string(), std::move(text),
                              (mode & fs::perms::owner_exec) != fs::perms::none);
  }
  std::sort(result.files.begin(), result.files.end(),
            [](const source& a, const source& b) { return a.path() < b.path(); });
  return result;
}

std::vector<rule> all_rules() {
  std::vector<rule> all;
  for (const auto* list : {&coroutine_rules(), &layer_rules(), &text_rules(), &tree_rules()}) {
    all.insert(all.end(), list->begin(), list->end());
  }
  return all;
}

findings check(const tree& files) {
  findings out;
  const auto rules = all_rules();
  for (const auto& file : files.files) {
    for (const auto& each : rules) each.check(files, file, each, out);
  }
  return out;
}

std::string to_text(const findings& list) {
  std::string text;
  for (const auto& each : list) {
    text += each.path + ":" + std::to_string(each.line) + ": " + each.message + " [" + each.rule +
            "]\n";
  }
  return text;
}

}  // namespace tidy
