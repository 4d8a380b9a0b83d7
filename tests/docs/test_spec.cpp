#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

// docs/spec.md against the tests: each behaviour has a row, and a test that is named after it. The
// last column is found by reading the tests; RUNNEL_UPDATE_DOCS=1 writes it anew.

namespace {

namespace fs = std::filesystem;

const fs::path root = RUNNEL_ROOT;
constexpr int behaviours = 126;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  REQUIRE_MESSAGE(in, "cannot read ", file.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

/// The numbers of behaviours that a test's name tells: "S84: ...", "tcp S43 S46 ...", "s33_...".
std::set<int> numbers_in(const std::string& name) {
  static const std::regex pattern("(?:^|[^A-Za-z0-9])[Ss]([0-9]{2,3})(?![0-9])");
  std::set<int> out;
  for (std::sregex_iterator at(name.begin(), name.end(), pattern), end; at != end; ++at) {
    out.insert(std::stoi((*at)[1]));
  }
  return out;
}

/// The names of the tests in a file of C++ or Python; a name may go on in the next line's literal.
std::vector<std::string> test_names(const fs::path& file) {
  static const std::regex cpp("(?:TEST_CASE|TASK_TEST|FIBER_TEST)\\(\\s*((?:\"[^\"]*\"\\s*)+)");
  static const std::regex python("\n@lab\\.case\ndef ([a-z0-9_]+)\\(");
  const std::string text = text_of(file);
  std::vector<std::string> out;
  const std::regex& pattern = file.extension() == ".py" ? python : cpp;
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) {
    out.push_back((*at)[1]);
  }
  return out;
}

struct named_test {
  /// As a path in tests/.
  std::string file;
  std::string name;
};

const std::vector<named_test>& all_tests() {
  static const std::vector<named_test> all = [] {
    std::vector<named_test> out;
    for (const auto& entry : fs::recursive_directory_iterator(root / "tests")) {
      const fs::path& file = entry.path();
      if (file.extension() != ".cpp" && file.extension() != ".py") continue;
      const std::string path = fs::relative(file, root / "tests").string();
      for (const std::string& name : test_names(file)) out.push_back({path, name});
    }
    return out;
  }();
  return all;
}

/// For each behaviour the files with tests of it.
std::map<int, std::set<std::string>> tests_by_number() {
  std::map<int, std::set<std::string>> out;
  for (const named_test& each : all_tests()) {
    for (const int number : numbers_in(each.name)) out[number].insert(each.file);
  }
  return out;
}

/// The files with a test that says "hostile" and these words.
std::set<std::string> hostile_tests(const std::string& words) {
  std::set<std::string> out;
  for (const named_test& each : all_tests()) {
    const bool told = each.name.find("hostile") != std::string::npos;
    if (told && each.name.find(words) != std::string::npos) out.insert(each.file);
  }
  return out;
}

std::string id_of(int number) {
  return (number < 10 ? "S0" : "S") + std::to_string(number);
}

/// The number that a line of the table begins with; 0 for any other line.
int row_number(const std::string& line) {
  static const std::regex pattern("^\\| S([0-9]{2,3}) \\|.*");
  std::smatch found;
  return std::regex_match(line, found, pattern) ? std::stoi(found[1]) : 0;
}

std::string joined(const std::set<std::string>& files) {
  std::string out;
  for (const std::string& each : files) out += (out.empty() ? "" : ", ") + each;
  return out;
}

/// The line with these tests in its last column.
std::string with_tests(const std::string& line, const std::set<std::string>& files) {
  const std::size_t end = line.rfind('|') - 1;
  const std::size_t begin = line.rfind("| ", end - 1);
  return line.substr(0, begin) + "| " + joined(files) + " |";
}

}  // namespace

TEST_CASE("docs/spec.md: each behaviour has a row and a test that is named after it") {
  const fs::path file = root / "docs" / "spec.md";
  const auto tests = tests_by_number();
  std::istringstream in(text_of(file));
  std::string fresh;
  std::vector<int> rows;
  std::size_t hostile_rows = 0;
  bool hostile = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) hostile = line == "## Hostile input";
    const bool is_row = line.starts_with("| ") && !line.starts_with("| what |");
    if (hostile && is_row) {
      const std::string words = line.substr(2, line.find(" |") - 2);
      const auto found = hostile_tests(words);
      CHECK_MESSAGE(!found.empty(), "no test is named after hostile input by '", words, "'");
      line = with_tests(line, found);
      ++hostile_rows;
    }
    const int number = row_number(line);
    if (number != 0) {
      rows.push_back(number);
      const auto found = tests.find(number);
      CHECK_MESSAGE(found != tests.end(), "no test is named after ", id_of(number));
      line = with_tests(line, found == tests.end() ? std::set<std::string>() : found->second);
    }
    fresh += line + "\n";
  }
  std::vector<int> all;
  for (int i = 1; i <= behaviours; ++i) all.push_back(i);
  CHECK(rows == all);
  CHECK(hostile_rows > 20);
  if (std::getenv("RUNNEL_UPDATE_DOCS") != nullptr) {
    std::ofstream(file, std::ios::binary) << fresh;
    return;
  }
  CHECK_MESSAGE(fresh == text_of(file),
                "docs/spec.md does not name the tests as they are; run this test with "
                "RUNNEL_UPDATE_DOCS=1 and commit what it writes");
}

TEST_CASE("docs: each counter has a test that is named after its row and it") {
  static const std::regex counter("X\\([a-z0-9_]+, \"([A-Za-z0-9]+)\"\\)");
  static const std::regex word("[A-Za-z0-9]+");
  std::set<std::string> named;
  for (const auto& [file, name] : all_tests()) {
    if (numbers_in(name).count(113) == 0) continue;
    named.insert(std::sregex_token_iterator(name.begin(), name.end(), word), {});
  }
  const std::string table = text_of(root / "tcp/engine/include/runnel/tcp/engine/counters.hpp");
  std::size_t counters = 0;
  for (std::sregex_iterator at(table.begin(), table.end(), counter), end; at != end; ++at) {
    const std::string name = (*at)[1];
    // Tests may leave out the group that most of Linux's are in.
    const std::string own = name.starts_with("TcpExt") ? name.substr(6) : name;
    CHECK_MESSAGE(named.count(name) + named.count(own) > 0, "no test of S113 is named after ",
                  name);
    ++counters;
  }
  CHECK(counters > 100);
}
