#pragma once

#include <string>
#include <vector>

#include "source.hpp"

namespace tidy {

/// A function's definition: from the first line of its declaration to its closing brace.
struct function_extent {
  std::string name;
  int line;
  int lines;
};

/// The functions that a C++ file defines at namespace or class scope; a lambda belongs to the
/// function it stands in.
std::vector<function_extent> find_functions(const source& file);

}  // namespace tidy
