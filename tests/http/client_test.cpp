#include <stdexcept>

#include "client_support.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using runnel::task;
using runnel::task_group;

namespace {

task<http::response> handle(http::request& request) {
  if (request.path() == "/echo") {
    auto body = co_await request.body().read_all();
    if (!body) co_return http::response::plain(http::status::internal_server_error);
    std::string said{request.method_text()};
    said.append(" ").append(request.headers().get("Content-Type")).append(" ").append(*body);
    co_return http::response::text(std::move(said), "text/plain");
  }
  if (request.path() == "/big") co_return http::response::text(std::string(100'000, 'b'));
  if (request.path() == "/nothing") co_return http::response{http::status::no_content};
  if (request.path() == "/unchanged") co_return http::response{http::status::not_modified};
  if (request.path() == "/host") co_return http::response::text(std::string{request.host()});
  co_return http::response::literal("hello\n");
}

using handler = task<http::response> (*)(http::request&);

struct both {
  explicit both(runnel::loop& owner, const http::client_options& options = {})
      : server(owner, &handle), connector(server.listener), client(owner, connector, options) {}

  rig<handler> server;
  net::pipe_connector connector;
  pipe_client client;
};

class pattern final : public http::body_source {
 public:
  pattern(std::uint64_t bytes, bool announced, std::uint64_t really)
      : left_(really), bytes_(bytes), announced_(announced) {}
  std::optional<std::uint64_t> size() const noexcept override {
    if (announced_) return bytes_;
    return std::nullopt;
  }
  task<runnel::result<std::size_t>> read(std::span<std::byte> into) override {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, into.size()));
    std::ranges::fill(into.first(size), std::byte{'p'});
    left_ -= size;
    co_return size;
  }

 private:
  std::uint64_t left_;
  std::uint64_t bytes_;
  bool announced_;
};

}  // namespace

TASK_TEST("http client: requests in turn share one connection") {
  both net{loop};
  for (int i = 0; i < 5; ++i) {
    const outcome seen = co_await fetch(net.client, "/");
    CHECK(seen.status == 200);
    CHECK(seen.body == "hello\n");
    CHECK(seen.reused == (i > 0));
  }
  CHECK(net.client.counters().opened == 1);
  CHECK(net.client.counters().reused == 4);
  CHECK(net.client.counters().idle == 1);
  CHECK(net.server.server.counters().accepted == 1);
  net.client.close_idle();
  CHECK(net.client.counters().idle == 0);
  co_await net.server.finish();
}

TASK_TEST("http client: every method, with and without a body") {
  both net{loop};
  auto posted = co_await net.client.post(server_at, "/echo", "abc", "text/x");
  const outcome post = co_await collect(std::move(posted));
  CHECK(post.body == "POST text/x abc");
  auto stored = co_await net.client.put(server_at, "/echo", "", "text/y");
  const outcome put = co_await collect(std::move(stored));
  CHECK(put.body == "PUT text/y ");
  auto gone = co_await net.client.delete_(server_at, "/echo");
  const outcome erased = co_await collect(std::move(gone));
  CHECK(erased.body == "DELETE  ");
  auto head = co_await net.client.head(server_at, "/big");
  REQUIRE(head.has_value());
  CHECK(head->headers().get("Content-Length") == "100000");
  CHECK(head->body().done());
  const outcome nothing = co_await fetch(net.client, "/nothing");
  CHECK(nothing.status == 204);
  const outcome unchanged = co_await fetch(net.client, "/unchanged");
  CHECK(unchanged.status == 304);
  CHECK(net.client.counters().opened == 1);
  net.client.close_idle();
  co_await net.server.finish();
}

TASK_TEST("http client: the host is the endpoint unless the request says it") {
  both net{loop};
  const outcome by_default = co_await fetch(net.client, "/host");
  CHECK(by_default.body == "127.0.0.1");
  http::client_request request{http::method::get, "/host"};
  request.header("Host", "example.org");
  const outcome named = co_await fetch(net.client, request);
  CHECK(named.body == "example.org");
  net.client.close_idle();
  co_await net.server.finish();
}

TASK_TEST("http client: a body is streamed, collected up to a limit, or thrown away") {
  both net{loop};
  {
    auto response = co_await net.client.get(server_at, "/big");
    REQUIRE(response.has_value());
    CHECK(response->body().size() == 100'000u);
    std::size_t total = 0;
    std::byte buffer[100];
    for (;;) {
      const auto got = co_await response->body().read(buffer);
      REQUIRE(got.has_value());
      if (*got == 0) break;
      total += *got;
    }
    CHECK(total == 100'000);
    CHECK(net.client.counters().idle == 1);
  }
  {
    auto response = co_await net.client.get(server_at, "/big");
    REQUIRE(response.has_value());
    const auto dropped = co_await response->body().discard();
    CHECK(dropped.value() == 100'000);
  }
  CHECK(net.client.counters().opened == 1);
  {
    auto response = co_await net.client.get(server_at, "/big");
    REQUIRE(response.has_value());
    const auto too_much = co_await response->body().read_all(50'000);
    REQUIRE(too_much.has_error());
    CHECK(too_much.error() == http::errc::body_too_large);
    const auto again = co_await response->body().read_all();
    CHECK(again.has_error());
    CHECK(net.client.counters().idle == 0);
  }
  auto whole = co_await net.client.get(server_at, "/big");
  REQUIRE(whole.has_value());
  const auto text = co_await whole->body().read_all(100'000);
  CHECK(text.value().size() == 100'000);
  net.client.close_idle();
  co_await net.server.finish();
}

TASK_TEST("http client: a body from a source, with a length and in chunks") {
  both net{loop};
  for (const bool announced : {true, false}) {
    http::client_request request{http::method::post, "/echo"};
    pattern source{300'000, announced, 300'000};
    auto response = co_await net.client.send(server_at, request, source);
    REQUIRE(response.has_value());
    const auto text = co_await response->body().read_all();
    CHECK(text.value() == "POST  " + std::string(300'000, 'p'));
  }
  CHECK(net.client.counters().opened == 1);
  http::client_request request{http::method::post, "/echo"};
  pattern liar{1000, true, 999};
  auto refused = co_await net.client.send(server_at, request, liar);
  REQUIRE(refused.has_error());
  CHECK(refused.error() == http::errc::body_mismatch);
  CHECK(net.client.counters().idle == 0);
  co_await net.server.finish();
}

TASK_TEST("http client: a request that closes has a connection of its own") {
  both net{loop};
  http::client_request request{http::method::get, "/"};
  request.close();
  for (int i = 0; i < 3; ++i) {
    const outcome seen = co_await fetch(net.client, request);
    CHECK(seen.body == "hello\n");
  }
  CHECK(net.client.counters().opened == 3);
  CHECK(net.client.counters().idle == 0);
  co_await net.server.finish();
}

TASK_TEST("http client: what goes on the wire") {
  http::client_options options;
  options.user_agent = "test";
  client_rig rig{loop, options};
  task_group group{loop};
  http::client_request request{http::method::put, "/a?b"};
  request.header("X-One", "1").set_body("body").close();
  group.spawn([](client_rig& at, const http::client_request& what) -> task<> {
    const outcome seen = co_await fetch(at.client, what);
    CHECK(seen.status == 200);
  }(rig, request));
  peer server = co_await rig.accept();
  const std::string expected =
      "PUT /a?b HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: test\r\nX-One: 1\r\n"
      "Content-Length: 4\r\nConnection: close\r\n\r\nbody";
  const std::string got = co_await server.receive(expected.size());
  CHECK(got == expected);
  co_await server.send(ok(""));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  const std::string rest = co_await server.receive_all();
  CHECK(rest.empty());
}

TASK_TEST("http client: a refused connection is an error") {
  client_rig rig{loop};
  rig.listener.close();
  const outcome seen = co_await fetch(rig.client, "/");
  CHECK(seen.error == std::errc::connection_refused);
  CHECK(rig.client.counters().connect_errors == 1);
}

TEST_CASE("http client: what is no request or no option is refused at once") {
  CHECK_THROWS_AS(http::client_request(http::method::get, ""), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request(http::method::get, "/a b"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request(http::method::get, "/a\r\nX: y"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request(http::method::get, "/a#b"), std::invalid_argument);
  CHECK_THROWS_AS(http::client_request(http::method::connect, "h:1"), std::invalid_argument);
  runnel::loop owner{runnel::loop_options{.simulated = 0}};
  net::pipe_listener listener{owner};
  net::pipe_connector connector{listener};
  http::client_options options;
  options.body_timeout = runnel::duration::zero();
  CHECK_THROWS_AS(pipe_client(owner, connector, options), std::invalid_argument);
  options = {};
  options.user_agent = "a\r\nb";
  CHECK_THROWS_AS(pipe_client(owner, connector, options), std::invalid_argument);
}
