#include <algorithm>
#include <regex>
#include <string>

#include "scan.hpp"
#include "source.hpp"

// Rules that need the other files: what nobody builds, includes, runs or links to.
namespace tidy {

namespace {

// True when a CMake file in this folder or above it names the word.
bool cmake_names(const tree& files, const source& file, std::string_view word) {
  return std::any_of(files.files.begin(), files.files.end(), [&](const source& other) {
    if (!other.is_cmake()) return false;
    const bool above = other.folder().empty() || file.under(other.folder());
    return above && has_word(other.text(), word);
  });
}

bool is_included(const tree& files, const source& header) {
  return std::any_of(files.files.begin(), files.files.end(), [&](const source& other) {
    if (!other.is_cpp() || other.path() == header.path()) return false;
    const auto includes = find_includes(other.text());
    return std::any_of(includes.begin(), includes.end(), [&](const include_line& include) {
      return header.path().ends_with("/" + include.name);
    });
  });
}

void unreferenced(const tree& files, const source& file, const rule& self, findings& out) {
  const bool sample = file.path().find('/') == std::string::npos;
  if (sample) return;
  if (file.path().ends_with(".cpp")) {
    if (cmake_names(files, file, file.stem())) return;
    self.found(file, 1, "no CMakeLists.txt above it builds this file", out);
  } else if (file.is_header()) {
    if (is_included(files, file) || cmake_names(files, file, file.stem())) return;
    self.found(file, 1, "nothing includes this header", out);
  } else if (file.is_script()) {
    const auto named = [&](const source& other) {
      return other.path() != file.path() && other.text().find(file.stem()) != std::string::npos;
    };
    if (std::any_of(files.files.begin(), files.files.end(), named)) return;
    self.found(file, 1, "nothing runs or mentions this script", out);
  }
}

void public_header_listed(const tree& files, const source& file, const rule& self, findings& out) {
  const auto include = file.path().find("/include/");
  if (!file.is_header() || include == std::string::npos) return;
  // A list may write the folder as a variable.
  const auto listed = std::string(1, '/').append(file.name());
  const auto component = file.path().substr(0, file.path().find('/'));
  const auto lists = [&](const source& other) {
    return other.is_cmake() && other.under(component) &&
           other.text().find(listed) != std::string::npos;
  };
  if (std::any_of(files.files.begin(), files.files.end(), lists)) return;
  self.found(file, 1,
             "a public header that no runnel_library(HEADERS ...) lists is neither installed nor "
             "compiled alone",
             out);
}

std::string resolve(std::string_view folder, std::string_view target) {
  std::string path(folder);
  while (!target.empty()) {
    const auto slash = target.find('/');
    const auto part = target.substr(0, slash);
    if (part == "..") {
      const auto cut = path.rfind('/');
      path = cut == std::string::npos ? "" : path.substr(0, cut);
    } else if (!part.empty() && part != ".") {
      if (!path.empty()) path += '/';
      path += part;
    }
    target = slash == npos ? std::string_view() : target.substr(slash + 1);
  }
  return path;
}

void broken_link(const tree& files, const source& file, const rule& self, findings& out) {
  if (!file.is_document()) return;
  static const std::regex link(R"(\]\(([^)#\s]+)(#[^)]*)?\))");
  int number = 0;
  for (const auto line : split_lines(file.text())) {
    ++number;
    for (std::cregex_iterator it(line.data(), line.data() + line.size(), link), end; it != end;
         ++it) {
      const auto target = (*it)[1].str();
      if (target.find("://") != std::string::npos) continue;
      const auto path = resolve(file.folder(), target);
      if (files.find(path) != nullptr || files.has_folder(path)) continue;
      self.found(file, number, "links to " + target + ", which is not there", out);
    }
  }
}

void executable_script(const tree&, const source& file, const rule& self, findings& out) {
  const bool runs = file.text().starts_with("#!");
  if (runs == file.executable()) return;
  self.found(file, 1,
             runs ? "opens with #! but is not executable: chmod +x"
                  : "is executable but does not open with #!",
             out);
}

}  // namespace

const std::vector<rule>& tree_rules() {
  static const std::vector<rule> rules = {
      {"unreferenced", unreferenced},
      {"public-header-listed", public_header_listed},
      {"broken-link", broken_link},
      {"executable-script", executable_script},
  };
  return rules;
}

}  // namespace tidy
