#include <algorithm>
#include <array>
#include <string>

#include "scan.hpp"
#include "source.hpp"

// Arrows point down only: runtime <- net <- tcp, and wire <- engine beside the runtime. The build's
// link lines say so for objects; these rules say so for headers.
namespace tidy {

namespace {

enum class layer { none, wire, engine, runtime, net, http, tcp, policy_file };

// The component that a file of the tree belongs to.
layer layer_of_file(const source& file) {
  if (file.under("net/wire") || file.under("net/include/runnel/wire")) return layer::wire;
  if (file.under("tcp/engine")) return layer::engine;
  if (file.under("tcp/policy_file")) return layer::policy_file;
  if (file.under("runtime")) return layer::runtime;
  if (file.under("net/src/http") || file.under("net/include/runnel/net/http")) return layer::http;
  if (file.under("net")) return layer::net;
  if (file.under("tcp")) return layer::tcp;
  return layer::none;
}

// The component that a public header belongs to; none for what is not ours.
layer layer_of_header(std::string_view name) {
  if (!name.starts_with("runnel/")) return layer::none;
  if (name.starts_with("runnel/wire/")) return layer::wire;
  if (name.starts_with("runnel/tcp/engine/")) return layer::engine;
  if (name == "runnel/tcp/policy_file.hpp") return layer::policy_file;
  if (name.starts_with("runnel/tcp/")) return layer::tcp;
  if (name.starts_with("runnel/net/http/")) return layer::http;
  if (name.starts_with("runnel/net/")) return layer::net;
  return layer::runtime;
}

bool may_include(layer from, layer to) {
  switch (from) {
    case layer::wire:
      return to == layer::wire;
    case layer::engine:
      return to == layer::wire || to == layer::engine;
    case layer::runtime:
      return to == layer::runtime;
    case layer::net:
      return to == layer::wire || to == layer::runtime || to == layer::net;
    case layer::http:
      return to != layer::tcp && to != layer::engine && to != layer::policy_file;
    case layer::tcp:
      return to != layer::http && to != layer::policy_file;
    case layer::policy_file:
      return to == layer::wire || to == layer::engine || to == layer::policy_file;
    case layer::none:
      return true;
  }
  return true;
}

const char* allowed_below(layer from) {
  switch (from) {
    case layer::wire:
      return "the wire formats may include only runnel/wire/";
    case layer::engine:
      return "the engine may include only runnel/wire/ and runnel/tcp/engine/";
    case layer::runtime:
      return "the runtime may include only its own headers";
    case layer::net:
      return "net may include only the runtime, runnel/wire/ and runnel/net/";
    case layer::http:
      return "HTTP runs over any stream and may not include runnel/tcp/";
    case layer::tcp:
      return "tcp may not include runnel/net/http/ or the policy file, which is a target of its "
             "own";
    case layer::policy_file:
      return "the policy file may include only runnel/wire/ and runnel/tcp/engine/";
    case layer::none:
      break;
  }
  return "";
}

bool is_pure(const source& file) {
  const auto layer = layer_of_file(file);
  return layer == layer::wire || layer == layer::engine;
}

void include_arrow(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp()) return;
  const auto from = layer_of_file(file);
  for (const auto& include : find_includes(file.text())) {
    const auto to = layer_of_header(include.name);
    if (to == layer::none || may_include(from, to)) continue;
    self.found(file, include.line, "includes " + include.name + ", but " + allowed_below(from),
               out);
  }
}

// What the pure layers may take from outside: the standard library without clocks, threads,
// devices, files and streams, and the compiler's vector intrinsics. <cstdio> is for the sentence
// before an abort.
bool pure_header(std::string_view name) {
  constexpr std::array<std::string_view, 24> banned = {
      "atomic",       "barrier", "clocale",    "condition_variable",
      "coroutine",    "csignal", "ctime",      "filesystem",
      "fstream",      "future",  "iomanip",    "iostream",
      "istream",      "latch",   "locale",     "mutex",
      "ostream",      "random",  "regex",      "semaphore",
      "shared_mutex", "sstream", "stop_token", "thread"};
  if (name.ends_with("intrin.h")) return true;
  if (name.find_first_of("./") != npos) return false;
  return std::find(banned.begin(), banned.end(), name) == banned.end();
}

void pure_layer(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp() || !is_pure(file)) return;
  for (const auto& include : find_includes(file.text())) {
    if (include.quoted || include.name.starts_with("runnel/") || pure_header(include.name))
      continue;
    self.found(file, include.line,
               "includes <" + include.name +
                   ">: this layer has no system call, clock, thread, random device or stream; "
                   "pass the value in",
               out);
  }
}

void pure_clock(const tree&, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp() || !(is_pure(file) || file.under("tcp"))) return;
  const auto& code = file.code();
  for (const auto at : find_words(code, "now")) {
    if (at < 2 || code.compare(at - 2, 2, "::") != 0 || code[at + 3] != '(') continue;
    self.found(file, file.line_of(at), "reads a clock: time is a parameter here, take `now`", out);
  }
}

// One header of a library that few files may know, with those files.
struct fence {
  std::string_view header;
  std::string_view home;
  bool (*may)(const source&);
};

void fenced_header(const tree&, const source& file, const rule& self, findings& out) {
  static constexpr std::array fences = {
      fence{"liburing", "the ring's sources in runtime/src and its peer in bench/servers",
            [](const source& f) {
              return (f.folder() == "runtime/src" && f.stem().find("ring") != npos) ||
                     f.path() == "bench/servers/kernel_uring.cpp";
            }},
      fence{"boost/context/", "the fiber's sources in runtime/src",
            [](const source& f) {
              return f.folder() == "runtime/src" && f.stem().starts_with("fiber");
            }},
      fence{"toml++", "the sources in tcp/policy_file",
            [](const source& f) { return f.under("tcp/policy_file") && !f.is_header(); }},
      fence{"boost/beast", "net/src/http and its peer in bench/servers",
            [](const source& f) {
              return f.under("net/src/http") || f.path() == "bench/servers/kernel_asio.cpp";
            }},
  };
  if (!file.is_cpp()) return;
  for (const auto& include : find_includes(file.text())) {
    for (const auto& each : fences) {
      if (!include.name.starts_with(each.header) || each.may(file)) continue;
      self.found(file, include.line,
                 "includes " + include.name + ", which only " + std::string(each.home) + " may",
                 out);
    }
  }
}

void include_form(const tree& files, const source& file, const rule& self, findings& out) {
  if (!file.is_cpp()) return;
  for (const auto& include : find_includes(file.text())) {
    if (!include.quoted || include.name.starts_with("runnel/")) continue;
    const auto beside = std::string(file.folder()) + "/" + include.name;
    if (include.name.find("..") == npos && files.find(beside) != nullptr) continue;
    const bool test = file.under("tests") || file.under("bench") || file.under("examples");
    if (test && files.find("tests/" + include.name) != nullptr) continue;
    // A test of a private part names it from the root.
    if (file.under("tests") && files.find(include.name) != nullptr) continue;
    self.found(file, include.line,
               "\"" + include.name +
                   "\": quotes are for a private header beside the source; write <runnel/...> for "
                   "a public one",
               out);
  }
}

void own_header_first(const tree& files, const source& file, const rule& self, findings& out) {
  if (!file.path().ends_with(".cpp") || layer_of_file(file) == layer::none) return;
  const auto component = file.path().substr(0, file.path().find('/'));
  const auto header_name = std::string(file.stem()) + ".hpp";
  std::vector<std::string> own;
  for (const auto& other : files.files) {
    if (!other.under(component) || other.name() != header_name) continue;
    if (layer_of_file(other) != layer_of_file(file)) continue;
    const auto include = other.path().find("/include/");
    if (include != npos) {
      own.push_back(other.path().substr(include + 9));
    } else if (other.folder() == file.folder()) {
      own.push_back(header_name);
    }
  }
  if (own.empty()) return;
  const auto includes = find_includes(file.text());
  if (!includes.empty() && std::find(own.begin(), own.end(), includes.front().name) != own.end()) {
    return;
  }
  self.found(file, includes.empty() ? 1 : includes.front().line,
             "the first include must be its own header, " + own.front() +
                 ", so that the header is known to stand alone",
             out);
}

}  // namespace

const std::vector<rule>& layer_rules() {
  static const std::vector<rule> rules = {
      {"include-arrow", include_arrow}, {"pure-layer", pure_layer},
      {"pure-clock", pure_clock},       {"fenced-header", fenced_header},
      {"include-form", include_form},   {"own-header-first", own_header_first},
  };
  return rules;
}

}  // namespace tidy
