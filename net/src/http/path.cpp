#include "runnel/net/http/path.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "runnel/net/http/headers.hpp"
#include "text.hpp"

namespace runnel::http {
namespace {

int hexadecimal(char c) noexcept {
  const char lower = detail::to_lower(c);
  if (detail::is_digit(lower)) return lower - '0';
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

struct known_type {
  std::string_view extension;
  std::string_view type;
};

/// In the order of the extensions.
constexpr std::array known_types{
    known_type{"aac", "audio/aac"},
    known_type{"avif", "image/avif"},
    known_type{"bz2", "application/x-bzip2"},
    known_type{"css", "text/css; charset=utf-8"},
    known_type{"csv", "text/csv; charset=utf-8"},
    known_type{"gif", "image/gif"},
    known_type{"gz", "application/gzip"},
    known_type{"htm", "text/html; charset=utf-8"},
    known_type{"html", "text/html; charset=utf-8"},
    known_type{"ico", "image/vnd.microsoft.icon"},
    known_type{"jpeg", "image/jpeg"},
    known_type{"jpg", "image/jpeg"},
    known_type{"js", "text/javascript; charset=utf-8"},
    known_type{"json", "application/json"},
    known_type{"map", "application/json"},
    known_type{"md", "text/markdown; charset=utf-8"},
    known_type{"mjs", "text/javascript; charset=utf-8"},
    known_type{"mp3", "audio/mpeg"},
    known_type{"mp4", "video/mp4"},
    known_type{"oga", "audio/ogg"},
    known_type{"ogg", "audio/ogg"},
    known_type{"ogv", "video/ogg"},
    known_type{"otf", "font/otf"},
    known_type{"pdf", "application/pdf"},
    known_type{"png", "image/png"},
    known_type{"svg", "image/svg+xml"},
    known_type{"tar", "application/x-tar"},
    known_type{"tif", "image/tiff"},
    known_type{"tiff", "image/tiff"},
    known_type{"ttf", "font/ttf"},
    known_type{"txt", "text/plain; charset=utf-8"},
    known_type{"wasm", "application/wasm"},
    known_type{"wav", "audio/wav"},
    known_type{"webm", "video/webm"},
    known_type{"webp", "image/webp"},
    known_type{"woff", "font/woff"},
    known_type{"woff2", "font/woff2"},
    known_type{"xhtml", "application/xhtml+xml"},
    known_type{"xml", "application/xml"},
    known_type{"zip", "application/zip"},
    known_type{"zst", "application/zstd"},
};
static_assert(std::ranges::is_sorted(known_types, {}, &known_type::extension));

constexpr std::size_t longest_extension = 8;

}  // namespace

std::optional<std::string> percent_decode(std::string_view encoded) {
  std::string decoded;
  decoded.reserve(encoded.size());
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      decoded += encoded[i];
      continue;
    }
    if (encoded.size() - i < 3) return std::nullopt;
    const int high = hexadecimal(encoded[i + 1]);
    const int low = hexadecimal(encoded[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

std::optional<std::string> resolve_path(std::string_view encoded) {
  const auto decoded = percent_decode(encoded);
  if (!decoded || decoded->find('\0') != std::string::npos) return std::nullopt;
  std::string resolved;
  std::string_view rest = *decoded;
  bool folder = true;
  while (!rest.empty()) {
    const std::size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
    if (segment.empty() || segment == ".") {
      folder = true;
    } else if (segment == "..") {
      if (resolved.empty()) return std::nullopt;
      const std::size_t parent = resolved.rfind('/');
      resolved.resize(parent == std::string::npos ? 0 : parent);
      folder = true;
    } else {
      if (!resolved.empty()) resolved += '/';
      resolved += segment;
      folder = slash != std::string_view::npos;
    }
  }
  if (folder && !resolved.empty()) resolved += '/';
  return resolved;
}

std::string_view media_type(std::string_view file_name) noexcept {
  constexpr std::string_view unknown = "application/octet-stream";
  file_name = file_name.substr(file_name.rfind('/') + 1);
  const std::size_t dot = file_name.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return unknown;
  const std::string_view written = file_name.substr(dot + 1);
  if (written.size() > longest_extension) return unknown;
  std::array<char, longest_extension> lower{};
  std::ranges::transform(written, lower.begin(), detail::to_lower);
  const std::string_view extension{lower.data(), written.size()};
  const auto found = std::ranges::lower_bound(known_types, extension, {}, &known_type::extension);
  return found != known_types.end() && found->extension == extension ? found->type : unknown;
}

}  // namespace runnel::http
