#include "support.hpp"

#include <memory>
#include <stdexcept>

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::result;
using runnel::task;

namespace {

constexpr std::string_view text_type = "text/plain";

task<http::response> handle(http::request& request) {
  const std::string_view path = request.path();
  if (path == "/hello") co_return http::response::literal("hello\n", text_type);
  if (path == "/throw") throw std::runtime_error{"no"};
  if (path == "/wait") {
    const auto rested = co_await runnel::sleep(1s);
    CHECK(rested.has_value());
    co_return http::response::literal("waited\n", text_type);
  }
  if (path == "/close") co_return http::response::literal("bye", text_type).close();
  if (path == "/big") {
    co_return http::response::text(std::string(300'000, 'b'), text_type);
  }
  if (path == "/empty") co_return http::response{http::status::no_content};
  if (path == "/interim") co_return http::response{http::status::continue_};
  if (path == "/odd") co_return http::response{static_cast<http::status>(299)};
  if (path == "/target") co_return http::response::text(std::string{request.query()}, text_type);
  if (path == "/only-get" && request.method() != http::method::get) {
    co_return http::response::method_not_allowed("GET, HEAD");
  }
  co_return http::response::plain(http::status::not_found);
}

http::response handle_at_once(http::request& request) {
  return http::response::text(std::string{request.target()}, text_type);
}

http::answer handle_either_way(http::request& request) {
  const std::string_view path = request.path();
  if (path == "/at-once") return http::response::literal("at once\n", text_type);
  if (path == "/throw-at-once") throw std::runtime_error{"no"};
  return handle(request);
}

std::string ok(std::string_view body, std::string_view more_fields = {}) {
  std::string fields{"Content-Type: text/plain\r\nContent-Length: "};
  fields.append(std::to_string(body.size())).append("\r\n").append(more_fields);
  return expected_response("200 OK", fields, body);
}

constexpr std::string_view says_close = "Connection: close\r\n";
constexpr std::string_view says_keep_alive = "Connection: keep-alive\r\n";

}  // namespace

TASK_TEST("http server: answers, keeps the connection, and drains") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  for (int i = 0; i < 3; ++i) {
    co_await client.send(get("/hello"));
    const std::string got = co_await client.receive(ok("hello\n").size());
    CHECK(got == ok("hello\n"));
  }
  at.server.drain();
  const std::string rest = co_await client.receive_all();
  CHECK(rest.empty());
  client = {};
  co_await at.finish();
  const http::server_counters& counters = at.server.counters();
  CHECK(counters.accepted == 1);
  CHECK(counters.requests == 3);
  CHECK(counters.pipelined == 0);
  CHECK(counters.responses[2] == 3);
  CHECK(counters.unclean_closes == 0);
  CHECK(counters.aborted == 0);
}

TASK_TEST("http server: closes after the response to a client that asks for it") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/hello", says_close));
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("hello\n", says_close));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().lingered == 0);
}

TASK_TEST("http server: a response may close the connection") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/close"));
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("bye", says_close));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: HTTP/1.0 closes unless it asks for keep-alive") {
  rig at{loop, handle};
  peer first = co_await connect(at.listener);
  co_await first.send("GET /hello HTTP/1.0\r\n\r\n");
  const std::string closed = co_await first.receive_all();
  CHECK(closed == ok("hello\n", says_close));
  peer second = co_await connect(at.listener);
  for (int i = 0; i < 2; ++i) {
    co_await second.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const std::string kept = co_await second.receive_response();
    CHECK(kept == ok("hello\n", says_keep_alive));
  }
  second = {};
  co_await at.finish();
}

TASK_TEST("http server: HEAD gets the fields of GET and no body") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send("HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\nHEAD /big HTTP/1.1\r\nHost: h\r\n");
  co_await client.send("Connection: close\r\n\r\n");
  const std::string got = co_await client.receive_all();
  std::string expected = ok("hello\n");
  expected.resize(expected.size() - 6);
  expected += expected_response(
      "200 OK", "Content-Type: text/plain\r\nContent-Length: 300000\r\nConnection: close\r\n", "");
  CHECK(got == expected);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: statuses without content, without a name, and without sense") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/empty"));
  const std::string empty_expected = expected_response("204 No Content", "", "");
  const std::string empty = co_await client.receive(empty_expected.size());
  CHECK(empty == empty_expected);
  co_await client.send(get("/odd"));
  const std::string odd = co_await client.receive_response();
  CHECK(odd == expected_response("299 Unknown", "Content-Length: 0\r\n", ""));
  co_await client.send(get("/interim"));
  const std::string interim = co_await client.receive_response();
  CHECK(interim.starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: 405 says what is allowed") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send("DELETE /only-get HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string got = co_await client.receive_response();
  CHECK(got.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  CHECK(got.find("\r\nAllow: GET, HEAD\r\n") != std::string::npos);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a handler that throws gives 500 and the connection closes") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/throw"));
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
  CHECK(got.find(says_close) != std::string::npos);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().handler_exceptions == 1);
}

TASK_TEST("http server: a handler may answer at once") {
  rig at{loop, handle_at_once};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/some/path"));
  const std::string got = co_await client.receive_response();
  CHECK(got == ok("/some/path"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a large body from memory arrives whole through a small pipe") {
  net::pipe_listener_options pipes;
  pipes.capacity = 1000;
  rig at{loop, handle, quiet_options(), pipes};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/big"));
  const std::string got = co_await client.receive_response();
  CHECK(got.size() > 300'000);
  CHECK(got.ends_with(std::string(300'000, 'b')));
  co_await client.send(get("/hello"));
  const std::string next = co_await client.receive_response();
  CHECK(next == ok("hello\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: an answer is there at once, or comes later, in the order of requests") {
  rig at{loop, handle_either_way};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/at-once") + get("/wait") + get("/at-once") + get("/hello"));
  const auto begun = loop.now();
  const std::string first = co_await client.receive(ok("at once\n").size());
  CHECK(first == ok("at once\n"));
  // It is not held back for the one behind it, which waits.
  CHECK(loop.now() - begun < 1s);
  const std::string others = ok("waited\n") + ok("at once\n") + ok("hello\n");
  const std::string rest = co_await client.receive(others.size());
  CHECK(rest == others);
  CHECK(loop.now() - begun >= 1s);
  co_await client.send(get("/wait"));
  const std::string alone = co_await client.receive(ok("waited\n").size());
  CHECK(alone == ok("waited\n"));
  for (const char* path : {"/throw", "/throw-at-once"}) {
    for (const std::string& before : {std::string(), get("/at-once")}) {
      peer unlucky = co_await connect(at.listener);
      co_await unlucky.send(before + get(path));
      const std::string got = co_await unlucky.receive_all();
      const std::string refusal = "HTTP/1.1 500 ";
      CHECK(got.starts_with((before.empty() ? std::string() : ok("at once\n")) + refusal));
    }
  }
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().handler_exceptions == 4);
}

TASK_TEST("http server: a thousand pipelined requests are answered in order") {
  http::server_options options = quiet_options();
  options.keepalive_requests = 2000;
  net::pipe_listener_options pipes;
  pipes.capacity = 1 << 20;
  rig at{loop, handle, options, pipes};
  peer client = co_await connect(at.listener);
  std::string requests;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    const std::string number = std::to_string(i);
    requests += get(std::string{"/target?"}.append(number));
    expected += ok(number);
  }
  co_await client.send(requests);
  const std::string got = co_await client.receive(expected.size());
  CHECK(got == expected);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().requests == 1000);
  CHECK(at.server.counters().pipelined > 900);
}

TASK_TEST("http server: requests that come byte by byte are answered") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const std::string requests = get("/hello") + get("/target?x") + get("/hello", says_close);
  for (const char c : requests) {
    co_await client.send({&c, 1});
    const auto rested = co_await runnel::sleep(1ms);
    CHECK(rested.has_value());
  }
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("hello\n") + ok("x") + ok("hello\n", says_close));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a request cut off anywhere ends the connection and disturbs nobody") {
  rig at{loop, handle};
  const std::string whole =
      "POST /hello HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    peer client = co_await connect(at.listener);
    co_await client.send(std::string_view{whole}.substr(0, size));
    const auto finished = client.stream().shutdown();
    CHECK(finished.has_value());
    const std::string got = co_await client.receive_all();
    const std::size_t head = whole.find("3\r\n");
    // The handler does not want the body, so it answers as soon as the head is there.
    CHECK(got.empty() == (size < head));
    CHECK_FALSE(got.ends_with("<reset>"));
  }
  co_await at.finish();
}

TASK_TEST("http server: a client that has finished sending still gets its responses") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/wait") + get("/hello"));
  const auto finished = client.stream().shutdown();
  CHECK(finished.has_value());
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("waited\n") + ok("hello\n"));
  co_await at.finish();
  CHECK(at.server.counters().unclean_closes == 0);
}

TASK_TEST("http server: keepalive_requests are answered and the last one says so") {
  http::server_options options = quiet_options();
  options.keepalive_requests = 3;
  rig at{loop, handle, options};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/hello") + get("/hello") + get("/hello") + get("/hello"));
  const std::string got = co_await client.receive_all();
  CHECK(got == ok("hello\n") + ok("hello\n") + ok("hello\n", says_close));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().keepalive_exhausted == 1);
}

TASK_TEST("http server: serve with a listener that is closed ends by itself") {
  net::pipe_listener listener{loop};
  runnel::task_group group{loop, runnel::on_failure::collect};
  group.spawn(http::serve(listener, handle, quiet_options()));
  peer client = co_await connect(listener);
  co_await client.send(get("/hello"));
  const std::string got = co_await client.receive_response();
  CHECK(got.ends_with("hello\n"));
  listener.close();
  const std::string rest = co_await client.receive_all();
  CHECK(rest.empty());
  client = {};
  const auto ended = co_await group.join();
  CHECK(ended.error() == std::errc::bad_file_descriptor);
}

TEST_CASE("http server: options out of range are refused with a sentence") {
  runnel::loop driver{runnel::loop_options{.simulated = 1}};
  const auto refuses = [&driver](auto change) {
    http::server_options options;
    change(options);
    CHECK_THROWS_AS((http::server{driver, handle_at_once, options}), std::invalid_argument);
  };
  refuses([](auto& options) { options.keepalive_requests = 0; });
  refuses([](auto& options) { options.limits.header_bytes = 1 << 20; });
  refuses([](auto& options) { options.limits.header_bytes = 10; });
  refuses([](auto& options) { options.send_timeout = 0s; });
  refuses([](auto& options) { options.clock = nullptr; });
  refuses([](auto& options) { options.stream_bytes = 1; });
}
