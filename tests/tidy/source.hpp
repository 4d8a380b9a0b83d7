#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// The scan that holds the tree to its conventions: what a reviewer would have to remember, as a
/// test. A rule reads text, so it is told nothing by a compiler and has to be shown to work: each
/// has a bad sample that it must find (samples_*.cpp).
namespace tidy {

/// One place that breaks one rule, with what to write instead.
struct finding {
  std::string path;
  int line = 0;
  std::string rule;
  std::string message;
};

using findings = std::vector<finding>;

/// One file of the tree. For C++ it keeps two more texts of the same length, so that an offset
/// means the same place in all: code() has comments, literals and preprocessor lines blanked out,
/// prose() has only the literals of the tidy test's own files blanked, since its samples break
/// every rule.
class source {
 public:
  source(std::string path, std::string text, bool executable = false);

  const std::string& path() const { return path_; }
  const std::string& text() const { return text_; }
  const std::string& code() const { return code_; }
  const std::string& prose() const { return prose_; }
  bool executable() const { return executable_; }

  bool is_cpp() const;
  bool is_header() const;
  bool is_script() const;
  bool is_document() const;
  bool is_cmake() const;

  /// True when the path lies in that folder, given without a final slash.
  bool under(std::string_view folder) const;
  /// The path's last part, and that without its last extension.
  std::string_view name() const;
  std::string_view stem() const;
  std::string_view folder() const;

  /// The line of an offset, counted from one.
  int line_of(std::size_t offset) const;

 private:
  std::string path_;
  std::string text_;
  std::string code_;
  std::string prose_;
  bool executable_;
  std::vector<std::size_t> line_starts_;
};

/// All files that are read together: the checkout, or a sample.
struct tree {
  std::vector<source> files;

  const source* find(std::string_view path) const;
  bool has_folder(std::string_view path) const;
};

/// The checkout below a folder: every text file but what a build or git put there.
tree read_tree(const std::string& root);

/// A rule looks at one file and may look up others.
struct rule {
  const char* name;
  void (*check)(const tree&, const source&, const rule&, findings&);

  void found(const source& file, int line, std::string message, findings& out) const {
    out.push_back({file.path(), line, name, std::move(message)});
  }
};

const std::vector<rule>& coroutine_rules();
const std::vector<rule>& layer_rules();
const std::vector<rule>& text_rules();
const std::vector<rule>& tree_rules();

/// All of the above.
std::vector<rule> all_rules();

findings check(const tree& files);

/// "path:line: message [rule]", a line each.
std::string to_text(const findings& list);

}  // namespace tidy
