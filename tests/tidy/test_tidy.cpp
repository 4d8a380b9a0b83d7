#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <string>

#include "functions.hpp"
#include "samples.hpp"
#include "source.hpp"

namespace {

using namespace tidy;

tree tree_of(const sample& from) {
  tree files;
  files.files.emplace_back(from.path, from.text, from.executable);
  for (const auto& [path, text] : from.others) files.files.emplace_back(path, text);
  return files;
}

findings check_first(const tree& files, const std::vector<rule>& rules) {
  findings out;
  for (const auto& each : rules) each.check(files, files.files.front(), each, out);
  return out;
}

void expect_found(const std::vector<sample>& samples) {
  const auto rules = all_rules();
  for (const auto& each : samples) {
    const auto files = tree_of(each);
    const auto out = check_first(files, rules);
    INFO("rule: ", std::string(each.rule), "\n", std::string(each.path), ":\n",
         each.text.substr(0, 400));
    CHECK(std::any_of(out.begin(), out.end(), [&](const finding& one) {
      return one.rule == each.rule && !one.message.empty() && one.path == each.path;
    }));
  }
}

void expect_clean(const std::vector<sample>& samples, const std::vector<rule>& rules) {
  for (const auto& each : samples) {
    const auto files = tree_of(each);
    const auto out = check_first(files, rules);
    INFO(std::string(each.path), ":\n", each.text.substr(0, 400));
    CHECK_MESSAGE(out.empty(), to_text(out));
  }
}

}  // namespace

TEST_CASE("tidy: each spelling that g++ 12 miscompiles is found") {
  expect_found(bad_coroutine_samples());
}

TEST_CASE("tidy: the safe coroutine spellings pass") {
  expect_clean(good_coroutine_samples(), coroutine_rules());
}

TEST_CASE("tidy: includes against the arrows are found") {
  expect_found(bad_layer_samples());
}

TEST_CASE("tidy: includes along the arrows pass") {
  expect_clean(good_layer_samples(), layer_rules());
}

TEST_CASE("tidy: layout, words and loose files are found") {
  expect_found(bad_text_samples());
}

TEST_CASE("tidy: ordinary text passes") {
  expect_clean(good_text_samples(), text_rules());
  expect_clean(good_text_samples(), tree_rules());
}

TEST_CASE("tidy: every rule has a sample that breaks it") {
  std::set<std::string> shown = {"ratchet-is-tight"};  // its table is the sample
  for (const auto& list : {bad_coroutine_samples(), bad_layer_samples(), bad_text_samples()}) {
    for (const auto& each : list) shown.insert(each.rule);
  }
  for (const auto& each : all_rules())
    CHECK_MESSAGE(shown.count(each.name) == 1, std::string(each.name));
}

TEST_CASE("tidy: a finding names its line") {
  tree files;
  files.files.emplace_back("runtime/src/a.cpp",
                           "int a;\n\nvoid f() {\n  if (co_await x) g();\n}\n");
  const auto out = check_first(files, coroutine_rules());
  REQUIRE(out.size() == 1);
  CHECK(out.front().line == 4);
  CHECK(to_text(out).starts_with("runtime/src/a.cpp:4: "));
}

TEST_CASE("tidy: functions are found with their names and lengths") {
  const source file("a.cpp",
                    "namespace n {\n"
                    "int plain(int a) {\n  return a;\n}\n"
                    "class c {\n  c() : a_{1},\n        b_(2) {\n    if (a_) { f(); }\n  }\n"
                    "  bool operator==(const c&) const { return true; }\n};\n"
                    "int table[] = {1, 2};\n"
                    "template <class T>\nT n::deep(T t) { return t; }\n}\n");
  const auto found = find_functions(file);
  REQUIRE(found.size() == 4);
  CHECK(found[0].name == "plain");
  CHECK(found[0].lines == 3);
  CHECK(found[1].name == "c");
  CHECK(found[1].lines == 4);
  CHECK(found[2].name == "operator==");
  CHECK(found[3].name == "n::deep");
  CHECK(found[3].line == 13);
}

TEST_CASE("tidy: the tree keeps its conventions") {
  const auto files = read_tree(RUNNEL_SOURCE_DIR);
  REQUIRE(files.find("CMakeLists.txt") != nullptr);
  const auto out = check(files);
  CHECK_MESSAGE(out.empty(), out.size(), " findings:\n", to_text(out));
}
