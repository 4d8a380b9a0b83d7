#include "runnel/net/impair.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/tcp/stack.hpp"
#include "support.hpp"

// The server's ways to close over our TCP: who is left with the TIME_WAIT, and what arrives.

namespace http = runnel::http;
namespace net = runnel::net;
namespace tcp = runnel::tcp;
using namespace runnel::testing;
using namespace std::chrono_literals;
using net::departure;
using runnel::task;
using runnel::task_group;

namespace {

constexpr net::endpoint server_at{net::address::v4(10, 0, 0, 2), 80};

http::response answer(http::request& request) {
  if (request.path() == "/big") return http::response::text(std::string(300'000, 'b'));
  return http::response::literal("hello\n");
}

tcp::stack_options stack_at(const net::address& address) {
  tcp::stack_options options;
  options.addresses = {address};
  return options;
}

/// The server on a stack of its own, and a stack for its clients.
struct network {
  network(runnel::loop& owner, const http::server_options& options)
      : wire(net::link_pair_options{.latency = 1ms}),
        cutter(wire.first()),
        near(owner, cutter, stack_at(net::address::v4(10, 0, 0, 1))),
        far(owner, wire.second(), stack_at(server_at.address)),
        listener(far.listen(server_at).value()),
        server(owner, &answer, options),
        group(owner) {
    group.spawn(server.serve(listener));
  }
  void cut() {
    net::impairment all;
    all.loss = 1;
    cutter.set_outgoing(all);
    cutter.set_incoming(all);
  }
  task<tcp::stream> connect() {
    auto connected = co_await near.connect(server_at);
    co_return std::move(connected.value());
  }
  task<> finish() {
    server.drain();
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
  }
  std::size_t client_time_waits() { return near.engine().memory().time_wait; }
  std::size_t server_time_waits() { return far.engine().memory().time_wait; }

  net::link_pair wire;
  net::impair cutter;
  tcp::stack near;
  tcp::stack far;
  tcp::listener listener;
  http::server<http::response (*)(http::request&)> server;
  task_group group;
};

task<> ask(tcp::stream& over, std::string_view path, std::string_view fields) {
  const std::string text =
      "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n" + std::string(fields) + "\r\n";
  const auto sent = co_await over.write(std::as_bytes(std::span{text}));
  CHECK(sent.has_value());
}

/// What comes until the text ends with `last`, or the stream does.
task<std::string> read_until(tcp::stream& from, std::string_view last) {
  std::string text;
  std::array<std::byte, 4096> buffer;
  while (!text.ends_with(last) || last.empty()) {
    const auto got = co_await from.read(buffer);
    if (!got) co_return text + "<" + got.error().message() + ">";
    if (*got == 0) break;
    text.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
  co_return text;
}

http::server_options options_for(departure how) {
  http::server_options options = quiet_options();
  options.close = how;
  return options;
}

}  // namespace

TASK_TEST("S114 http server: it closes after Connection: close, and TIME_WAIT is the server's") {
  for (const departure how : {departure::graceful, departure::lingering}) {
    network at(loop, options_for(how));
    auto client = co_await at.connect();
    co_await ask(client, "/", "Connection: close\r\n");
    const std::string got = co_await read_until(client, "");
    CHECK(got.ends_with("hello\n"));
    const auto ended = co_await client.close();
    CHECK(ended.clean());
    co_await runnel::sleep(10ms);
    CHECK(at.server_time_waits() == 1);
    CHECK(at.client_time_waits() == 0);
    co_await at.finish();
  }
}

TASK_TEST("S118 http server: peer_first lets the client close, and TIME_WAIT is the client's") {
  network at(loop, options_for(departure::peer_first));
  auto client = co_await at.connect();
  co_await ask(client, "/", "Connection: close\r\n");
  const std::string got = co_await read_until(client, "hello\n");
  CHECK(got.find("Connection: close\r\n") != std::string::npos);
  co_await runnel::sleep(100ms);
  // Nobody waits for the client: the engine does.
  CHECK(at.server.counters().open == 0);
  CHECK(at.server.counters().left == 1);
  CHECK(at.far.engine().memory().orphans == 1);
  const auto ended = co_await client.close();
  CHECK(ended.clean());
  co_await runnel::sleep(10ms);
  CHECK(at.server_time_waits() == 0);
  CHECK(at.client_time_waits() == 1);
  CHECK(at.far.engine().memory().connections == 0);
  co_await at.finish();
}

TASK_TEST("S118 http server: a client that does not close first is closed after the grace") {
  http::server_options options = options_for(departure::peer_first);
  options.client_close_grace = 700ms;
  network at(loop, options);
  auto client = co_await at.connect();
  co_await ask(client, "/", "Connection: close\r\n");
  const auto begin = loop.now();
  const std::string got = co_await read_until(client, "");
  CHECK(got.ends_with("hello\n"));
  CHECK(loop.now() - begin >= 700ms);
  CHECK(loop.now() - begin < 720ms);
  const auto ended = co_await client.close();
  CHECK(ended.clean());
  co_await runnel::sleep(10ms);
  CHECK(at.server_time_waits() == 1);
  CHECK(at.client_time_waits() == 0);
  co_await at.finish();
}

TASK_TEST("S116 http server: after keepalive_requests it closes, or has the client close") {
  for (const departure how : {departure::lingering, departure::peer_first}) {
    http::server_options options = options_for(how);
    options.keepalive_requests = 3;
    network at(loop, options);
    auto client = co_await at.connect();
    for (int i = 0; i < 3; ++i) {
      co_await ask(client, "/", "");
      const std::string got = co_await read_until(client, "hello\n");
      CHECK((got.find("Connection: close\r\n") != std::string::npos) == (i == 2));
    }
    const auto ended = co_await client.close();
    CHECK(ended.clean());
    co_await runnel::sleep(10ms);
    CHECK(at.server.counters().keepalive_exhausted == 1);
    const bool client_first = how == departure::peer_first;
    CHECK(at.server_time_waits() == (client_first ? 0 : 1));
    CHECK(at.client_time_waits() == (client_first ? 1 : 0));
    co_await at.finish();
  }
}

TASK_TEST("S115 http server: an idle connection is closed after keepalive_timeout, by the server") {
  for (const departure how : {departure::graceful, departure::lingering, departure::peer_first}) {
    http::server_options options = options_for(how);
    options.keepalive_timeout = 60s;
    network at(loop, options);
    auto client = co_await at.connect();
    co_await ask(client, "/", "");
    const std::string got = co_await read_until(client, "hello\n");
    CHECK(got.ends_with("hello\n"));
    const auto answered = loop.now();
    const std::string rest = co_await read_until(client, "");
    CHECK(rest.empty());
    CHECK(loop.now() - answered >= 60s);
    CHECK(loop.now() - answered < 61s);
    const auto ended = co_await client.close();
    CHECK(ended.clean());
    co_await runnel::sleep(10ms);
    CHECK(at.server.counters().keepalive_timeouts == 1);
    CHECK(at.server_time_waits() == 1);
    CHECK(at.client_time_waits() == 0);
    co_await at.finish();
  }
}

TASK_TEST("S117 http server: a stuck client looks like a timeout, and its FIN is never answered") {
  http::server_options options = options_for(departure::lingering);
  options.keepalive_timeout = 60s;
  network at(loop, options);
  auto client = co_await at.connect();
  co_await ask(client, "/", "");
  const std::string got = co_await read_until(client, "hello\n");
  CHECK(got.ends_with("hello\n"));
  at.cut();
  co_await runnel::sleep(61s);
  CHECK(at.server.counters().keepalive_timeouts == 1);
  CHECK(at.server.counters().open == 0);
  CHECK(at.far.engine().memory().orphans == 1);
  co_await runnel::sleep(110s);
  // What tells them apart: nobody answered.
  CHECK(at.far.engine().counters().abort_on_timeout == 1);
  CHECK(at.far.engine().memory().orphans == 0);
  CHECK(at.server_time_waits() == 0);
  co_await at.finish();
}

TASK_TEST("S119 http server: one long connection instead of many short ones, one TIME_WAIT") {
  network at(loop, options_for(departure::lingering));
  for (int i = 0; i < 50; ++i) {
    auto client = co_await at.connect();
    co_await ask(client, "/", "Connection: close\r\n");
    const std::string got = co_await read_until(client, "");
    CHECK(got.ends_with("hello\n"));
    co_await client.close();
  }
  co_await runnel::sleep(10ms);
  CHECK(at.server_time_waits() == 50);
  auto client = co_await at.connect();
  for (int i = 0; i < 50; ++i) {
    co_await ask(client, "/", "");
    const std::string got = co_await read_until(client, "hello\n");
    CHECK(got.ends_with("hello\n"));
  }
  co_await client.close();
  co_await runnel::sleep(10ms);
  CHECK(at.server_time_waits() == 50);
  CHECK(at.client_time_waits() == 1);
  co_await at.finish();
}

TASK_TEST("http server: what a client sends behind a refused request does not destroy the answer") {
  for (const departure how : {departure::lingering, departure::peer_first}) {
    network at(loop, options_for(how));
    auto client = co_await at.connect();
    const std::string upload = "NONSENSE\r\n\r\n" + std::string(200'000, 'x');
    const auto sent = co_await client.write(std::as_bytes(std::span{upload}));
    CHECK(sent.has_value());
    co_await runnel::sleep(200ms);
    const auto more = co_await client.write(std::as_bytes(std::span{upload}));
    CHECK(more.has_value());
    // It goes on also when the time to close first is over.
    co_await runnel::sleep(http::server_options{}.client_close_grace);
    const auto late = co_await client.write(std::as_bytes(std::span{upload}));
    CHECK(late.has_value());
    co_await runnel::sleep(200ms);
    const std::string got = co_await read_until(client, "400 Bad Request\n");
    CHECK(got.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    CHECK(got.find('<') == std::string::npos);
    CHECK(at.far.engine().counters().out_rsts == 0);
    const auto ended = co_await client.close();
    CHECK(ended.clean());
    CHECK(at.server.counters().open == 0);
    co_await at.finish();
  }
}
