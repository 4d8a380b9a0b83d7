#pragma once

#include <source_location>
#include <string>
#include <string_view>

#include "runnel/clock.hpp"

namespace runnel::detail {

/// A span for people: "3.2 s", "15.0 ms", "2.5 h".
std::string text_of(duration span);

/// "serve at echo.cpp:22": the function without its type and parameters, the file without its
/// folders. "an unknown place" where nothing was remembered.
std::string text_of(const std::source_location& where);

/// "echo.cpp:22".
std::string file_and_line(const std::source_location& where);

/// What a compiler calls a function, without the return type, parameters and template arguments.
std::string short_name(std::string_view pretty);

}  // namespace runnel::detail
