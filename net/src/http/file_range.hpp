#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runnel/net/http/date.hpp"
#include "runnel/net/http/headers.hpp"

namespace runnel::http::detail {

/// Which state of a file is there, for conditional requests (RFC 9110 section 13).
struct file_version {
  std::string_view tag;
  wall_time changed;
};

/// Whether the client has this version already: If-None-Match, else If-Modified-Since.
bool is_unchanged(const headers& asked, const file_version& now);

enum class range_kind : std::uint8_t { whole, part, unsatisfiable };

struct byte_range {
  range_kind kind = range_kind::whole;
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
};

/// What part of `size` bytes is asked for: a single range, unless If-Range names another version.
/// Several ranges, and what is not understood, mean the whole, as RFC 9110 section 14.2 allows.
byte_range wanted_range(const headers& asked, const file_version& now, std::uint64_t size);

/// The Content-Range of that part, or of none.
std::string content_range(const byte_range& range, std::uint64_t size);

}  // namespace runnel::http::detail
