#include "client_support.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;
using runnel::task_group;

namespace {

/// Serves one request on the next connection and leaves the connection open.
task<> serve_one(client_rig& rig, peer& server, std::string answer) {
  server = co_await rig.accept();
  const std::string head = co_await receive_head(server);
  CHECK(head.ends_with("\r\n\r\n"));
  co_await server.send(answer);
}

/// A client with one kept connection, whose other end is `server`.
task<> keep_one(client_rig& rig, peer& server) {
  runnel::loop& owner = co_await runnel::this_loop();
  task_group group{owner};
  group.spawn(serve_one(rig, server, ok("first")));
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.body == "first");
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(rig.client.counters().idle == 1);
}

/// Reads a request on a kept connection and resets it, as a server does whose end of the stream
/// crossed the request; then serves the next connection.
task<> die_then_serve(client_rig& rig, peer& server, std::string answer_before_death) {
  const std::string head = co_await receive_head(server);
  CHECK(head.ends_with("\r\n\r\n"));
  if (!answer_before_death.empty()) co_await server.send(answer_before_death);
  if (answer_before_death.empty()) server.stream().abort();
  const auto how = co_await server.stream().close();
  static_cast<void>(how);
  auto next = co_await runnel::with_timeout(1s, rig.listener.accept());
  if (!next) co_return;
  peer second{std::move(*next)};
  const std::string again = co_await receive_head(second);
  CHECK(again == head);
  co_await second.send(ok("second"));
}

task<> fetch_into(client_rig& rig, const http::client_request& request, outcome& seen) {
  seen = co_await fetch(rig.client, request);
}

/// The outcome of a request whose kept connection dies under it.
task<outcome> over_dying_connection(client_rig& rig, const http::client_request& request,
                                    std::string answer_before_death = {}) {
  runnel::loop& owner = co_await runnel::this_loop();
  peer server;
  co_await keep_one(rig, server);
  outcome seen;
  task_group group{owner};
  group.spawn(die_then_serve(rig, server, std::move(answer_before_death)));
  group.spawn(fetch_into(rig, request, seen));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  co_return seen;
}

}  // namespace

TASK_TEST("http client pool: a kept connection that the server closed is not used") {
  client_rig rig{loop};
  peer server;
  co_await keep_one(rig, server);
  const auto finished = server.stream().shutdown();
  CHECK(finished.has_value());
  task_group group{loop};
  peer second;
  group.spawn(serve_one(rig, second, ok("second")));
  http::client_request post{http::method::post, "/"};
  const outcome seen = co_await fetch(rig.client, post);
  CHECK(seen.body == "second");
  CHECK_FALSE(seen.reused);
  CHECK(rig.client.counters().stale == 1);
  CHECK(rig.client.counters().retries == 0);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("http client pool: a kept connection on which the server spoke unasked is not used") {
  client_rig rig{loop};
  peer server;
  co_await keep_one(rig, server);
  co_await server.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
  task_group group{loop};
  peer second;
  group.spawn(serve_one(rig, second, ok("second")));
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.body == "second");
  CHECK(rig.client.counters().stale == 1);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("http client pool: a repeatable request is sent again when a kept connection dies") {
  client_rig rig{loop};
  http::client_request request{http::method::get, "/again"};
  const outcome seen = co_await over_dying_connection(rig, request);
  CHECK(seen.body == "second");
  CHECK_FALSE(seen.error);
  CHECK(rig.client.counters().retries == 1);
  CHECK(rig.client.counters().opened == 2);
}

TASK_TEST("http client pool: a POST is not sent again unless the program says that it may be") {
  for (const bool allowed : {false, true}) {
    client_rig rig{loop};
    http::client_request request{http::method::post, "/again"};
    if (allowed) request.repeatable(true);
    const outcome seen = co_await over_dying_connection(rig, request);
    CHECK(rig.client.counters().retries == (allowed ? 1 : 0));
    if (allowed) {
      CHECK(seen.body == "second");
    } else {
      CHECK(seen.error == std::errc::connection_reset);
    }
  }
}

TASK_TEST("http client pool: nothing is sent again once a byte of the response came") {
  client_rig rig{loop};
  http::client_request request{http::method::get, "/again"};
  const outcome seen = co_await over_dying_connection(rig, request, "H");
  CHECK(seen.error == http::errc::truncated);
  CHECK(rig.client.counters().retries == 0);
}

TASK_TEST("http client pool: it retries once only") {
  client_rig rig{loop};
  peer server;
  co_await keep_one(rig, server);
  outcome seen;
  task_group group{loop};
  http::client_request request{http::method::get, "/"};
  group.spawn(fetch_into(rig, request, seen));
  for (int i = 0; i < 2; ++i) {
    const std::string head = co_await receive_head(server);
    CHECK(!head.empty());
    server.stream().abort();
    if (i == 0) server = co_await rig.accept();
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(seen.error == std::errc::connection_reset);
  CHECK(rig.client.counters().retries == 1);
}

TASK_TEST("http client pool: a new connection that dies is not retried") {
  client_rig rig{loop};
  task_group group{loop};
  group.spawn(answer_each(rig, {}));
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.error);
  CHECK(rig.client.counters().retries == 0);
  CHECK(rig.client.counters().opened == 1);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("http client pool: bytes behind a response close its connection") {
  for (const std::string_view body : {"", "some body"}) {
    client_rig rig{loop};
    task_group group{loop};
    peer server;
    group.spawn(serve_one(rig, server, ok(body) + "HTTP/1.1 200 OK\r\n"));
    const outcome seen = co_await fetch(rig.client, "/");
    CHECK(seen.body == body);
    CHECK(rig.client.counters().idle == 0);
    CHECK(rig.client.counters().surplus == 1);
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
  }
}

TASK_TEST("http client pool: a response that is not read to its end closes its connection") {
  client_rig rig{loop};
  peer server;
  {
    task_group group{loop};
    group.spawn(serve_one(rig, server, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
    auto response = co_await rig.client.get(server_at, "/");
    REQUIRE(response.has_value());
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
  }
  CHECK(rig.client.counters().abandoned == 1);
  CHECK(rig.client.counters().busy == 0);
  const std::string rest = co_await server.receive_all();
  CHECK(rest == "<reset>");
}

TASK_TEST(
    "http client pool: a response of which all has come may be left, and frees its connection") {
  client_rig rig{loop};
  task_group group{loop};
  peer server;
  group.spawn(serve_one(rig, server, ok("all of it")));
  {
    auto response = co_await rig.client.get(server_at, "/");
    REQUIRE(response.has_value());
    CHECK(rig.client.counters().idle == 1);
    CHECK_FALSE(response->body().done());
  }
  CHECK(rig.client.counters().abandoned == 0);
  CHECK(rig.client.counters().idle == 1);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("http client pool: idle connections are closed after the time-out") {
  http::client_options options;
  options.idle_timeout = 10s;
  client_rig rig{loop, options};
  peer server;
  co_await keep_one(rig, server);
  const auto rested = co_await runnel::sleep(9s);
  CHECK(rested.has_value());
  CHECK(rig.client.counters().idle == 1);
  const auto more = co_await runnel::sleep(2s);
  CHECK(more.has_value());
  CHECK(rig.client.counters().idle == 0);
  CHECK(rig.client.counters().idle_timeouts == 1);
  const std::string rest = co_await server.receive_all();
  CHECK(rest.empty());
}

namespace {

/// Answers on none of its connections before all are there.
task<> serve_together(client_rig& rig, std::vector<peer>& servers) {
  for (peer& server : servers) server = co_await rig.accept();
  for (peer& server : servers) {
    const std::string head = co_await receive_head(server);
    CHECK(head.ends_with("\r\n\r\n"));
  }
  for (peer& server : servers) co_await server.send(ok("x"));
}

}  // namespace

TASK_TEST("http client pool: no more are kept than the limits say") {
  for (const bool per_endpoint : {true, false}) {
    http::client_options options;
    (per_endpoint ? options.max_idle_per_endpoint : options.max_idle) = 2;
    client_rig rig{loop, options};
    task_group group{loop};
    std::vector<peer> servers(4);
    std::vector<outcome> seen(4);
    http::client_request request{http::method::get, "/"};
    group.spawn(serve_together(rig, servers));
    for (outcome& one : seen) group.spawn(fetch_into(rig, request, one));
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    CHECK(rig.client.counters().opened == 4);
    CHECK(rig.client.counters().idle == 2);
    CHECK(rig.client.counters().evicted == 2);
  }
}
