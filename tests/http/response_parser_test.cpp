#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>

#include "runnel/net/http/error.hpp"
#include "runnel/net/http/parser.hpp"

namespace http = runnel::http;
using http::parse_result;

namespace {

http::response_head parsed(std::string_view text, http::method asked = http::method::get) {
  CAPTURE(text);
  http::response_parser parser;
  http::response_head head;
  REQUIRE(parser.parse(text, asked, head) == parse_result::complete);
  return head;
}

void check_refused(std::string_view text, http::errc error = http::errc::bad_message) {
  CAPTURE(text);
  http::response_parser parser;
  http::response_head head;
  REQUIRE(parser.parse(text, http::method::get, head) == parse_result::failed);
  CHECK(parser.error() == error);
}

}  // namespace

TEST_CASE("http response: line and fields are found where they lie, whatever the pieces") {
  const std::string text = "HTTP/1.1 404 Not  Found\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";
  const std::size_t head_size = text.size() - 5;
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    CAPTURE(cut);
    http::response_parser parser;
    http::response_head head;
    parse_result state =
        parser.parse(std::string_view{text}.substr(0, cut), http::method::get, head);
    if (cut < head_size) {
      REQUIRE(state == parse_result::need_more);
      state = parser.parse(text, http::method::get, head);
    }
    REQUIRE(state == parse_result::complete);
    CHECK(parser.head_size() == head_size);
    CHECK(head.status() == http::status::not_found);
    CHECK(head.reason() == "Not  Found");
    CHECK(head.headers().get("server") == "x");
    CHECK(head.framing() == http::framing::length);
    CHECK(head.content_length() == 5);
    CHECK(head.keep_alive());
  }
}

TEST_CASE("http response: where the body ends") {
  using enum http::framing;
  CHECK(parsed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").framing() == chunked);
  CHECK(parsed("HTTP/1.1 200 OK\r\n\r\n").framing() == until_close);
  CHECK_FALSE(parsed("HTTP/1.1 200 OK\r\n\r\n").keep_alive());
  CHECK(parsed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").framing() == none);
  CHECK(parsed("HTTP/1.1 204 No Content\r\n\r\n").framing() == none);
  CHECK(parsed("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n").framing() == none);
  CHECK(parsed("HTTP/1.1 100 Continue\r\n\r\n").framing() == none);
  const auto head_answer =
      parsed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", http::method::head);
  CHECK(head_answer.framing() == none);
  CHECK(head_answer.content_length() == 9);
  CHECK(head_answer.keep_alive());
}

TEST_CASE("http response: who keeps the connection") {
  CHECK_FALSE(
      parsed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n").keep_alive());
  CHECK_FALSE(parsed("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").keep_alive());
  CHECK(parsed("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n")
            .keep_alive());
}

TEST_CASE("http response: what is ambiguous or unknown is refused") {
  check_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n");
  check_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  check_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
                http::errc::unsupported_coding);
  check_refused("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n");
  check_refused("HTTP/1.1 099 OK\r\n\r\n");
  check_refused("HTTP/1.1 600 OK\r\n\r\n");
  check_refused("HTTP/1.1 2x0 OK\r\n\r\n");
  check_refused("ICY 200 OK\r\n\r\n");
  check_refused("HTTP/2.0 200 OK\r\n\r\n", http::errc::unsupported_version);
}
