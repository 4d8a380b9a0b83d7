#include <doctest/doctest.h>

#include <optional>
#include <string>

#include "runnel/net/http/path.hpp"

namespace http = runnel::http;

TEST_CASE("http path: percent-encoding is taken off once") {
  CHECK(http::percent_decode("a%20b%2fc") == "a b/c");
  CHECK(http::percent_decode("%2525") == "%25");
  CHECK(http::percent_decode("a+b") == "a+b");
  CHECK(http::percent_decode("") == "");
  CHECK_FALSE(http::percent_decode("%"));
  CHECK_FALSE(http::percent_decode("%2"));
  CHECK_FALSE(http::percent_decode("%g0"));
}

TEST_CASE("http path: segments are resolved and never climb above the root") {
  CHECK(http::resolve_path("/") == "");
  CHECK(http::resolve_path("/a") == "a");
  CHECK(http::resolve_path("/a/") == "a/");
  CHECK(http::resolve_path("//a///b") == "a/b");
  CHECK(http::resolve_path("/a/./b/.") == "a/b/");
  CHECK(http::resolve_path("/a/../b") == "b");
  CHECK(http::resolve_path("/a/..") == "");
  CHECK(http::resolve_path("/a/b/..") == "a/");
  CHECK(http::resolve_path("/a%2fb") == "a/b");
  CHECK(http::resolve_path("/...") == "...");
  for (const char* path : {"/..", "/../a", "/a/../..", "/%2e%2e/a", "/a/%2e%2e/%2e%2e/b", "/%",
                           "/a%00b", "/..%2f..%2fetc/passwd"}) {
    CAPTURE(path);
    CHECK_FALSE(http::resolve_path(path));
  }
}

TEST_CASE("http path: media types go by the last extension, whatever its case") {
  CHECK(http::media_type("index.html") == "text/html; charset=utf-8");
  CHECK(http::media_type("a/b.c/logo.PNG") == "image/png");
  CHECK(http::media_type("archive.tar.gz") == "application/gzip");
  CHECK(http::media_type("README") == "application/octet-stream");
  CHECK(http::media_type("a.css/README") == "application/octet-stream");
  CHECK(http::media_type(".html") == "application/octet-stream");
  CHECK(http::media_type("x.verylongextension") == "application/octet-stream");
  CHECK(http::media_type("") == "application/octet-stream");
}
