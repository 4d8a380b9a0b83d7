#include "emit.hpp"

#include <charconv>
#include <cstring>

#include "status_line.hpp"
#include "text.hpp"

namespace runnel::http::detail {
namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::size_t longest_number = 20;

char* put_number(char* at, std::uint64_t number) noexcept {
  return std::to_chars(at, at + longest_number, number).ptr;
}

char* put_status_line(char* at, status code) noexcept {
  const std::string_view known = status_line(code);
  if (!known.empty()) return put(at, known);
  at = put(at, "HTTP/1.1 ");
  at = put_number(at, to_number(code));
  return put(at, " Unknown\r\n");
}

std::string_view line_of(connection_field value) noexcept {
  switch (value) {
    case connection_field::none:
      return {};
    case connection_field::close:
      return "Connection: close\r\n";
    case connection_field::keep_alive:
      return "Connection: keep-alive\r\n";
  }
  return {};
}

}  // namespace

void append_response_head(output_buffer& out, const response_plan& plan) {
  // More than all fixed parts together.
  constexpr std::size_t fixed = 192;
  char* const begin =
      out.reserve(fixed + plan.date.size() + plan.server.size() + plan.fields.size());
  char* at = put_status_line(begin, plan.code);
  if (!plan.date.empty()) at = put(put(put(at, "Date: "), plan.date), line_end);
  if (!plan.server.empty()) at = put(put(put(at, "Server: "), plan.server), line_end);
  at = put(at, plan.fields);
  if (plan.body == framing::length) {
    at = put(put_number(put(at, "Content-Length: "), plan.length), line_end);
  } else if (plan.body == framing::chunked) {
    at = put(at, "Transfer-Encoding: chunked\r\n");
  }
  at = put(at, line_of(plan.connection));
  at = put(at, line_end);
  out.commit(static_cast<std::size_t>(at - begin));
}

void append_content_length(output_buffer& out, std::uint64_t length) {
  char* const begin = out.reserve(64);
  char* const end = put(put_number(put(begin, "Content-Length: "), length), line_end);
  out.commit(static_cast<std::size_t>(end - begin));
}

void put_chunk_line(char* data_begin, std::uint32_t size) noexcept {
  constexpr std::string_view digits = "0123456789abcdef";
  char* at = data_begin - line_end.size();
  put(at, line_end);
  for (std::size_t i = 0; i < chunk_line_bytes - line_end.size(); ++i) {
    *--at = digits[size & 15];
    size >>= 4;
  }
}

}  // namespace runnel::http::detail
