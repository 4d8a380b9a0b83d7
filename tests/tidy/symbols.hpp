#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Looks at what an archive asks of other libraries, by nm's list of undefined symbols.
namespace tidy {

/// The names in `nm --undefined-only --demangle` output that reach outside a pure layer: system
/// calls, clocks, random devices, threads, io_uring, files, streams.
std::vector<std::string> impure_symbols(std::string_view nm_output);

}  // namespace tidy
