#include "client_support.hpp"
#include "runnel/net/impair.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/tcp/stack.hpp"

namespace http = runnel::http;
namespace net = runnel::net;
namespace tcp = runnel::tcp;
using namespace runnel::testing;
using namespace std::chrono_literals;
using runnel::task;
using runnel::task_group;

namespace {

constexpr auto near_address = net::address::v4(10, 0, 0, 1);
constexpr auto far_address = net::address::v4(10, 0, 0, 2);
constexpr net::endpoint far_at{far_address, 80};

tcp::stack_options stack_at(const net::address& address) {
  tcp::stack_options options;
  options.addresses = {address};
  return options;
}

http::response answer(http::request& request) {
  if (request.path() == "/big") return http::response::text(std::string(300'000, 'b'));
  return http::response::literal("hello\n");
}

using tcp_client = http::client<tcp::stack>;

/// Our client and our server, each on a stack of its own, with a wire between them.
struct network {
  explicit network(runnel::loop& owner, const http::server_options& options = quiet_options(),
                   const net::impair_options& faults = {})
      : wire(net::link_pair_options{.latency = 1ms}),
        lossy(wire.first(), faults),
        near(owner, lossy, stack_at(near_address)),
        far(owner, wire.second(), stack_at(far_address)),
        listener(far.listen(far_at).value()),
        server(owner, &answer, options),
        client(owner, near),
        group(owner) {
    group.spawn(server.serve(listener));
  }

  task<> finish() {
    client.close_idle();
    server.drain();
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    const auto near_idle = co_await near.idle();
    CHECK(near_idle.has_value());
    const auto far_idle = co_await far.idle();
    CHECK(far_idle.has_value());
    CHECK(near.engine().memory().connections == 0);
  }

  net::link_pair wire;
  net::impair lossy;
  tcp::stack near;
  tcp::stack far;
  tcp::listener listener;
  http::server<http::response (*)(http::request&)> server;
  tcp_client client;
  task_group group;
};

task<> fetch_some(tcp_client& client, int count, int& answered) {
  for (int i = 0; i < count; ++i) {
    const bool big = i % 10 == 9;
    const std::string_view target = big ? "/big" : "/hello";
    auto response = co_await client.get(far_at, target);
    REQUIRE(response.has_value());
    const auto length = co_await response->body().discard();
    CHECK(length.value() == (big ? 300'000u : 6u));
    ++answered;
  }
}

task<> fetch_together(network& net, int tasks, int each) {
  runnel::loop& owner = co_await runnel::this_loop();
  task_group group{owner};
  int answered = 0;
  for (int i = 0; i < tasks; ++i) group.spawn(fetch_some(net.client, each, answered));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(answered == tasks * each);
}

}  // namespace

TASK_TEST("http client over tcp: many requests over few connections") {
  network net{loop};
  co_await fetch_together(net, 8, 50);
  CHECK(net.client.counters().opened == 8);
  CHECK(net.client.counters().retries == 0);
  CHECK(net.server.counters().requests == 400);
  co_await net.finish();
}

TASK_TEST("http client over tcp: loss, reordering and duplication change nothing") {
  net::impair_options faults;
  faults.seed = seed + 1;
  faults.outgoing.loss = faults.incoming.loss = 0.02;
  faults.outgoing.reorder = faults.incoming.reorder = 0.02;
  faults.outgoing.duplicate = faults.incoming.duplicate = 0.02;
  network net{loop, quiet_options(), faults};
  co_await fetch_together(net, 4, 20);
  co_await net.finish();
}

TASK_TEST("http client over tcp: a server that closes idle connections is no failure") {
  http::server_options options = quiet_options();
  options.keepalive_timeout = 100ms;
  network net{loop, options};
  // Around the moment when the end of the stream and the next request cross.
  for (int i = 0; i < 40; ++i) {
    int answered = 0;
    co_await fetch_some(net.client, 1, answered);
    CHECK(answered == 1);
    const auto rested = co_await runnel::sleep(95ms + i * 250us);
    CHECK(rested.has_value());
  }
  CHECK(net.client.counters().failures == 0);
  CHECK(net.client.counters().stale > 0);
  CHECK(net.client.counters().retries > 0);
  co_await net.finish();
}

TASK_TEST("http client over tcp: a server that limits requests per connection") {
  http::server_options options = quiet_options();
  options.keepalive_requests = 3;
  network net{loop, options};
  int answered = 0;
  co_await fetch_some(net.client, 9, answered);
  CHECK(net.client.counters().opened == 3);
  CHECK(net.client.counters().retries == 0);
  co_await net.finish();
}

TASK_TEST("http client over tcp: an unread body resets the connection, and nothing is left") {
  network net{loop};
  {
    auto response = co_await net.client.get(far_at, "/big");
    REQUIRE(response.has_value());
    std::byte some[10];
    const auto got = co_await response->body().read(some);
    CHECK(got.value() == 10);
  }
  CHECK(net.client.counters().abandoned == 1);
  co_await net.finish();
}
