#include "runnel/net/http/response.hpp"

#include <utility>

namespace runnel::http {

response response::text(std::string content, std::string_view type) {
  response made{status::ok, type};
  made.set_body(std::move(content));
  return made;
}

response response::literal(std::string_view content, std::string_view type) {
  response made{status::ok, type};
  made.set_body_literal(content);
  return made;
}

response response::shared(std::shared_ptr<const std::string> content, std::string_view type) {
  response made{status::ok, type};
  made.set_body(std::move(content));
  return made;
}

response response::stream(std::unique_ptr<body_source> source, std::string_view type) {
  response made{status::ok, type};
  made.set_body(std::move(source));
  return made;
}

response response::plain(http::status code) {
  if (never_has_content(code)) return response{code};
  response made{code, "text/plain; charset=utf-8"};
  made.set_body_literal(reason_phrase(code));
  return made;
}

response response::method_not_allowed(std::string_view allow) {
  response made = plain(status::method_not_allowed);
  made.header("Allow", allow);
  return made;
}

response response::redirect(http::status code, std::string_view location) {
  response made{code};
  made.header("Location", location);
  return made;
}

std::string_view response::content() const noexcept {
  if (const auto* borrowed = std::get_if<std::string_view>(&body_)) return *borrowed;
  if (const auto* owned = std::get_if<std::string>(&body_)) return *owned;
  const auto* shared = std::get_if<std::shared_ptr<const std::string>>(&body_);
  return shared != nullptr && *shared ? std::string_view{**shared} : std::string_view{};
}

body_source* response::source() const noexcept {
  const auto* source = std::get_if<std::unique_ptr<body_source>>(&body_);
  return source == nullptr ? nullptr : source->get();
}

}  // namespace runnel::http
