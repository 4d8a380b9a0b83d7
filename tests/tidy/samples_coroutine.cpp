#include "samples.hpp"

namespace tidy {

namespace {

constexpr const char* path = "runtime/src/sample.cpp";

// Wraps a body into a coroutine, as the rules meet it.
std::string in_task(const std::string& body) {
  return "task<void> sample() {\n" + body + "\n  co_return;\n}\n";
}

std::vector<sample> in_tasks(const char* rule, const std::vector<std::string>& bodies) {
  std::vector<sample> samples;
  for (const auto& body : bodies) samples.push_back({rule, path, in_task(body)});
  return samples;
}

void append(std::vector<sample>& all, const std::vector<sample>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

}  // namespace

std::vector<sample> bad_coroutine_samples() {
  std::vector<sample> all;
  append(all, in_tasks("await-in-condition",
                       {
                           "  if (co_await ready()) f();",
                           "  if (!f(1, (co_await ready()).value())) f();",
                           "  if (auto n = co_await read(); n > 0) f();",
                           "  while (a && co_await more()) f();",
                           "  do { f(); } while (co_await more());",
                           "  for (; co_await more();) f();",
                           "  for (auto x : co_await list()) f(x);",
                           "  switch (co_await kind()) { default: f(); }",
                           "  if constexpr (yes) { if (a &&\n co_await b()) f(); }",
                       }));
  append(all, in_tasks("await-in-conditional",
                       {
                           "  auto v = c ? co_await a() : co_await b();",
                           "  auto v = c ? name{co_await a()} : name{1};",
                           "  auto v = c ? name{1} : co_await a();",
                           "  co_await (c ? f() : g());",
                           "  auto v = pick(c ? 1 : 2,\n                co_await f());",
                       }));
  append(all,
         in_tasks("lambda-beside-await", {
                                             "  co_await run([p = std::move(p)] { return 1; });",
                                             "  co_await run([p] { f(p); });",
                                             "  co_await run([=] { f(p); });",
                                             "  f(co_await a(), [k] { return k; });",
                                             "  f([k] { return k; }, co_await a());",
                                             "  co_await run([&a, b] { f(a, b); });",
                                         }));
  append(all, in_tasks("await-of-aggregate", {
                                                 "  co_await my_awaiter{1, 2};",
                                                 "  co_await net::detail::awaiter<int, 3>{buffer};",
                                                 "  auto v = co_await awaiter {};",
                                             }));
  append(all, in_tasks("await-in-braced-list", {
                                                   "  pair_of x{co_await a(), 1};",
                                                   "  pair_of x = {1, co_await a()};",
                                                   "  pair_of x{.first = co_await a()};",
                                                   "  co_return pair_of{f(co_await a()), 2};",
                                               }));
  append(all, in_tasks("capturing-coroutine",
                       {
                           "  auto t = [p]() -> task<void> { co_return; };",
                           "  auto t = [&]() -> runnel::task<int> { co_return 1; };",
                           "  group.spawn([this](int n) mutable -> task<void> { co_return; }(1));",
                       }));
  append(all, in_tasks("binding-of-await",
                       {"  auto [a, b] = co_await x();", "  auto&& [a, b] = co_await x();"}));
  append(all, in_tasks("await-in-check", {
                                             "  CHECK(co_await x() == 7);",
                                             "  REQUIRE_EQ(7, co_await x());",
                                             "  assert(co_await x());",
                                         }));
  all.push_back({"await-in-condition", "docs/sample.md",
                 "# A\n\n`co_await x`\n\n```cpp\n  if (co_await x) f();\n```\n"});
  return all;
}

std::vector<sample> good_coroutine_samples() {
  auto all = in_tasks(
      nullptr, {
                   "  bool more = co_await x(); if (more) f();",
                   "  for (;;) { auto v = co_await x(); if (!v) break; }",
                   "  for (auto& each : list) { co_await each; }",
                   "  if (a) co_await x();",
                   "  if (c ? a : b) co_await x();",
                   "  while (a) { co_await x(); }",
                   "  auto v = c ? 1 : 2;\n  co_await x(v);",
                   "  // if (co_await x) says the comment\n  f(\"while (co_await x)\");",
                   "  auto fn = [p] { f(p); };\n  co_await run(std::move(fn));",
                   "  co_await run([&a] { f(a); });",
                   "  co_await run(list[index]);",
                   "  co_await [](int n) -> task<void> { co_return; }(1);",
                   "  co_await run([](int n) -> task<void> { auto v = co_await a(n); f(v); }(1));",
                   "  co_await awaiter(1);",
                   "  co_await file{}.close();",
                   "  co_await connect(where, {.timeout = limit});",
                   "  auto r = co_await x();\n  auto& [a, b] = r;",
                   "  auto v = co_await x();\n  CHECK(v == 7);",
                   "  if (a) { auto v = co_await x(f(1)); g(v); }",
                   "  { co_await x(); }",
                   "  auto t = [] { return c ? 1 : 2; };\n  co_await x(t);",
                   "  int digits = 1'000;\n  char quote = '?';\n  co_await x(digits, quote);",
               });
  all.push_back(
      {nullptr, "docs/sample.md",
       "# A\n\n`if (co_await x) f();` is wrong.\n\n```cpp\n  f();\n```\n\nc ? co_await x : y\n"});
  return all;
}

}  // namespace tidy
