#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "runnel/net/http/header_block.hpp"
#include "runnel/net/http/method.hpp"
#include "runnel/net/http/status.hpp"

namespace http = runnel::http;

TEST_CASE("http status: named codes have the phrase of RFC 9110, others are unknown") {
  CHECK(http::reason_phrase(http::status::ok) == "OK");
  CHECK(http::reason_phrase(http::status::not_found) == "Not Found");
  CHECK(http::reason_phrase(http::status::request_header_fields_too_large) ==
        "Request Header Fields Too Large");
  CHECK(http::reason_phrase(http::status::http_version_not_supported) ==
        "HTTP Version Not Supported");
  CHECK(http::reason_phrase(static_cast<http::status>(299)) == "Unknown");
  CHECK(http::never_has_content(http::status::no_content));
  CHECK(http::never_has_content(http::status::continue_));
  CHECK_FALSE(http::never_has_content(http::status::ok));
}

TEST_CASE("http method: names go both ways and are case-sensitive") {
  for (const auto method : {http::method::get, http::method::head, http::method::post,
                            http::method::put, http::method::delete_, http::method::patch,
                            http::method::options, http::method::trace, http::method::connect}) {
    CHECK(http::to_method(http::to_string(method)) == method);
  }
  CHECK(http::to_method("get") == http::method::other);
  CHECK(http::to_method("BREW") == http::method::other);
  CHECK(http::is_idempotent(http::method::put));
  CHECK_FALSE(http::is_idempotent(http::method::post));
}

TEST_CASE("http header block: lines stand as they go on the wire") {
  http::header_block block;
  block.add("Content-Type", "text/plain").add("X-Two", "  trimmed\t");
  CHECK(block.wire() == "Content-Type: text/plain\r\nX-Two: trimmed\r\n");
  CHECK(block.find("content-type") == "text/plain");
  CHECK_FALSE(block.contains("X-Three"));
}

TEST_CASE("http header block: set replaces every line of that name") {
  http::header_block block;
  block.add("A", "1").add("B", "2").add("a", "3");
  block.set("A", "4");
  CHECK(block.wire() == "B: 2\r\nA: 4\r\n");
  CHECK(block.remove("b") == 1);
  CHECK(block.remove("b") == 0);
  CHECK(block.wire() == "A: 4\r\n");
}

TEST_CASE("http header block: an empty value is a value") {
  http::header_block block;
  block.add("Empty", "").add("Next", "x");
  REQUIRE(block.find("Empty"));
  CHECK(block.find("Empty")->empty());
  CHECK(block.find("Next") == "x");
}

TEST_CASE("http header block: text from elsewhere cannot begin another field") {
  http::header_block block;
  CHECK_THROWS_AS(block.add("X", "a\r\nSet-Cookie: b"), std::invalid_argument);
  CHECK_THROWS_AS(block.add("X", std::string_view("a\0b", 3)), std::invalid_argument);
  CHECK_THROWS_AS(block.add("X y", "a"), std::invalid_argument);
  CHECK_THROWS_AS(block.add("", "a"), std::invalid_argument);
  CHECK_THROWS_AS(block.set("X", "a\nb"), std::invalid_argument);
  CHECK(block.empty());
}

TEST_CASE("http header block: framing fields belong to the sender") {
  http::header_block block;
  for (const char* name : {"Content-Length", "transfer-encoding", "Connection", "DATE"}) {
    CHECK_THROWS_AS(block.add(name, "1"), std::invalid_argument);
  }
  CHECK(block.empty());
}

TEST_CASE("http header block: grows past its inline room, copies and moves") {
  http::header_block block;
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    const std::string name = "X-" + std::to_string(i);
    block.add(name, std::string(static_cast<std::size_t>(i), 'v'));
    expected += name + ": " + std::string(static_cast<std::size_t>(i), 'v') + "\r\n";
    const http::header_block copy = block;
    REQUIRE(copy.wire() == expected);
    http::header_block taken = std::move(block);
    REQUIRE(taken.wire() == expected);
    block = std::move(taken);
    REQUIRE(block.wire() == expected);
  }
  const http::header_block small = [] {
    http::header_block one;
    one.add("A", "b");
    return one;
  }();
  block = small;
  CHECK(block.wire() == "A: b\r\n");
}

TEST_CASE("http lists: members are tokens without regard to case and white space") {
  CHECK(http::list_contains("keep-alive, Upgrade", "upgrade"));
  CHECK(http::list_contains(" , close\t", "close"));
  CHECK_FALSE(http::list_contains("closed", "close"));
  CHECK_FALSE(http::list_contains("", "close"));
}
