#include "client_support.hpp"
#include "support/kill_test.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
using namespace runnel::testing;
using namespace std::chrono_literals;
using runnel::task;
using runnel::task_group;

namespace {

/// Waits in every place where a client waits for its server.
task<http::response> handle(http::request& request) {
  auto body = co_await request.body().read_all();
  if (!body) co_return http::response::plain(http::status::internal_server_error);
  const auto rested = co_await runnel::sleep(1ms);
  if (!rested) co_return http::response::plain(http::status::service_unavailable);
  if (request.path() == "/big") co_return http::response::text(std::string(5000, 'b'));
  co_return http::response::text(std::move(*body));
}

struct scene {
  explicit scene(runnel::loop& owner)
      : listener(owner, small_pipes()),
        server(owner, &handle, quiet_options()),
        connector(listener),
        client(owner, connector),
        group(owner) {
    group.spawn(server.serve(listener));
  }

  static net::pipe_listener_options small_pipes() {
    net::pipe_listener_options options;
    options.capacity = 1024;
    return options;
  }

  net::pipe_listener listener;
  http::server<task<http::response> (*)(http::request&)> server;
  net::pipe_connector connector;
  pipe_client client;
  task_group group;
};

/// Every kind of request in turn; errors are fine, as the task may be cancelled.
task<> talk(pipe_client& client) {
  for (int round = 0; round < 2; ++round) {
    const outcome small = co_await fetch(client, "/small");
    CHECK((small.error || small.status == 200));
    const outcome big = co_await fetch(client, "/big");
    CHECK((big.error || big.body.size() == 5000));
    http::client_request request{http::method::put, "/echo"};
    request.set_body(std::string(3000, 'u')).expect_continue();
    const outcome echoed = co_await fetch(client, request);
    CHECK((echoed.error || echoed.body.size() == 3000));
    auto left = co_await client.get(server_at, "/big");
    if (left && round == 0) {
      std::byte some[10];
      const auto got = co_await left->body().read(some);
      CHECK((got.has_error() || *got == 10));
    }
  }
}

task<> body(runnel::loop& owner, std::uint64_t) {
  scene all{owner};
  all.group.spawn(talk(all.client));
  all.group.spawn(talk(all.client));
  while (all.group.size() > 1) {
    const auto rested = co_await runnel::sleep(1ms);
    if (!rested) break;
  }
  CHECK((all.group.size() > 1 || all.client.counters().busy == 0));
  all.client.close_idle();
  all.server.drain();
  const auto joined = co_await all.group.join();
  CHECK((joined.has_value() || joined.error() == runnel::errc::cancelled));
  CHECK(all.client.counters().busy == 0);
}

task<runnel::result<std::uint64_t>> fetch_and_drop(pipe_client& client, std::string_view target) {
  auto response = co_await client.get(server_at, target);
  if (!response) co_return response.error();
  const auto length = co_await response->body().discard();
  co_return length;
}

constexpr stop_points everywhere{.times = 30, .passes = 40};

}  // namespace

TEST_CASE("http client: it may be destroyed wherever it waits") {
  kill_everywhere(&body, everywhere);
}

TEST_CASE("http client: it may be cancelled wherever it waits") {
  cancel_everywhere(&body, everywhere);
}

TASK_TEST("http client: a cancelled request leaves the others and the pool alone") {
  scene all{loop};
  for (int i = 0; i < 20; ++i) {
    const auto late = co_await runnel::with_timeout(i * 100us, fetch_and_drop(all.client, "/big"));
    CHECK((late.has_error() || *late == 5000));
    CHECK(all.client.counters().busy == 0);
    const outcome next = co_await fetch(all.client, "/small");
    CHECK(next.status == 200);
  }
  all.client.close_idle();
  all.server.drain();
  const auto joined = co_await all.group.join();
  CHECK(joined.has_value());
  CHECK(all.server.counters().open == 0);
}
