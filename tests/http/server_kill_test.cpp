#include "support.hpp"

#include "runnel/event.hpp"
#include "runnel/net/http/detail/eager.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;

namespace {

task<http::response> handle(http::request& request) {
  if (request.path() == "/echo") {
    auto body = co_await request.body().read_all();
    if (!body) co_return http::response::plain(http::status::internal_server_error);
    co_return http::response::text(std::move(*body), "text/plain");
  }
  if (request.path() == "/wait") {
    const auto rested = co_await runnel::sleep(1s);
    if (!rested) co_return http::response::plain(http::status::service_unavailable);
  }
  if (request.path() == "/big")
    co_return http::response::text(std::string(5000, 'b'), "text/plain");
  co_return http::response::literal("hello\n", "text/plain");
}

/// One client that uses every path through a connection; errors are fine, as the server may go
/// away.
task<> talk(net::pipe_listener& listener) {
  for (const bool last : {false, true}) {
    auto stream = co_await listener.connect();
    if (!stream) co_return;
    peer client{std::move(*stream)};
    const std::string text =
        get("/") + get("/wait") + get("/big") +
        "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n";
    const auto sent = co_await client.stream().write(std::as_bytes(std::span{text}));
    if (!sent) continue;
    for (int i = 0; i < 3; ++i) {
      const std::string got = co_await client.receive_response();
      CHECK((got.empty() || got.starts_with("HTTP/1.1 200 OK\r\n")));
    }
    const std::string interim = co_await client.receive(25);
    CHECK((interim.empty() || interim == "HTTP/1.1 100 Continue\r\n\r\n"));
    const std::string body(3000, 'x');
    const auto more = co_await client.stream().write(std::as_bytes(std::span{body}));
    if (!more) continue;
    const std::string end = last ? "NONSENSE\r\n\r\n" : get("/", "Connection: close\r\n");
    const auto closing = co_await client.stream().write(std::as_bytes(std::span{end}));
    if (!closing) continue;
    const std::string got = co_await client.receive_all();
    CHECK((got.empty() || got.ends_with("<reset>") || got.starts_with("HTTP/1.1 200 OK\r\n")));
  }
}

struct scene {
  scene(runnel::loop& owner, std::size_t act_at)
      : log{.owner = &owner, .entries = {}, .act_at = act_at, .act = {}},
        listener(owner, small_pipes()),
        logged(listener, log),
        server(owner, handle, quiet_options()) {}

  static net::pipe_listener_options small_pipes() {
    net::pipe_listener_options options;
    options.capacity = 1024;
    return options;
  }

  operation_log log;
  net::pipe_listener listener;
  logged_listener logged;
  http::server<task<http::response> (*)(http::request&)> server;
};

}  // namespace

TASK_TEST("http server: it may be cancelled at every operation") {
  std::size_t operations = 0;
  for (std::size_t act_at = 1;; ++act_at) {
    CAPTURE(act_at);
    scene at{loop, act_at};
    runnel::task_group serving{loop, runnel::on_failure::collect};
    at.log.act = [&serving, &at] {
      serving.cancel();
      at.listener.close();
    };
    serving.spawn(at.server.serve(at.logged));
    runnel::task_group client{loop};
    client.spawn(talk(at.listener));
    const auto served = co_await client.join();
    CHECK(served.has_value());
    const bool reached = at.log.entries.size() >= act_at;
    serving.cancel();
    const auto ended = co_await serving.join();
    static_cast<void>(ended);
    CHECK(at.server.counters().open == 0);
    CHECK(at.server.counters().busy == 0);
    operations = act_at;
    if (!reached) break;
  }
  CHECK(operations > 30);
}

TASK_TEST("http server: it may be drained at every operation") {
  for (std::size_t act_at = 1;; ++act_at) {
    CAPTURE(act_at);
    scene at{loop, act_at};
    runnel::task_group serving{loop};
    at.log.act = [&at] { at.server.drain(); };
    serving.spawn(at.server.serve(at.logged));
    runnel::task_group client{loop};
    client.spawn(talk(at.listener));
    const auto served = co_await client.join();
    CHECK(served.has_value());
    const bool reached = at.log.entries.size() >= act_at;
    at.server.drain();
    const auto ended = co_await serving.join();
    CHECK(ended.has_value());
    CHECK(at.server.counters().open == 0);
    CHECK(at.server.counters().aborted == 0);
    if (!reached) break;
  }
}

namespace {

task<int> whole_scene(runnel::loop& owner, std::size_t act_at, runnel::event& now, bool& reached) {
  scene at{owner, act_at};
  at.log.act = [&now, &reached] {
    reached = true;
    now.set();
  };
  runnel::task_group serving{owner, runnel::on_failure::collect};
  serving.spawn(at.server.serve(at.logged));
  runnel::task_group client{owner};
  client.spawn(talk(at.listener));
  const auto served = co_await client.join();
  static_cast<void>(served);
  serving.cancel();
  const auto ended = co_await serving.join();
  static_cast<void>(ended);
  now.set();
  co_return 0;
}

}  // namespace

TASK_TEST("http server: it may be destroyed with all its connections at every operation") {
  for (std::size_t act_at = 1;; ++act_at) {
    CAPTURE(act_at);
    bool reached = false;
    runnel::event now;
    {
      auto running = http::detail::run_eagerly(whole_scene(loop, act_at, now, reached));
      co_await running.start();
      const auto acted = co_await now.wait();
      CHECK(acted.has_value());
    }
    if (!reached) break;
  }
}
