#pragma once

#include <string>
#include <vector>

#include "source.hpp"

namespace tidy {

/// Text that breaks a rule, or that looks as if it did and must pass. Further files may stand
/// beside it; findings are expected in the first only.
struct sample {
  const char* rule;
  const char* path;
  std::string text;
  std::vector<std::pair<const char*, std::string>> others = {};
  bool executable = false;
};

std::vector<sample> bad_coroutine_samples();
std::vector<sample> good_coroutine_samples();
std::vector<sample> bad_layer_samples();
std::vector<sample> good_layer_samples();
std::vector<sample> bad_text_samples();
std::vector<sample> good_text_samples();

}  // namespace tidy
