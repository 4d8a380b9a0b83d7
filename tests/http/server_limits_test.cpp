#include "support.hpp"

#include <random>

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

task<http::response> handle(http::request& request) {
  if (request.path() == "/wait") {
    const auto rested = co_await runnel::sleep(3s);
    if (!rested) co_return http::response::plain(http::status::service_unavailable);
  }
  if (request.path() == "/stuck") {
    const auto rested = co_await runnel::sleep(1000s);
    CHECK_FALSE(rested.has_value());
  }
  co_return http::response::literal("hello\n", "text/plain");
}

task<> pause(runnel::duration length) {
  const auto rested = co_await runnel::sleep(length);
  CHECK(rested.has_value());
}

constexpr std::string_view refused = "HTTP/1.1 503 Service Unavailable\r\n";

net::endpoint from(std::uint8_t last) {
  return {net::address::v4(10, 0, 0, last), 0};
}

}  // namespace

TASK_TEST("http server: connections over the limit get 503, and places become free again") {
  http::server_options options = quiet_options();
  options.max_connections = 2;
  rig at{loop, handle, options};
  peer first = co_await connect(at.listener);
  peer second = co_await connect(at.listener);
  peer third = co_await connect(at.listener);
  co_await third.send(get("/"));
  const std::string got = co_await third.receive_all();
  CHECK(got.starts_with(refused));
  CHECK_FALSE(got.ends_with("<reset>"));
  CHECK(at.server.counters().open == 2);
  co_await first.send(get("/", "Connection: close\r\n"));
  const std::string served = co_await first.receive_all();
  CHECK(served.ends_with("hello\n"));
  first = {};
  co_await pause(1s);
  peer fourth = co_await connect(at.listener);
  co_await fourth.send(get("/"));
  const std::string again = co_await fourth.receive_response();
  CHECK(again.ends_with("hello\n"));
  fourth = {};
  second = {};
  third = {};
  co_await at.finish();
  CHECK(at.server.counters().refused == 1);
  CHECK(at.server.counters().refused_source == 0);
}

TASK_TEST("http server: the limit per source does not touch others") {
  http::server_options options = quiet_options();
  options.max_connections_per_source = 3;
  rig at{loop, handle, options};
  std::vector<peer> held;
  for (std::uint8_t host = 1; host <= 20; ++host) {
    for (int i = 0; i < 3; ++i) held.push_back(co_await connect(at.listener, from(host)));
  }
  for (std::uint8_t host = 1; host <= 20; ++host) {
    peer over = co_await connect(at.listener, from(host));
    const std::string got = co_await over.receive_all();
    CHECK(got.starts_with(refused));
  }
  CHECK(at.server.counters().refused_source == 20);
  CHECK(at.server.counters().open == 60);
  held.clear();
  co_await pause(1s);
  CHECK(at.server.counters().open == 0);
  for (std::uint8_t host = 1; host <= 20; ++host) {
    peer fits = co_await connect(at.listener, from(host));
    co_await fits.send(get("/", "Connection: close\r\n"));
    const std::string got = co_await fits.receive_all();
    CHECK(got.ends_with("hello\n"));
  }
  co_await at.finish();
}

TASK_TEST("http server: the limit per source holds whatever the order of coming and going") {
  http::server_options options = quiet_options();
  options.max_connections_per_source = 2;
  options.linger_timeout = 1ms;
  rig at{loop, handle, options};
  std::mt19937 random{seed};
  std::vector<std::vector<peer>> held(200);
  std::uint64_t refusals = 0;
  std::size_t open = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::size_t host = random() % held.size();
    if (!held[host].empty() && random() % 3 == 0) {
      held[host].pop_back();
      --open;
    } else {
      const net::endpoint source{net::address::v4(10, 0, static_cast<std::uint8_t>(host % 7),
                                                  static_cast<std::uint8_t>(host)),
                                 0};
      peer next = co_await connect(at.listener, source);
      if (held[host].size() < 2) {
        held[host].push_back(std::move(next));
        ++open;
      } else {
        ++refusals;
      }
    }
    co_await pause(5ms);
    REQUIRE(at.server.counters().open == open);
    REQUIRE(at.server.counters().refused_source == refusals);
  }
  CHECK(refusals > 100);
  held.clear();
  co_await at.finish();
}

TASK_TEST("http server: refusals are bounded too") {
  http::server_options options = quiet_options();
  options.max_connections = 1;
  options.max_refusals = 2;
  rig at{loop, handle, options};
  std::vector<peer> all;
  for (int i = 0; i < 5; ++i) all.push_back(co_await connect(at.listener));
  co_await pause(1ms);
  CHECK(at.server.counters().accepted == 5);
  CHECK(at.server.counters().refused == 2);
  CHECK(at.server.counters().dropped == 2);
  const std::string dropped = co_await all[4].receive_all();
  CHECK(dropped == "<reset>");
  all.clear();
  co_await at.finish();
}

TASK_TEST("http server: a drain answers what was asked, closes what is idle, accepts nothing") {
  rig at{loop, handle};
  peer idle = co_await connect(at.listener);
  co_await idle.send(get("/"));
  const std::string answered = co_await idle.receive_response();
  CHECK(answered.ends_with("hello\n"));
  peer busy = co_await connect(at.listener);
  co_await busy.send(get("/wait"));
  peer fresh = co_await connect(at.listener);
  peer fresh_and_silent = co_await connect(at.listener);
  co_await pause(1s);
  const runnel::time_point begin = loop.now();
  at.server.drain();
  const std::string idle_rest = co_await idle.receive_all();
  CHECK(idle_rest.empty());
  CHECK(loop.now() - begin == 50ms);
  idle = {};
  const auto late = co_await at.listener.connect();
  CHECK_FALSE(late.has_value());
  co_await fresh.send(get("/"));
  const std::string fresh_answer = co_await fresh.receive_all();
  CHECK(fresh_answer.find("Connection: close\r\n") != std::string::npos);
  CHECK(fresh_answer.ends_with("hello\n"));
  fresh = {};
  const std::string silent_rest = co_await fresh_and_silent.receive_all();
  CHECK(silent_rest.empty());
  CHECK(loop.now() - begin == 1s);
  fresh_and_silent = {};
  const std::string busy_answer = co_await busy.receive_all();
  CHECK(busy_answer.find("Connection: close\r\n") != std::string::npos);
  CHECK(busy_answer.ends_with("hello\n"));
  busy = {};
  co_await at.finish();
  CHECK(loop.now() - begin == 2s);
  CHECK(at.server.counters().aborted == 0);
}

TASK_TEST("http server: a request that was on its way when the drain began is answered") {
  rig at{loop, handle};
  peer client = co_await connect(at.listener);
  co_await client.send(get("/"));
  const std::string first = co_await client.receive_response();
  CHECK(first.ends_with("hello\n"));
  co_await pause(1s);
  at.server.drain();
  co_await pause(40ms);
  co_await client.send(get("/"));
  const std::string second = co_await client.receive_all();
  CHECK(second.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(second.find("Connection: close\r\n") != std::string::npos);
  CHECK(second.ends_with("hello\n"));
  client = {};
  co_await at.finish();
}

TASK_TEST("http server: what does not end within drain_grace is reset") {
  rig at{loop, handle};
  peer stuck = co_await connect(at.listener);
  co_await stuck.send(get("/stuck"));
  co_await pause(1s);
  const runnel::time_point begin = loop.now();
  co_await at.finish();
  CHECK(loop.now() - begin == 10s);
  const std::string got = co_await stuck.receive_all();
  CHECK(got == "<reset>");
  CHECK(at.server.counters().aborted == 1);
}

namespace {

struct load_outcome {
  int answered = 0;
  int refused = 0;
  int broken = 0;
};

/// Asks over one connection after another until it is refused; every request must get its answer or
/// a clean end before any byte of one.
task<> load(net::pipe_listener& listener, load_outcome& outcome, bool keeps) {
  for (;;) {
    auto stream = co_await listener.connect();
    if (!stream) {
      ++outcome.refused;
      co_return;
    }
    peer client{std::move(*stream)};
    for (bool open = true; open;) {
      const std::string request = get("/", keeps ? "" : "Connection: close\r\n");
      const auto sent = co_await client.stream().write(std::as_bytes(std::span{request}));
      if (!sent) break;
      const std::string got = co_await client.receive_response();
      if (got.empty()) break;
      if (got.ends_with("hello\n")) {
        ++outcome.answered;
      } else {
        ++outcome.broken;
      }
      open = got.find("Connection: close\r\n") == std::string::npos;
      co_await pause(1ms);
    }
  }
}

}  // namespace

TASK_TEST("http server: a drain under load loses no answer") {
  rig at{loop, handle};
  load_outcome outcome;
  runnel::task_group clients{loop};
  for (int i = 0; i < 50; ++i) clients.spawn(load(at.listener, outcome, i % 2 == 0));
  co_await pause(100ms);
  co_await at.finish();
  const auto ended = co_await clients.join();
  CHECK(ended.has_value());
  CHECK(outcome.refused == 50);
  CHECK(outcome.broken == 0);
  CHECK(outcome.answered > 1000);
  CHECK(at.server.counters().requests == static_cast<std::uint64_t>(outcome.answered));
  CHECK(at.server.counters().aborted == 0);
}

TASK_TEST("http server: cancelling serve resets the connections and ends") {
  net::pipe_listener listener{loop};
  http::server server{loop, handle, quiet_options()};
  runnel::task_group group{loop};
  group.spawn(server.serve(listener));
  peer idle = co_await connect(listener);
  peer busy = co_await connect(listener);
  co_await busy.send(get("/stuck"));
  co_await pause(1s);
  group.cancel();
  const auto ended = co_await group.join();
  static_cast<void>(ended);
  CHECK(server.counters().open == 0);
  const std::string got = co_await busy.receive_all();
  CHECK(got == "<reset>");
}

TASK_TEST("http server: a serve that begins after the drain ends at once") {
  net::pipe_listener listener{loop};
  http::server server{loop, handle, quiet_options()};
  server.drain();
  const auto ended = co_await server.serve(listener);
  CHECK(ended.has_value());
}
