#include "support.hpp"

#include <array>

#include <memory>
#include <optional>

#include "runnel/net/http/error.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::result;
using runnel::task;

namespace {

constexpr std::string_view text_type = "text/plain";

/// Gives `size` bytes in pieces of at most `piece`, announced or not, and may lie or fail.
class pattern_source final : public http::body_source {
 public:
  struct plan {
    std::size_t size = 0;
    std::size_t piece = 1000;
    std::optional<std::uint64_t> announced{};
    std::size_t fails_after = SIZE_MAX;
    bool throws = false;
  };
  explicit pattern_source(const plan& how) noexcept : plan_(how) {}

  std::optional<std::uint64_t> size() const noexcept override { return plan_.announced; }
  task<result<std::size_t>> read(std::span<std::byte> into) override {
    const auto rested = co_await runnel::sleep(1ms);
    if (!rested) co_return rested.error();
    if (given_ >= plan_.fails_after) {
      if (plan_.throws) throw std::runtime_error{"source"};
      co_return std::make_error_code(std::errc::io_error);
    }
    const std::size_t count = std::min({into.size(), plan_.piece, plan_.size - given_});
    for (std::size_t i = 0; i < count; ++i) into[i] = static_cast<std::byte>('a' + given_++ % 26);
    co_return count;
  }

 private:
  plan plan_;
  std::size_t given_ = 0;
};

std::string pattern(std::size_t size) {
  std::string text(size, '?');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 26);
  return text;
}

pattern_source::plan plan_of_test;

task<http::response> handle(http::request& request) {
  const std::string_view path = request.path();
  if (path == "/stream") {
    co_return http::response::stream(std::make_unique<pattern_source>(plan_of_test), text_type);
  }
  if (path == "/echo") {
    auto body = co_await request.body().read_all();
    if (!body) co_return http::response::plain(http::status::internal_server_error);
    co_return http::response::text(std::move(*body), text_type);
  }
  if (path == "/short") {
    auto body = co_await request.body().read_all(10);
    if (!body) co_return http::response::plain(http::status::internal_server_error);
    co_return http::response::text(std::move(*body), text_type);
  }
  if (path == "/large") {
    request.body().set_limit(10 << 20);
    std::array<std::byte, 3000> room;
    std::size_t total = 0;
    for (;;) {
      const auto got = co_await request.body().read(room);
      if (!got) co_return http::response::plain(http::status::internal_server_error);
      if (*got == 0) break;
      total += *got;
    }
    co_return http::response::text(std::to_string(total), text_type);
  }
  co_return http::response::literal("ignored\n", text_type);
}

std::string ok(std::string_view body, std::string_view more_fields = {}) {
  std::string fields{"Content-Type: text/plain\r\nContent-Length: "};
  fields.append(std::to_string(body.size())).append("\r\n").append(more_fields);
  return expected_response("200 OK", fields, body);
}

std::string post(std::string_view target, std::string_view body, std::string_view fields = {}) {
  std::string text{"POST "};
  text.append(target).append(" HTTP/1.1\r\nHost: h\r\nContent-Length: ");
  text.append(std::to_string(body.size())).append("\r\n").append(fields).append("\r\n");
  return text.append(body);
}

constexpr std::string_view chunked_echo =
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5\r\nhello\r\n2;x=y\r\n, \r\n5\r\nworld\r\n0\r\nT: v\r\n\r\n";

std::string unchunked(std::string_view text) {
  std::string body;
  for (;;) {
    const std::size_t size = std::stoul(std::string{text}, nullptr, 16);
    text.remove_prefix(text.find("\r\n") + 2);
    body += text.substr(0, size);
    text.remove_prefix(size + 2);
    if (size == 0) return body;
  }
}

}  // namespace

TASK_TEST("http server: a body by length and a body in chunks reach the handler") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(post("/echo", "some body"));
  const std::string by_length = co_await client.receive_response();
  CHECK(by_length == ok("some body"));
  co_await client.send(chunked_echo);
  const std::string by_chunks = co_await client.receive_response();
  CHECK(by_chunks == ok("hello, world"));
  co_await client.send(post("/echo", ""));
  const std::string none = co_await client.receive_response();
  CHECK(none == ok(""));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: bodies that come byte by byte reach the handler") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const std::string requests = post("/echo", "some body") + std::string{chunked_echo};
  for (const char c : requests) {
    co_await client.send({&c, 1});
    const auto rested = co_await runnel::sleep(1ms);
    CHECK(rested.has_value());
  }
  const std::string first = co_await client.receive_response();
  const std::string second = co_await client.receive_response();
  CHECK(first == ok("some body"));
  CHECK(second == ok("hello, world"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: pipelined requests with bodies keep their order") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  std::string requests;
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    requests += post("/echo", std::to_string(i));
    requests += chunked_echo;
    requests += post("/ignore", std::to_string(i));
    expected += ok(std::to_string(i)) + ok("hello, world") + ok("ignored\n");
  }
  co_await client.send(requests);
  const std::string got = co_await client.receive(expected.size());
  CHECK(got == expected);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a large upload is streamed to the handler") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(post("/large", std::string(3 << 20, 'x')));
  const std::string got = co_await client.receive_response();
  CHECK(got == ok(std::to_string(3 << 20)));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: 100 (Continue) is sent when the handler reads, once") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const std::string_view body = "after continue";
  const std::string whole = post("/echo", body, "Expect: 100-continue\r\n");
  co_await client.send(std::string_view{whole}.substr(0, whole.size() - body.size()));
  const std::string interim = co_await client.receive(25);
  CHECK(interim == "HTTP/1.1 100 Continue\r\n\r\n");
  co_await client.send(body);
  const std::string got = co_await client.receive_response();
  CHECK(got == ok(body));
  // A client that does not wait needs none.
  co_await client.send(whole);
  const std::string direct = co_await client.receive_response();
  CHECK(direct == ok(body));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a handler that does not want the body of a waiting client closes") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const std::string whole = post("/ignore", "x", "Expect: 100-continue\r\n");
  co_await client.send(std::string_view{whole}.substr(0, whole.size() - 1));
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("ignored\n", "Connection: close\r\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a short body that nobody read is thrown away and the connection kept") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const std::string whole = post("/ignore", std::string(20'000, 'x'));
  co_await client.send(std::string_view{whole}.substr(0, 1000));
  const std::string first = co_await client.receive_response();
  CHECK(first == ok("ignored\n"));
  co_await client.send(std::string_view{whole}.substr(1000));
  co_await client.send(post("/echo", "next"));
  const std::string second = co_await client.receive_response();
  CHECK(second == ok("next"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a long body that nobody read closes, and the response arrives") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(post("/ignore", std::string(500'000, 'x')));
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("ignored\n", "Connection: close\r\n"));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().lingered == 1);
}

TASK_TEST("http server: a body over the limit is 413, by length and by chunks") {
  http::server_options options = quiet_options();
  options.max_body_bytes = 100;
  rig at{loop, handle, options};
  std::string chunks = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 20; ++i) chunks += "a\r\n0123456789\r\n";
  for (const std::string& request :
       {post("/echo", std::string(101, 'x')), chunks, post("/short", "eleven bytes")}) {
    peer client = co_await connect(at.listener);
    co_await client.send(request);
    const std::string got = co_await client.receive_all();
    CHECK(got.starts_with("HTTP/1.1 413 Content Too Large\r\n"));
    CHECK(got.find("Connection: close\r\n") != std::string::npos);
    CHECK_FALSE(got.ends_with("<reset>"));
  }
  peer client = co_await connect(at.listener);
  co_await client.send(post("/echo", std::string(100, 'x')));
  const std::string fits = co_await client.receive_response();
  CHECK(fits == ok(std::string(100, 'x')));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a malformed chunk is 400 in place of the handler's answer") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(
      "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX");
  co_await client.send("X\r\n0\r\n\r\n");
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a body that is cut off is 400") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  std::string cut = post("/echo", "whole");
  cut.resize(cut.size() - 2);
  co_await client.send(cut);
  const auto finished = client.stream().shutdown();
  CHECK(finished.has_value());
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().truncated == 1);
}

TASK_TEST("http server: a streamed body of known length, through a small pipe") {
  net::pipe_listener_options pipes;
  pipes.capacity = 700;
  rig at{loop, handle, quiet_options(), pipes};
  plan_of_test = {.size = 10'000, .piece = 3333, .announced = 10'000};
  peer client = co_await connect(at.listener);
  for (int i = 0; i < 2; ++i) {
    co_await client.send(get("/stream"));
    const std::string got = co_await client.receive_response();
    CHECK(got == ok(pattern(10'000)));
  }
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a streamed body of unknown length goes in chunks") {
  rig at{loop, handle};
  const std::string head =
      expected_response("200 OK", "Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n", "");
  for (const std::size_t size : {0U, 1U, 999U, 200'000U}) {
    plan_of_test = {.size = size, .piece = 70'000};
    peer client = co_await connect(at.listener);
    co_await client.send(get("/stream") + get("/hello", "Connection: close\r\n"));
    std::string got = co_await client.receive_all();
    CHECK(got.starts_with(head));
    const std::string next = ok("ignored\n", "Connection: close\r\n");
    REQUIRE(got.ends_with(next));
    got.resize(got.size() - next.size());
    CHECK(unchunked(std::string_view{got}.substr(head.size())) == pattern(size));
  }
  co_await at.finish();
}

TASK_TEST("http server: a streamed body of unknown length ends with the connection in HTTP/1.0") {
  rig at{loop, handle};
  plan_of_test = {.size = 5000, .piece = 70'000};
  peer client = co_await connect(at.listener);
  co_await client.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string got = co_await client.receive_all();
  CHECK(got == expected_response("200 OK", "Content-Type: text/plain\r\nConnection: close\r\n",
                                 pattern(5000)));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: HEAD does not read the source") {
  rig at{loop, handle};
  plan_of_test = {.size = 5000, .piece = 1, .announced = 5000};
  peer client = co_await connect(at.listener);
  co_await client.send("HEAD /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const runnel::time_point begin = loop.now();
  const std::string got = co_await client.receive_all();
  CHECK(got.ends_with("Content-Length: 5000\r\nConnection: close\r\n\r\n"));
  CHECK(loop.now() == begin);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a source that fails or lies breaks the connection off") {
  rig at{loop, handle};
  for (const pattern_source::plan& plan :
       {pattern_source::plan{.size = 9000, .announced = 9000, .fails_after = 3000},
        pattern_source::plan{.size = 9000, .fails_after = 3000},
        pattern_source::plan{.size = 9000, .fails_after = 3000, .throws = true},
        pattern_source::plan{.size = 5000, .announced = 9000}}) {
    plan_of_test = plan;
    peer client = co_await connect(at.listener);
    co_await client.send(get("/stream"));
    const std::string got = co_await client.receive_all();
    CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(got.ends_with("<reset>"));
  }
  // More than announced is cut off, so that the next response stands where it should.
  plan_of_test = {.size = 9000, .announced = 4000};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/stream") + get("/hello"));
  const std::string first = co_await client.receive_response();
  const std::string second = co_await client.receive_response();
  CHECK(first == ok(pattern(4000)));
  CHECK(second == ok("ignored\n"));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().source_errors == 4);
}
