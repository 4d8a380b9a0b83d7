#include "support.hpp"

#include <array>

#include <random>

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

http::response handle(http::request&) {
  return http::response::literal("hello\n", "text/plain");
}

struct refusal {
  std::string request;
  std::string_view status_line;
};

}  // namespace

TASK_TEST("http server: what cannot be understood is answered with its status and closed") {
  http::server_options options = quiet_options();
  options.limits = {.header_bytes = 512, .start_line_bytes = 300, .header_fields = 5};
  rig at{loop, handle, options};
  const std::vector<refusal> refusals{
      {"NONSENSE\r\n\r\n", "400 Bad Request"},
      {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request"},
      {get("/", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "400 Bad Request"},
      {get("/", "X: a\r\n b\r\n"), "400 Bad Request"},
      {get("/" + std::string(400, 'a')), "414 URI Too Long"},
      {get("/", "X: " + std::string(500, 'a') + "\r\n"), "431 Request Header Fields Too Large"},
      {get("/", "A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n"), "431 Request Header Fields Too Large"},
      {get("/", "Expect: miracles\r\n"), "417 Expectation Failed"},
      {get("/", "Transfer-Encoding: gzip, chunked\r\n"), "501 Not Implemented"},
      {"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", "501 Not Implemented"},
      {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 HTTP Version Not Supported"},
  };
  for (const refusal& expected : refusals) {
    CAPTURE(expected.request);
    peer client = co_await connect(at.listener);
    // A good request before it is still answered, and what comes behind it is not.
    co_await client.send(get("/") + expected.request + get("/"));
    const std::string first = co_await client.receive_response();
    CHECK(first.ends_with("hello\n"));
    const std::string got = co_await client.receive_all();
    CHECK(got.starts_with(std::string{"HTTP/1.1 "}.append(expected.status_line).append("\r\n")));
    CHECK(got.find("Connection: close\r\n") != std::string::npos);
    CHECK(got.find("hello") == std::string::npos);
    CHECK_FALSE(got.ends_with("<reset>"));
  }
  co_await at.finish();
  CHECK(at.server.counters().bad_requests == refusals.size());
}

TASK_TEST("http server: ten thousand mutated requests never stop it") {
  if (seed > 0) co_return;
  http::server_options options = quiet_options();
  options.linger_timeout = 10ms;
  options.header_timeout = 50ms;
  rig at{loop, handle, options};
  std::mt19937 random{99};
  const std::array<std::string, 3> seeds{
      get("/a?b", "Accept: */*\r\n"),
      "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
      "PUT /y HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};
  std::uint64_t answered = 0;
  for (int round = 0; round < 10'000; ++round) {
    std::string text = seeds[random() % seeds.size()] + seeds[random() % seeds.size()];
    for (std::size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const std::size_t at_byte = random() % text.size();
      if (random() % 3 == 0) {
        text.erase(at_byte, 1 + random() % 4);
      } else {
        text[at_byte] = static_cast<char>(random() % 128);
      }
      if (text.empty()) text = "x";
    }
    peer client = co_await connect(at.listener);
    co_await client.send(text);
    const auto finished = client.stream().shutdown();
    CHECK(finished.has_value());
    const std::string got = co_await client.receive_all();
    if (!got.empty()) {
      ++answered;
      REQUIRE(got.starts_with("HTTP/1.1 "));
    }
  }
  CHECK(answered > 5000);
  co_await at.finish();
}
