#include "field_facts.hpp"

#include <charconv>

#include "text.hpp"

namespace runnel::http::detail {
namespace {

/// Whether a value that Beast hands out was put together from several lines (obs-fold): it then
/// lies in Beast's own buffer, or a line end lies between name and value.
bool is_folded(std::string_view name, std::string_view value) noexcept {
  const auto name_end = reinterpret_cast<std::uintptr_t>(name.data() + name.size());
  const auto value_begin = reinterpret_cast<std::uintptr_t>(value.data());
  // A field line is at most 65,535 bytes long, so a value farther away is elsewhere.
  if (value_begin <= name_end || value_begin - name_end > UINT16_MAX) return true;
  const std::string_view between{name.data() + name.size(), value_begin - name_end};
  return between.find('\r') != std::string_view::npos;
}

enum class coding_list : std::uint8_t { only_chunked, unknown, misplaced_chunked };

coding_list classify_codings(std::string_view value) noexcept {
  if (equal_ignoring_case(trimmed(value), "chunked")) return coding_list::only_chunked;
  return list_contains(value.substr(0, value.rfind(',')), "chunked") || trimmed(value).empty()
             ? coding_list::misplaced_chunked
             : coding_list::unknown;
}

}  // namespace

void field_facts::start(const char* begin, std::vector<head_access::entry>& entries,
                        const message_limits& limits) noexcept {
  begin_ = begin;
  entries_ = &entries;
  entries.clear();
  fields_left_ = limits.header_fields;
}

bool field_facts::refuse(status with, errc because) noexcept {
  refusal = with;
  error = because;
  return false;
}

bool field_facts::count_and_check(std::string_view name, std::string_view value) noexcept {
  if (is_folded(name, value)) return refuse(status::bad_request, errc::bad_message);
  if (fields_left_ == 0) {
    return refuse(status::request_header_fields_too_large, errc::header_too_large);
  }
  --fields_left_;
  return true;
}

bool field_facts::take_trailer(std::string_view name, std::string_view value) noexcept {
  return count_and_check(name, value);
}

bool field_facts::take(field_kind kind, std::string_view name, std::string_view value) {
  if (!count_and_check(name, value)) return false;
  entries_->push_back({offset(name), static_cast<std::uint16_t>(name.size()), offset(value),
                       static_cast<std::uint16_t>(value.size())});
  switch (kind) {
    case field_kind::plain:
      return true;
    case field_kind::content_length:
      return take_content_length(value);
    case field_kind::transfer_encoding:
      return take_transfer_encoding(value);
    case field_kind::connection:
      take_connection(value);
      return true;
    case field_kind::host:
      if (hosts_ < 2) ++hosts_;
      return true;
    case field_kind::expect:
      if (equal_ignoring_case(value, "100-continue")) {
        expects_continue_ = true;
      } else {
        expects_other_ = true;
      }
      return true;
  }
  return true;
}

bool field_facts::take_content_length(std::string_view value) noexcept {
  // RFC 9112 section 6.3 allows a list of equal numbers to be read as one; refusing it is allowed
  // too, and nobody honest sends it.
  if (has_content_length_ || value.empty() || !is_digit(value.front())) {
    return refuse(status::bad_request, errc::bad_message);
  }
  const auto [end, error_number] =
      std::from_chars(value.data(), value.data() + value.size(), content_length_);
  if (error_number != std::errc{} || end != value.data() + value.size()) {
    return refuse(status::bad_request, errc::bad_message);
  }
  has_content_length_ = true;
  return true;
}

bool field_facts::take_transfer_encoding(std::string_view value) noexcept {
  if (has_transfer_encoding_) return refuse(status::bad_request, errc::bad_message);
  has_transfer_encoding_ = true;
  switch (classify_codings(value)) {
    case coding_list::only_chunked:
      chunked_ = true;
      return true;
    case coding_list::misplaced_chunked:
      return refuse(status::bad_request, errc::bad_message);
    case coding_list::unknown:
      return refuse(status::not_implemented, errc::unsupported_coding);
  }
  return true;
}

void field_facts::take_connection(std::string_view value) noexcept {
  if (list_contains(value, "close")) close_ = true;
  if (list_contains(value, "keep-alive")) keep_alive_ = true;
}

bool field_facts::check_framing(bool http_1_0) noexcept {
  // RFC 9112 section 6.1: both fields, or a transfer coding from an HTTP/1.0 sender, are the signs
  // of a message that somebody on the way has cut up differently.
  if (has_transfer_encoding_ && (has_content_length_ || http_1_0)) {
    return refuse(status::bad_request, errc::bad_message);
  }
  return true;
}

bool field_facts::finish_request(request_head& head, bool http_1_0) noexcept {
  if (!check_framing(http_1_0)) return false;
  // RFC 9112 section 3.2: exactly one Host in HTTP/1.1.
  if (hosts_ > 1 || (hosts_ == 0 && !http_1_0)) {
    return refuse(status::bad_request, errc::bad_message);
  }
  if (expects_other_ && !http_1_0) return refuse(status::expectation_failed, errc::bad_message);
  const framing body = chunked_                                     ? framing::chunked
                       : has_content_length_ && content_length_ > 0 ? framing::length
                                                                    : framing::none;
  head_access::set(head, head_access::semantics{.framing = body,
                                                .content_length = content_length_,
                                                .http_1_0 = http_1_0,
                                                .keep_alive = keeps_alive(http_1_0)});
  head_access::set_expects_continue(head, expects_continue_ && !http_1_0 && body != framing::none);
  return true;
}

bool field_facts::finish_response(response_head& head, bool http_1_0, method asked) noexcept {
  if (!check_framing(http_1_0)) return false;
  framing body = framing::until_close;
  if (asked == method::head || never_has_content(head.status())) {
    body = framing::none;
  } else if (chunked_) {
    body = framing::chunked;
  } else if (has_content_length_) {
    body = content_length_ > 0 ? framing::length : framing::none;
  }
  head_access::set(head, head_access::semantics{
                             .framing = body,
                             .content_length = has_content_length_ ? content_length_ : 0,
                             .http_1_0 = http_1_0,
                             .keep_alive = keeps_alive(http_1_0) && body != framing::until_close});
  return true;
}

}  // namespace runnel::http::detail
