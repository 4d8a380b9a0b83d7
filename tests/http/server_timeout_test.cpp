#include "support.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

constexpr std::string_view text_type = "text/plain";

task<http::response> handle(http::request& request) {
  if (request.path() == "/echo") {
    auto body = co_await request.body().read_all();
    if (!body) co_return http::response::plain(http::status::internal_server_error);
    co_return http::response::text(std::move(*body), text_type);
  }
  if (request.path() == "/big")
    co_return http::response::text(std::string(1 << 20, 'b'), text_type);
  if (request.path() == "/slow") {
    const auto rested = co_await runnel::sleep(1000s);
    CHECK(rested.has_value());
  }
  co_return http::response::literal("hello\n", text_type);
}

task<> pause(runnel::duration length) {
  const auto rested = co_await runnel::sleep(length);
  CHECK(rested.has_value());
}

}  // namespace

TASK_TEST(
    "http server: an idle connection is closed after keepalive_timeout, from the last response") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await pause(10s);
  co_await client.send(get("/"));
  const std::string first = co_await client.receive_response();
  CHECK(first.ends_with("hello\n"));
  co_await pause(74s);
  co_await client.send(get("/"));
  const std::string second = co_await client.receive_response();
  CHECK(second.ends_with("hello\n"));
  const runnel::time_point begin = loop.now();
  const std::string rest = co_await client.receive_all();
  CHECK(rest.empty());
  CHECK(loop.now() - begin == 75s);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().keepalive_timeouts == 1);
  CHECK(at.server.counters().header_timeouts == 0);
}

TASK_TEST("http server: a handler that takes longer than keepalive_timeout is waited for") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/slow"));
  const std::string got = co_await client.receive_response();
  CHECK(got.ends_with("hello\n"));
  co_await client.send(get("/"));
  const std::string next = co_await client.receive_response();
  CHECK(next.ends_with("hello\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a connection that never asks is closed without a word") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  const std::string got = co_await client.receive_all();
  CHECK(got.empty());
  CHECK(loop.now() - begin == 60s);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().header_timeouts == 1);
}

TASK_TEST("http server: a header that trickles in is 408 at header_timeout, whatever comes") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  const std::string request = get("/", "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
  // 5 s between two bytes: never idle for long, never done.
  for (std::size_t i = 0; i < 12; ++i) {
    co_await client.send(std::string_view{request}.substr(i, 1));
    if (i < 11) co_await pause(5s);
  }
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  CHECK(loop.now() - begin == 60s);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().header_timeouts == 1);
}

TASK_TEST("http server: for later requests the header's time begins with its first byte") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/"));
  const std::string first = co_await client.receive_response();
  CHECK(first.ends_with("hello\n"));
  co_await pause(50s);
  const runnel::time_point begin = loop.now();
  co_await client.send("G");
  co_await pause(59s);
  co_await client.send("ET / HTTP/1.1\r\n");
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  CHECK(loop.now() - begin == 60s);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a body that stops is 408 after body_timeout") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  co_await client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc");
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  CHECK(loop.now() - begin == 60s);
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().body_timeouts == 1);
}

TASK_TEST("http server: a body that trickles slower than body_rate is cut off in time") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  co_await client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
  // 100 bytes a second earn 0.2 s of the 60 s back.
  for (int second = 0; second < 74; ++second) {
    co_await client.send(std::string(100, 'x'));
    co_await pause(1s);
  }
  const std::string got = co_await client.receive_all();
  CHECK(got.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
  CHECK(loop.now() - begin < 76s);
  CHECK(loop.now() - begin > 70s);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a body that comes slowly but fast enough is taken, however long it takes") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
  for (int second = 0; second < 100; ++second) {
    co_await client.send(std::string(1000, 'x'));
    co_await pause(1s);
  }
  const std::string got = co_await client.receive_response();
  CHECK(got.ends_with("xxx"));
  CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: a client that does not read is reset after send_timeout") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/big"));
  co_await pause(61s);
  CHECK(at.server.counters().send_timeouts == 1);
  CHECK(at.server.counters().open == 0);
  const std::string got = co_await client.receive_all();
  CHECK(got.ends_with("<reset>"));
  co_await at.finish();
  CHECK(at.server.counters().aborted == 1);
}

TASK_TEST("http server: a client that reads slowly but steadily gets everything") {
  http::server_options options = quiet_options();
  options.send_piece = 64 << 10;
  rig at{loop, handle, options};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/big"));
  std::size_t received = 0;
  for (std::size_t last = 32 << 10; last == 32 << 10;) {
    const std::size_t wanted = received < (1 << 20) ? 32 << 10 : 1;
    const std::string got = co_await client.receive(wanted);
    last = got.size();
    received += last;
    co_await pause(20s);
  }
  CHECK(received > (1 << 20));
  client = {};
  co_await at.finish();
  CHECK(at.server.counters().send_timeouts == 0);
}

TASK_TEST("http server: the client may be given time to close first") {
  http::server_options options = quiet_options();
  options.close = net::departure::peer_first;
  options.client_close_grace = 2s;
  rig at{loop, handle, options};
  peer patient = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  co_await patient.send(get("/", "Connection: close\r\n"));
  const std::string got = co_await patient.receive_all();
  CHECK(got.ends_with("hello\n"));
  CHECK(loop.now() - begin == 2s);
  patient = {};
  peer quick = co_await connect(at.listener);
  co_await quick.send(get("/", "Connection: close\r\n"));
  const std::string response = co_await quick.receive_response();
  CHECK(response.ends_with("hello\n"));
  const runnel::time_point answered = loop.now();
  const auto finished = quick.stream().shutdown();
  CHECK(finished.has_value());
  const std::string rest = co_await quick.receive_all();
  CHECK(rest.empty());
  CHECK(loop.now() == answered);
  co_await at.finish();
}

TASK_TEST("http server: lingering is bounded in time and bytes") {
  http::server_options options = quiet_options();
  options.linger_bytes = 100'000;
  rig at{loop, handle, options};
  peer silent = co_await connect(at.listener);
  co_await silent.send("NONSENSE\r\n\r\n");
  const std::string got = co_await silent.receive_all();
  CHECK(got.starts_with("HTTP/1.1 400 Bad Request\r\n"));
  co_await pause(4s);
  CHECK(at.server.counters().open == 1);
  co_await pause(2s);
  CHECK(at.server.counters().open == 0);

  peer talker = co_await connect(at.listener);
  co_await talker.send("NONSENSE\r\n\r\n");
  std::size_t sent = 0;
  for (; sent < (1 << 20); sent += 10'000) {
    const std::string junk(10'000, 'x');
    const auto written = co_await talker.stream().write(std::as_bytes(std::span{junk}));
    if (!written) break;
    co_await pause(10ms);
  }
  CHECK(sent >= 90'000);
  CHECK(sent <= 130'000);
  co_await at.finish();
}
