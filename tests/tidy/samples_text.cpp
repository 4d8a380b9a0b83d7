#include "samples.hpp"

namespace tidy {

namespace {

std::string lines(int count, const std::string& line) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line + "\n";
  return text;
}

std::string function_of(int body_lines, const std::string& head) {
  return head + " {\n" + lines(body_lines, "  f();") + "}\n";
}

std::string long_member() {
  return "namespace a {\nclass b {\n " + function_of(80, "void c() const noexcept") + "};\n}\n";
}

std::string long_constructor() {
  return function_of(80, "b::b(int n) : x_{n}, y_{1, 2}");
}

std::vector<sample> bad_layout_samples() {
  return {
      {"columns", "runtime/src/a.cpp", "// " + std::string(98, 'x') + "\n"},
      {"columns", "docs/a.md", "# A\n\n" + std::string(101, 'x') + "\n"},
      {"columns", "tests/run.sh", "#!/bin/sh\n# " + std::string(99, 'x') + "\n"},
      {"white-space", "runtime/src/a.cpp", "\tint a;\n"},
      {"white-space", "README.md", "# A \n"},
      {"function-length", "runtime/src/a.cpp", function_of(69, "void a()")},
      {"function-length", "runtime/src/a.hpp", long_member()},
      {"function-length", "runtime/src/a.cpp", long_constructor()},
      {"function-length", "runtime/src/a.cpp", function_of(80, "template <class T> auto a(T t)")},
      {"function-length", "tests/net/a.cpp", function_of(80, "TEST_CASE(\"net: a name\")")},
      {"file-length", "net/src/a.cpp", lines(501, "int a;")},
      {"file-length", "net/src/a.bin", std::string(600 * 1024, 'x')},
  };
}

std::vector<sample> bad_word_samples() {
  return {
      {"using-namespace", "runtime/include/runnel/a.hpp", "void f() { using namespace std; }\n"},
      {"using-namespace", "runtime/src/a.cpp", "using namespace std;\n"},
      {"sleep-in-test", "tests/net/a.cpp", "std::this_thread::sleep_for(1s);\n"},
      {"sleep-in-test", "tests/net/a.cpp", "void f() { ::sleep(1); }\n"},
      {"sleep-in-test", "tests/interop/a.py", "import time\ntime.sleep(0.1)\n"},
      {"sleep-in-test", "tests/interop/a.sh", "#!/bin/sh\nrun; sleep 1\n"},
      {"unfinished", "tcp/src/a.cpp", "// TODO: retransmit\n"},
      {"unfinished", "docs/a.md", "# A\n\nFIXME\n"},
      {"machine-path", "runtime/src/a.cpp", "auto f = open(\"/home/me/a\");\n"},
      {"machine-path", "docs/a.md", "# A\n\n    cd /work/main\n"},
      {"machine-path", "tests/run.sh", "#!/bin/sh\ncd /tmp/build/a\n"},
      {"one-title", "docs/a.md", "# A\n\n# B\n"},
      {"one-title", "docs/a.md", "## A\n"},
      {"header-guard", "runtime/src/a.hpp", "int a;\n"},
      {"file-name", "runtime/src/a.cc", "int a;\n"},
      {"type-erased-function", "runtime/src/a.cpp", "std::function<void()> f;\n"},
      {"test-name", "tests/net/a.cpp", "TEST_CASE(\"works\") {}\n"},
      {"test-name", "tests/net/a.cpp", "  TASK_TEST(\"works: \") {}\n"},
  };
}

std::vector<sample> bad_tree_samples() {
  return {
      {"unreferenced", "net/src/a.cpp", "", {{"net/CMakeLists.txt", "src/ab.cpp src/b.cpp"}}},
      {"unreferenced", "net/src/a.cpp", "", {{"tcp/CMakeLists.txt", "src/a.cpp"}}},
      {"unreferenced",
       "net/src/a.hpp",
       "#pragma once\n",
       {{"net/src/b.cpp", "#include \"ba.hpp\""}}},
      {"unreferenced", "tests/interop/a.py", "#!/usr/bin/env python3\n"},
      {"public-header-listed",
       "net/include/runnel/net/a.hpp",
       "#pragma once\n",
       {{"net/src/a.cpp", "#include <runnel/net/a.hpp>\n"}, {"net/CMakeLists.txt", "src/a.cpp"}}},
      {"broken-link", "docs/a.md", "# A\n\nSee [b](b.md).\n", {{"b.md", "# B\n"}}},
      {"executable-script", "tests/run.sh", "#!/bin/sh\n"},
      {"executable-script", "runtime/src/a.cpp", "int a;\n", {}, true},
  };
}

}  // namespace

std::vector<sample> bad_text_samples() {
  auto all = bad_layout_samples();
  for (const auto& list : {bad_word_samples(), bad_tree_samples()}) {
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

std::vector<sample> good_text_samples() {
  const std::pair<const char*, std::string> built = {"runtime/CMakeLists.txt", "src/a.cpp"};
  return {
      {nullptr, "runtime/src/a.cpp", "// " + std::string(97, 'x') + "\n", {built}},
      {nullptr, "runtime/src/a.cpp", lines(50, "// \xC3\xA4" + std::string(96, 'x')), {built}},
      {nullptr, "docs/a.md", "# A\n\n| " + std::string(120, 'x') + " |\n"},
      {nullptr,
       "docs/a.md",
       "# A\n\n```sh\n# a comment\n```\n\nSee [b](../b/) and [c](#d).\n",
       {{"b/c.md", "# C\n"}}},
      {nullptr, "runtime/src/a.cpp", function_of(68, "void a()"), {built}},
      {nullptr,
       "runtime/src/a.cpp",
       function_of(60, "void a()") + function_of(60, "void b()"),
       {built}},
      {nullptr,
       "runtime/src/a.cpp",
       "namespace a {\nstruct b {\n" + lines(80, "  int c = 0;") + "};\n}\n",
       {built}},
      {nullptr, "runtime/src/a.cpp", "int table[] = {\n" + lines(90, "    1,") + "};\n", {built}},
      {nullptr,
       "tests/net/a.cpp",
       "using namespace std::chrono_literals;\n"
       "TASK_TEST(\"net: a sleep in virtual time\") { co_await runnel::sleep(1s); }\n",
       {{"tests/net/CMakeLists.txt", "a.cpp"}}},
      {nullptr,
       "tests/tidy/a.cpp",
       "auto text = \"TODO /home/me/a\";\n",
       {{"tests/tidy/CMakeLists.txt", "a.cpp"}}},
      {nullptr,
       "tests/run.sh",
       "#!/bin/sh\nfile=$(mktemp)\n",
       {{"README.md", "tests/run.sh"}},
       true},
      {nullptr,
       "net/include/runnel/net/a.hpp",
       "#pragma once\n",
       {{"net/CMakeLists.txt", "include/runnel/net/a.hpp"}}},
  };
}

}  // namespace tidy
