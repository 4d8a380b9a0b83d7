#pragma once

#include <string>

#include "options.hpp"
#include "outcome.hpp"

namespace bench {

/// The outcome as one line of JSON.
std::string to_json(const options& given, const outcome& result);
/// The counts of errors as a JSON object.
std::string to_json(const error_counts& errors);

}  // namespace bench
