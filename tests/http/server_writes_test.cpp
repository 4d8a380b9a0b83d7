#include "support.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

task<http::response> handle(http::request& request) {
  if (request.path() == "/wait") {
    const auto rested = co_await runnel::sleep(1s);
    CHECK(rested.has_value());
  }
  co_return http::response::literal("hello\n", "text/plain");
}

}  // namespace

TASK_TEST("http server: header and body of a small response are one write") {
  operation_log log{.owner = &loop, .entries = {}, .act_at = 0, .act = {}};
  net::pipe_listener listener{loop};
  logged_listener logged{listener, log};
  http::server server{loop, handle, quiet_options()};
  runnel::task_group group{loop};
  group.spawn(server.serve(logged));
  peer client = co_await connect(listener);
  for (std::size_t i = 1; i <= 3; ++i) {
    co_await client.send(get("/hello"));
    const std::string got = co_await client.receive_response();
    CHECK(got.ends_with("hello\n"));
    CHECK(log.count("write") == i);
  }
  client = {};
  server.drain();
  const auto ended = co_await group.join();
  CHECK(ended.has_value());
}

TASK_TEST("http server: the end of the stream follows the last response in the same turn") {
  operation_log log{.owner = &loop, .entries = {}, .act_at = 0, .act = {}};
  net::pipe_listener listener{loop};
  logged_listener logged{listener, log};
  http::server server{loop, handle, quiet_options()};
  runnel::task_group group{loop};
  group.spawn(server.serve(logged));
  peer client = co_await connect(listener);
  co_await client.send(get("/hello", "Connection: close\r\n"));
  const std::string got = co_await client.receive_all();
  CHECK(got.ends_with("hello\n"));
  client = {};
  server.drain();
  const auto ended = co_await group.join();
  CHECK(ended.has_value());
  const auto at = [&log](std::string_view what) {
    return std::ranges::find_if(log.entries, [&](const auto& entry) { return entry.what == what; });
  };
  REQUIRE(log.count("write") == 1);
  REQUIRE(log.count("shutdown") == 1);
  CHECK(at("shutdown") == at("write") + 1);
  CHECK(at("shutdown")->turn == at("write")->turn);
}

TASK_TEST("http server: responses to a pipelined batch are one write") {
  operation_log log{.owner = &loop, .entries = {}, .act_at = 0, .act = {}};
  net::pipe_listener listener{loop};
  logged_listener logged{listener, log};
  http::server server{loop, handle, quiet_options()};
  runnel::task_group group{loop};
  group.spawn(server.serve(logged));
  peer client = co_await connect(listener);
  std::string requests;
  for (int i = 0; i < 20; ++i) requests += get("/hello");
  co_await client.send(requests);
  for (int i = 0; i < 20; ++i) {
    const std::string got = co_await client.receive_response();
    CHECK(got.ends_with("hello\n"));
  }
  CHECK(log.count("write") == 1);
  client = {};
  server.drain();
  const auto ended = co_await group.join();
  CHECK(ended.has_value());
}

TASK_TEST("http server: a handler that waits does not hold back the responses before it") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  const runnel::time_point begin = loop.now();
  co_await client.send(get("/hello") + get("/wait") + get("/hello"));
  const std::string first = co_await client.receive_response();
  CHECK(first.ends_with("hello\n"));
  CHECK(loop.now() - begin < 1s);
  const std::string second = co_await client.receive_response();
  const std::string third = co_await client.receive_response();
  CHECK(second.ends_with("hello\n"));
  CHECK(third.ends_with("hello\n"));
  CHECK(loop.now() - begin >= 1s);
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: an idle connection waits in readable and reads nothing ahead") {
  operation_log log{.owner = &loop, .entries = {}, .act_at = 0, .act = {}};
  net::pipe_listener listener{loop};
  logged_listener logged{listener, log};
  http::server server{loop, handle, quiet_options()};
  runnel::task_group group{loop};
  group.spawn(server.serve(logged));
  peer client = co_await connect(listener);
  co_await client.send(get("/hello"));
  const std::string got = co_await client.receive_response();
  CHECK(got.ends_with("hello\n"));
  const auto rested = co_await runnel::sleep(1s);
  CHECK(rested.has_value());
  CHECK(log.entries.back().what == "readable");
  CHECK(log.count("read") == 1);
  CHECK(server.counters().open == 1);
  CHECK(server.counters().busy == 0);
  client = {};
  server.drain();
  const auto ended = co_await group.join();
  CHECK(ended.has_value());
}
