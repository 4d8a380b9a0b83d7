#pragma once

#include <system_error>

#include "runnel/tcp/engine/error.hpp"

namespace runnel::tcp {

/// The errno that an engine error stands for, in `std::generic_category()`; no error for `none`.
std::error_code to_error_code(error of) noexcept;

}  // namespace runnel::tcp
