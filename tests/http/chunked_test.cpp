#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "runnel/net/http/error.hpp"
#include "runnel/net/http/parser.hpp"

namespace http = runnel::http;
using http::parse_result;

namespace {

constexpr std::string_view head_text =
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

struct outcome {
  parse_result state;
  std::string body;
  std::size_t consumed;
};

/// Decodes `text`, of which `piece` more bytes are seen at each step, into `room` bytes at a time.
outcome decode(std::string_view text, std::size_t piece, std::size_t room,
               const http::message_limits& limits = {}) {
  http::request_parser parser{limits};
  http::request_head head;
  REQUIRE(parser.parse(head_text, head) == parse_result::complete);
  REQUIRE(head.framing() == http::framing::chunked);
  std::string body;
  std::string buffer(room, '?');
  std::size_t at = 0;
  for (std::size_t seen = std::min(piece, text.size());;) {
    const std::string window{text.substr(at, seen - at)};
    const http::decode_result step = parser.decode(window, buffer);
    body.append(buffer, 0, step.produced);
    at += step.consumed;
    if (step.state != parse_result::need_more) return {step.state, body, at};
    if (step.consumed > 0 || step.produced > 0) continue;
    if (seen == text.size()) return {parse_result::need_more, body, at};
    seen = std::min(seen + piece, text.size());
  }
}

void check_refused(std::string_view text) {
  CAPTURE(text);
  CHECK(decode(text, text.size(), 4096).state == parse_result::failed);
  CHECK(decode(text, 1, 4096).state == parse_result::failed);
}

}  // namespace

TEST_CASE("http chunked: the body comes out whatever the pieces and the room") {
  const std::string text =
      "5\r\nhello\r\n"
      "0001;name=value;quoted=\"a;b\"\r\n,\r\n"
      "A \t ; x\r\n 123456789\r\n"
      "0;last\r\nTrailer: dropped\r\nAnother: one\r\n\r\n";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    for (const std::size_t room : {1U, 2U, 3U, 7U, 100U}) {
      CAPTURE(piece);
      CAPTURE(room);
      const outcome result = decode(text + "next message", piece, room);
      REQUIRE(result.state == parse_result::complete);
      REQUIRE(result.body == "hello, 123456789");
      REQUIRE(result.consumed == text.size());
    }
  }
}

TEST_CASE("http chunked: every truncation needs more") {
  const std::string text = "5\r\nhello\r\n3;x=\"y\"\r\nabc\r\n0\r\nT: v\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    CHECK(decode(std::string_view{text}.substr(0, size), 3, 10).state == parse_result::need_more);
  }
}

TEST_CASE("http chunked: an empty body") {
  const outcome result = decode("0\r\n\r\n", 1, 1);
  CHECK(result.state == parse_result::complete);
  CHECK(result.body.empty());
}

TEST_CASE("http chunked: what is not a chunk is refused") {
  for (const std::string_view text :
       {"x\r\nhello\r\n", "-5\r\nhello\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n", "5 \r\nhello\r\n", " 5\r\nhello\r\n", "5;\r\nhello\r\n",
        "5;=\r\nhello\r\n", "5;a=\r\nhello\r\n", "10000000000000000\r\nx\r\n", "\r\n\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "5\rx\r\nhello\r\n"}) {
    check_refused(text);
  }
}

TEST_CASE("http chunked: a trailer is held to the rules of fields") {
  check_refused("0\r\nBad Name: x\r\n\r\n");
  check_refused("0\r\nX: a\r\n b\r\n\r\n");
  check_refused("0\r\nContent-Length: 5\r\n\r\n");
  std::string many = "0\r\n";
  for (int i = 0; i < 200; ++i) many += "X: y\r\n";
  check_refused(many + "\r\n");
}

TEST_CASE("http chunked: a line or a trailer that never ends is refused at the limit") {
  const http::message_limits limits{.header_bytes = 256, .start_line_bytes = 256};
  CHECK(decode("5;" + std::string(300, 'a'), 1, 10, limits).state == parse_result::failed);
  CHECK(decode("0\r\nX: " + std::string(300, 'a'), 1, 10, limits).state == parse_result::failed);
  CHECK(decode(std::string(300, '0'), 1, 10, limits).state == parse_result::failed);
}

TEST_CASE("http chunked: extensions may not outweigh the data") {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "1;" + std::string(100, 'x') + "\r\na\r\n";
  check_refused(text + "0\r\n\r\n");
}

TEST_CASE("http chunked: a response is decoded in the same way") {
  http::response_parser parser;
  http::response_head head;
  REQUIRE(parser.parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", http::method::get,
                       head) == parse_result::complete);
  std::string room(100, '?');
  const http::decode_result result = parser.decode("3\r\nabc\r\n0\r\n\r\nHTTP", room);
  CHECK(result.state == parse_result::complete);
  CHECK(result.consumed == 13);
  CHECK(room.substr(0, result.produced) == "abc");
}
