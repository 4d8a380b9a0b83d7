#include "client_support.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;
using runnel::task_group;

namespace {

task<> fetch_into(client_rig& rig, const http::client_request& request, outcome& seen) {
  seen = co_await fetch(rig.client, request);
}

http::client_request upload(std::size_t bytes) {
  http::client_request request{http::method::put, "/"};
  request.set_body(std::string(bytes, 'u'));
  return request;
}

}  // namespace

TASK_TEST("http client time: a connection that does not open") {
  http::client_options options;
  options.connect_timeout = 3s;
  net::pipe_listener_options pipes;
  pipes.backlog = 1;
  client_rig rig{loop, options, pipes};
  auto filler = co_await rig.listener.connect();
  CHECK(filler.has_value());
  const auto before = loop.now();
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.error == runnel::errc::deadline_exceeded);
  CHECK(loop.now() - before == 3s);
}

TASK_TEST("http client time: a header and a body that do not come") {
  http::client_options options;
  options.header_timeout = 5s;
  options.body_timeout = 7s;
  client_rig rig{loop, options};
  for (const std::string_view begun : {"", "HTTP/1.1 200", "HTTP/1.1 100 Continue\r\n\r\n"}) {
    outcome seen;
    task_group group{loop};
    const http::client_request request{http::method::get, "/"};
    const auto before = loop.now();
    group.spawn(fetch_into(rig, request, seen));
    peer server = co_await rig.accept();
    co_await server.send(begun);
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    CHECK(seen.error == http::errc::timed_out);
    CHECK(loop.now() - before == 5s);
  }
  CHECK(rig.client.counters().header_timeouts == 3);
  outcome seen;
  task_group group{loop};
  const http::client_request request{http::method::get, "/"};
  const auto before = loop.now();
  group.spawn(fetch_into(rig, request, seen));
  peer server = co_await rig.accept();
  co_await server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  const auto rested = co_await runnel::sleep(6s);
  CHECK(rested.has_value());
  co_await server.send("1");
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(seen.error == http::errc::timed_out);
  CHECK(seen.body == "1");
  CHECK(loop.now() - before == 13s);
  CHECK(rig.client.counters().body_timeouts == 1);
}

TASK_TEST("http client time: a request that the server does not take") {
  http::client_options options;
  options.send_timeout = 4s;
  client_rig rig{loop, options};
  task_group group{loop};
  const http::client_request request = upload(1'000'000);
  outcome seen;
  const auto before = loop.now();
  group.spawn(fetch_into(rig, request, seen));
  peer server = co_await rig.accept();
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(seen.error == http::errc::timed_out);
  CHECK(loop.now() - before == 4s);
}

TASK_TEST("http client time: a deadline for the whole closes the connection") {
  client_rig rig{loop};
  const auto late = co_await runnel::with_timeout(2s, rig.client.get(server_at, "/"));
  REQUIRE(late.has_error());
  CHECK(late.error() == runnel::errc::deadline_exceeded);
  CHECK(rig.client.counters().busy == 0);
  CHECK(rig.client.counters().idle == 0);
  peer server = co_await rig.accept();
  const std::string got = co_await server.receive_all();
  CHECK(got.ends_with("<reset>"));
}

TASK_TEST("http client time: 100 (Continue) is waited for, but not for ever") {
  client_rig rig{loop};
  http::client_request request = upload(10);
  request.expect_continue();
  for (const bool permitted : {true, false}) {
    outcome seen;
    task_group group{loop};
    group.spawn(fetch_into(rig, request, seen));
    peer server = co_await rig.accept();
    const std::string head = co_await receive_head(server);
    CHECK(head.find("Expect: 100-continue\r\n") != std::string::npos);
    const auto asked = loop.now();
    if (permitted) co_await server.send("HTTP/1.1 100 Continue\r\n\r\n");
    const std::string body = co_await server.receive(10);
    CHECK(body == "uuuuuuuuuu");
    CHECK(loop.now() - asked == (permitted ? 0s : 1s));
    co_await server.send(ok("done", "Connection: close\r\n"));
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    CHECK(seen.body == "done");
  }
}

TASK_TEST("http client time: a server that refuses the body is spared it") {
  client_rig rig{loop};
  http::client_request request = upload(10);
  request.expect_continue();
  outcome seen;
  task_group group{loop};
  group.spawn(fetch_into(rig, request, seen));
  peer server = co_await rig.accept();
  const std::string head = co_await receive_head(server);
  co_await server.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(seen.status == 417);
  CHECK(rig.client.counters().idle == 0);
  const std::string rest = co_await server.receive_all();
  CHECK(rest.empty());
}

TASK_TEST("http client time: a server that answers before it has taken the request is heard") {
  client_rig rig{loop};
  const http::client_request request = upload(1'000'000);
  outcome seen;
  task_group group{loop};
  group.spawn(fetch_into(rig, request, seen));
  {
    peer server = co_await rig.accept();
    const std::string head = co_await receive_head(server);
    co_await server.send("HTTP/1.1 413 Large\r\nContent-Length: 3\r\n\r\nno!");
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(seen.status == 413);
  CHECK(rig.client.counters().idle == 0);
}
