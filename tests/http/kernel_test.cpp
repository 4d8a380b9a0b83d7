#include "support.hpp"

#include <memory>
#include <optional>
#include <string>

#include "runnel/net/http/client.hpp"
#include "runnel/net/http/server.hpp"
#include "runnel/net/kernel/tcp.hpp"
#include "runnel/task_group.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using net::kernel::tcp_connector;
using net::kernel::tcp_listener;
using net::kernel::tcp_stream;
using runnel::result;
using runnel::task;
using runnel::task_group;

namespace {

constexpr std::size_t big_size = 3'000'000;

/// A body whose length nobody knows beforehand.
class letters final : public http::body_source {
 public:
  explicit letters(std::size_t size) noexcept : left_(size) {}
  task<result<std::size_t>> read(std::span<std::byte> into) override {
    const std::size_t count = std::min({into.size(), left_, std::size_t{1000}});
    std::fill_n(into.begin(), count, std::byte{'x'});
    left_ -= count;
    co_return count;
  }

 private:
  std::size_t left_;
};

task<http::response> answer(http::request& request) {
  if (request.path() == "/big") co_return http::response::text(std::string(big_size, 'b'));
  if (request.path() == "/chunked") {
    co_return http::response::stream(std::make_unique<letters>(50'000), "text/plain");
  }
  if (request.path() == "/last") co_return http::response::literal("bye\n").close();
  if (request.path() == "/echo") {
    auto body = co_await request.body().read_all();
    if (!body) co_return http::response::plain(http::status::bad_request);
    co_return http::response::text(std::move(*body));
  }
  co_return http::response::literal("hello\n");
}

using kernel_client = http::client<tcp_connector>;

/// The server and the client that other tests run over pipes and over our own TCP.
struct kernel_rig {
  explicit kernel_rig(runnel::loop& owner, const http::server_options& options = quiet_options())
      : listener(tcp_listener::listen(owner, {net::address::v4(127, 0, 0, 1), 0}).value()),
        at(listener.local_endpoint()),
        connector(owner),
        server(owner, &answer, options),
        client(owner, connector),
        group(owner) {
    group.spawn(server.serve(listener));
  }

  task<> finish() {
    client.close_idle();
    server.drain();
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    CHECK(server.counters().open == 0);
  }

  tcp_listener listener;
  net::endpoint at;
  tcp_connector connector;
  http::server<task<http::response> (*)(http::request&)> server;
  kernel_client client;
  task_group group;
};

task<> expect_body(kernel_rig& rig, std::string_view target, std::size_t size) {
  auto response = co_await rig.client.get(rig.at, target);
  REQUIRE(response.has_value());
  const auto length = co_await response->body().discard();
  CHECK(length == result<std::uint64_t>(size));
}

task<> fetch_some(kernel_rig& rig, int count, int& answered) {
  for (int i = 0; i < count; ++i) {
    if (i % 10 == 9) {
      co_await expect_body(rig, "/big", big_size);
    } else if (i % 10 == 5) {
      co_await expect_body(rig, "/chunked", 50'000);
    } else {
      co_await expect_body(rig, "/hello", 6);
    }
    ++answered;
  }
}

}  // namespace

RING_TASK_TEST("http over kernel TCP: many requests over few connections") {
  kernel_rig rig{loop};
  task_group group{loop};
  int answered = 0;
  for (int i = 0; i < 8; ++i) group.spawn(fetch_some(rig, 30, answered));
  co_await group.join();
  CHECK(answered == 240);
  CHECK(rig.client.counters().opened == 8);
  CHECK(rig.client.counters().retries == 0);
  CHECK(rig.server.counters().requests == 240);
  co_await rig.finish();
}

RING_TASK_TEST("http over kernel TCP: a body that is sent comes back") {
  kernel_rig rig{loop};
  http::client_request request{http::method::post, "/echo"};
  request.set_body(std::string(900'000, 'q'));
  auto response = co_await rig.client.send(rig.at, request);
  REQUIRE(response.has_value());
  const auto body = co_await response->body().read_all();
  CHECK((body.value() == std::string(900'000, 'q')));
  co_await rig.finish();
}

RING_TASK_TEST("http over kernel TCP: each way to close gives the whole response") {
  for (const auto how :
       {net::departure::graceful, net::departure::lingering, net::departure::peer_first}) {
    http::server_options options = quiet_options();
    options.close = how;
    kernel_rig rig{loop, options};
    for (int i = 0; i < 3; ++i) {
      co_await expect_body(rig, "/hello", 6);
      co_await expect_body(rig, "/last", 4);
    }
    CHECK(rig.client.counters().opened == 3);
    co_await rig.finish();
    CHECK(rig.server.counters().left == (how == net::departure::graceful ? 0 : 3));
  }
}

RING_TASK_TEST("http over kernel TCP: an unread body resets the connection, and nothing is left") {
  kernel_rig rig{loop};
  {
    auto response = co_await rig.client.get(rig.at, "/big");
    REQUIRE(response.has_value());
    std::byte some[10];
    const auto got = co_await response->body().read(some);
    CHECK(got == result<std::size_t>(10));
  }
  CHECK(rig.client.counters().abandoned == 1);
  co_await expect_body(rig, "/hello", 6);
  co_await rig.finish();
}

RING_TASK_TEST("http over kernel TCP: a server that is gone is told") {
  kernel_rig rig{loop};
  co_await expect_body(rig, "/hello", 6);
  const net::endpoint at = rig.at;
  co_await rig.finish();
  auto response = co_await rig.client.get(at, "/hello");
  CHECK(response.error() == std::errc::connection_refused);
}
