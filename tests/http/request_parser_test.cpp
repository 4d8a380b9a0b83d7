#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "runnel/net/http/error.hpp"
#include "runnel/net/http/parser.hpp"

namespace http = runnel::http;
using http::parse_result;

namespace {

constexpr std::string_view simple =
    "GET /a/b?c=d HTTP/1.1\r\n"
    "Host: example.org\r\n"
    "Accept: text/*;q=0.5, */*\r\n"
    "X-Empty:\r\n"
    "x-spaced: \t in the middle \t\r\n"
    "\r\n";

struct refusal {
  std::string_view request;
  http::status status;
  http::errc error = http::errc::bad_message;
};

void check_refused(const refusal& expected, const http::message_limits& limits = {}) {
  CAPTURE(expected.request);
  http::request_parser parser{limits};
  http::request_head head;
  REQUIRE(parser.parse(expected.request, head) == parse_result::failed);
  CHECK(http::to_number(parser.refusal()) == http::to_number(expected.status));
  CHECK(parser.error() == expected.error);
}

std::string get_request(std::string_view target) {
  std::string text{"GET "};
  return text.append(target).append(" HTTP/1.1\r\nHost: h\r\n\r\n");
}

std::string numbered_target(int number) {
  return std::string{"/"}.append(std::to_string(number));
}

http::request_head parsed(std::string_view text) {
  CAPTURE(text);
  http::request_parser parser;
  http::request_head head;
  REQUIRE(parser.parse(text, head) == parse_result::complete);
  return head;
}

}  // namespace

TEST_CASE("http request: line and fields are found where they lie") {
  http::request_parser parser;
  http::request_head head;
  const std::string input = std::string{simple} + "left over";
  REQUIRE(parser.parse(input, head) == parse_result::complete);
  CHECK(parser.head_size() == simple.size());
  CHECK(head.method() == http::method::get);
  CHECK(head.method_text() == "GET");
  CHECK(head.target() == "/a/b?c=d");
  CHECK(head.path() == "/a/b");
  CHECK(head.query() == "c=d");
  CHECK(head.host() == "example.org");
  CHECK_FALSE(head.is_http_1_0());
  CHECK(head.keep_alive());
  CHECK(head.framing() == http::framing::none);
  REQUIRE(head.headers().size() == 4);
  CHECK(head.headers()[1] == http::field{"Accept", "text/*;q=0.5, */*"});
  CHECK(head.headers()[2] == http::field{"X-Empty", ""});
  CHECK(head.headers().get("X-SPACED") == "in the middle");
  CHECK(head.headers().get("none", "otherwise") == "otherwise");
  CHECK_FALSE(head.headers().contains("none"));
}

TEST_CASE("http request: the same comes out when the bytes come one by one") {
  http::request_parser parser;
  http::request_head head;
  for (std::size_t size = 0; size < simple.size(); ++size) {
    CAPTURE(size);
    // A fresh buffer each time, as a reader may have moved its bytes.
    const std::string so_far{simple.substr(0, size)};
    REQUIRE(parser.parse(so_far, head) == parse_result::need_more);
  }
  REQUIRE(parser.parse(simple, head) == parse_result::complete);
  CHECK(head.headers().size() == 4);
  CHECK(head.headers().get("x-spaced") == "in the middle");
}

TEST_CASE("http request: every cut into two pieces gives the same") {
  for (std::size_t cut = 0; cut <= simple.size(); ++cut) {
    CAPTURE(cut);
    http::request_parser parser;
    http::request_head head;
    const parse_result first = parser.parse(simple.substr(0, cut), head);
    REQUIRE(first == (cut < simple.size() ? parse_result::need_more : parse_result::complete));
    if (first == parse_result::need_more) {
      REQUIRE(parser.parse(simple, head) == parse_result::complete);
    }
    CHECK(head.path() == "/a/b");
    CHECK(head.headers().size() == 4);
  }
}

TEST_CASE("http request: a parser reads one message after another") {
  http::request_parser parser;
  http::request_head head;
  std::string input;
  for (int i = 0; i < 10; ++i) {
    input += get_request(numbered_target(i));
  }
  std::string_view rest = input;
  for (int i = 0; i < 10; ++i) {
    REQUIRE(parser.parse(rest, head) == parse_result::complete);
    CHECK(head.target() == numbered_target(i));
    CHECK(head.headers().size() == 1);
    rest.remove_prefix(parser.head_size());
    parser.reset();
  }
  CHECK(rest.empty());
}

TEST_CASE("http request: empty lines before the request line are skipped") {
  http::request_parser parser;
  http::request_head head;
  const std::string input = "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
  for (std::size_t size = 0; size < input.size(); ++size) {
    REQUIRE(parser.parse(std::string_view{input}.substr(0, size), head) == parse_result::need_more);
  }
  REQUIRE(parser.parse(input, head) == parse_result::complete);
  CHECK(parser.head_size() == input.size());
  CHECK(head.path() == "/");
}

TEST_CASE("http request: who keeps the connection") {
  CHECK(parsed("GET / HTTP/1.1\r\nHost: h\r\n\r\n").keep_alive());
  CHECK_FALSE(parsed("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n").keep_alive());
  CHECK_FALSE(parsed("GET / HTTP/1.0\r\n\r\n").keep_alive());
  CHECK(parsed("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive());
  CHECK_FALSE(parsed("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keep_alive());
}

TEST_CASE("http request: the four forms of a target") {
  CHECK(parsed("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").target() == "*");
  const http::request_head absolute =
      parsed("GET http://other.example:81?x HTTP/1.1\r\nHost: h\r\n\r\n");
  CHECK(absolute.host() == "other.example:81");
  CHECK(absolute.path() == "/");
  CHECK(absolute.query() == "x");
  CHECK(parsed("GET HTTP://o/p/q HTTP/1.1\r\nHost: h\r\n\r\n").path() == "/p/q");
  CHECK(parsed("CONNECT o:443 HTTP/1.1\r\nHost: o\r\n\r\n").target() == "o:443");
  for (const char* request :
       {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", "GET a/b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET http:///p HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT host HTTP/1.1\r\nHost: h\r\n\r\n"}) {
    check_refused({request, http::status::bad_request});
  }
}

TEST_CASE("http request: bodies are framed by length or by chunks") {
  const http::request_head length =
      parsed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 42\r\n\r\n");
  CHECK(length.framing() == http::framing::length);
  CHECK(length.content_length() == 42);
  CHECK(parsed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").framing() ==
        http::framing::none);
  CHECK(parsed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n").framing() ==
        http::framing::chunked);
  CHECK(parsed("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
            .expects_continue());
  CHECK_FALSE(
      parsed("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n").expects_continue());
  CHECK_FALSE(parsed("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
                  .expects_continue());
}

TEST_CASE("http request: what two readers might cut up differently is refused") {
  using enum http::status;
  for (const refusal& expected : std::vector<refusal>{
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 1\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
            "Transfer-Encoding: chunked\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n"
            "Transfer-Encoding: chunked\r\n\r\n",
            not_implemented, http::errc::unsupported_coding},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            not_implemented, http::errc::unsupported_coding},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", not_implemented,
            http::errc::unsupported_coding},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0b"
            "chunked\r\n\r\n",
            bad_request},
           {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", bad_request},
       }) {
    check_refused(expected);
  }
}

TEST_CASE("http request: folded fields, bare line ends and stray bytes are refused") {
  using enum http::status;
  for (const refusal& expected : std::vector<refusal>{
           {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\nX:\r\n\tb\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\nX:\r\n \r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n \r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\nHost: h\n\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\n\rX", bad_request},
           {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", bad_request},
           {"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", bad_request},
           {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", bad_request},
           {"GET / x HTTP/1.1\r\nHost: h\r\n\r\n", bad_request},
           {"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", bad_request},
           {"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", bad_request},
           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bad_request},
           {"GET /\r\n\r\n", bad_request},
       }) {
    check_refused(expected);
  }
  check_refused(
      {std::string_view{"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 39}, bad_request});
  check_refused({std::string_view{"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 29}, bad_request});
}

TEST_CASE("http request: a host, once, in HTTP/1.1") {
  check_refused({"GET / HTTP/1.1\r\n\r\n", http::status::bad_request});
  check_refused({"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", http::status::bad_request});
  check_refused({"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", http::status::bad_request});
}

TEST_CASE("http request: other versions are 505, what is no version is 400") {
  using enum http::status;
  for (const char* version : {"2.0", "0.9", "1.2", "3.0"}) {
    const std::string request = std::string{"GET / HTTP/"} + version + "\r\nHost: h\r\n\r\n";
    check_refused({request, http_version_not_supported, http::errc::unsupported_version});
  }
  check_refused({"GET / HTTP/1\r\nHost: h\r\n\r\n", bad_request});
  check_refused({"GET / http/1.1\r\nHost: h\r\n\r\n", bad_request});
  check_refused({"GET / HTTP/x.y\r\nHost: h\r\n\r\n", bad_request});
}

TEST_CASE("http request: an expectation that is not 100-continue is 417") {
  check_refused(
      {"GET / HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", http::status::expectation_failed});
}

TEST_CASE("http request: limits on the line, the header and the number of fields") {
  using enum http::status;
  const auto too_large = http::errc::header_too_large;
  const http::message_limits limits{
      .header_bytes = 512, .start_line_bytes = 256, .header_fields = 10};
  const std::string long_target = get_request(std::string(300, '/'));
  const std::string long_field =
      "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(500, 'a') + "\r\n\r\n";
  const std::string endless_line = std::string{"GET /"}.append(1000, 'a');
  const std::string endless_field =
      std::string{"GET / HTTP/1.1\r\nHost: h\r\nX: "}.append(1000, 'a');
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 10; ++i) many += "X: y\r\n";
  many += "\r\n";
  std::string empty_lines;
  for (int i = 0; i < 300; ++i) empty_lines += "\r\n";
  check_refused({long_target, uri_too_long, too_large}, limits);
  check_refused({long_field, request_header_fields_too_large, too_large}, limits);
  check_refused({endless_line, uri_too_long, too_large}, limits);
  check_refused({endless_field, request_header_fields_too_large, too_large}, limits);
  check_refused({many, request_header_fields_too_large, too_large}, limits);
  check_refused({empty_lines, request_header_fields_too_large, too_large}, limits);

  std::string just_fits = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
  just_fits += std::string(512 - just_fits.size() - 4, 'a') + "\r\n\r\n";
  http::request_parser parser{limits};
  http::request_head head;
  CHECK(parser.parse(just_fits, head) == parse_result::complete);
  parser.reset();
  just_fits.insert(just_fits.end() - 4, 'a');
  CHECK(parser.parse(just_fits, head) == parse_result::failed);
}

TEST_CASE("http request: limits hold too when the bytes come one by one") {
  const http::message_limits limits{
      .header_bytes = 512, .start_line_bytes = 256, .header_fields = 1000};
  std::string endless = "GET / HTTP/1.1\r\nHost: h\r\n";
  while (endless.size() < 2000) endless += "X: y\r\n";
  http::request_parser parser{limits};
  http::request_head head;
  std::size_t size = 0;
  parse_result state = parse_result::need_more;
  while (state == parse_result::need_more && size < endless.size()) {
    state = parser.parse(std::string_view{endless}.substr(0, ++size), head);
  }
  CHECK(state == parse_result::failed);
  CHECK(size == 512);
  CHECK(parser.refusal() == http::status::request_header_fields_too_large);
}
