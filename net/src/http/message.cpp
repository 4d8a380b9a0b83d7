#include "runnel/net/http/message.hpp"

#include "head_access.hpp"

namespace runnel::http {
namespace {

/// Where the authority of an absolute-form target begins, 0 for the other forms.
std::size_t authority_begin(std::string_view target) noexcept {
  if (target.empty() || target.front() == '/') return 0;
  const std::size_t scheme_end = target.find("://");
  return scheme_end == std::string_view::npos ? 0 : scheme_end + 3;
}

}  // namespace

std::string_view request_head::bytes() const noexcept {
  return detail::head_access::bytes(headers_);
}

std::string_view request_head::origin_form() const noexcept {
  std::string_view whole = target();
  const std::size_t authority = authority_begin(whole);
  if (authority == 0) return whole;
  const std::size_t end = whole.find_first_of("/?", authority);
  return end == std::string_view::npos ? std::string_view{} : whole.substr(end);
}

std::string_view request_head::path() const noexcept {
  const std::string_view form = origin_form();
  if (form.empty() || form.front() == '?') return "/";
  return form.substr(0, form.find('?'));
}

std::string_view request_head::query() const noexcept {
  const std::string_view form = origin_form();
  const std::size_t mark = form.find('?');
  return mark == std::string_view::npos ? std::string_view{} : form.substr(mark + 1);
}

std::string_view request_head::host() const noexcept {
  const std::string_view whole = target();
  const std::size_t authority = authority_begin(whole);
  if (authority == 0) return headers_.get("Host");
  return whole.substr(authority, whole.find_first_of("/?", authority) - authority);
}

std::string_view response_head::reason() const noexcept {
  return detail::head_access::bytes(headers_).substr(reason_begin_, reason_size_);
}

}  // namespace runnel::http
