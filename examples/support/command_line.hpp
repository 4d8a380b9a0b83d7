#pragma once

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

namespace example {

/// What main() gives when the command line was not read: 0 after `--help`, which is printed here,
/// else 1 and one sentence.
inline int not_parsed(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string what = error.what();
  const std::size_t end = what.find_last_not_of(" .\n");
  what.resize(end == std::string::npos ? 0 : end + 1);
  const char* name = app.get_name().c_str();
  std::fprintf(stderr, "%s: %s; see %s --help.\n", name, what.c_str(), name);
  return 1;
}

/// Parses the flags and runs `body`; whatever it throws becomes one sentence and exit code 1.
template <class Body>
int run(CLI::App& app, int argc, char** argv, Body&& body) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return not_parsed(app, error);
  }
  try {
    return body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return 1;
  }
}

}  // namespace example
