#pragma once

#include <string_view>

#include "runnel/net/http/status.hpp"

namespace runnel::http::detail {

/// "HTTP/1.1 404 Not Found\r\n" for a status with a name, empty for others.
std::string_view status_line(status code) noexcept;

}  // namespace runnel::http::detail
