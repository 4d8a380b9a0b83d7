#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace runnel::http {

/// Takes the percent-encoding off (RFC 3986 section 2.1). Nothing when a "%" is not followed by two
/// hexadecimal digits. "+" stays what it is.
std::optional<std::string> percent_decode(std::string_view encoded);

/// The file that a request's path names, below some root: decoded once, "." and ".." resolved and
/// empty segments dropped, without a slash at the beginning; with one at the end where the path
/// ends in one or in "." or "..". "" and "a/" are folders. Nothing when it is not well-formed,
/// holds a zero byte, or climbs above the root.
std::optional<std::string> resolve_path(std::string_view encoded);

/// The media type that the end of a file's name suggests: "text/html; charset=utf-8" for "a.html",
/// "application/octet-stream" where it says nothing.
std::string_view media_type(std::string_view file_name) noexcept;

}  // namespace runnel::http
