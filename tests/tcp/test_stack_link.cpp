#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// The stack on links that are narrow, instant or lossy: nothing may stand still.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<> echo_all(tcp::listener& on, int connections, task_group& group) {
  const auto echoes = [](tcp::stream accepted) -> task<> {
    tcp::stream at = std::move(accepted);
    std::vector<std::byte> buffer(5'000);
    for (;;) {
      const auto got = co_await at.read(buffer);
      REQUIRE(got.has_value());
      if (*got == 0) break;
      const auto sent = co_await at.write(std::span<const std::byte>(buffer).first(*got));
      REQUIRE(sent.has_value());
    }
    const auto ended = co_await at.close();
    CHECK(ended.clean());
  };
  for (int i = 0; i < connections; ++i) {
    auto accepted = co_await on.accept();
    REQUIRE(accepted.has_value());
    group.spawn(echoes(std::move(*accepted)));
  }
}

task<> write_all(tcp::stream& to, std::string_view text) {
  const auto sent = co_await to.write(bytes_of(text));
  CHECK(sent.value() == text.size());
  CHECK(to.shutdown().has_value());
}

task<> ask_echo(tcp::stack& from, std::string text) {
  auto connected = co_await from.connect(server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream at = std::move(*connected);
  loop& on_loop = co_await this_loop();
  task_group group{on_loop};
  group.spawn(write_all(at, text));
  const std::string got = co_await read_to_end(at);
  CHECK(got.size() == text.size());
  CHECK(got == text);
  co_await group.join();
  const auto ended = co_await at.close();
  CHECK(ended.clean());
}

task<> run_echoes(network& both, int connections, std::size_t bytes) {
  auto listener = both.listen();
  loop& on_loop = co_await this_loop();
  task_group group{on_loop};
  group.spawn(echo_all(listener, connections, group));
  for (int i = 0; i < connections; ++i) {
    group.spawn(ask_echo(both.client, pattern(bytes + static_cast<std::size_t>(i))));
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  co_await both.client.idle();
  co_await both.server.idle();
  CHECK(both.client.engine().memory().buffer_bytes == 0);
  CHECK(both.server.engine().memory().buffer_bytes == 0);
}

}  // namespace

TASK_TEST("tcp link: a queue of one packet, or a few, only slows down") {
  for (const std::size_t queue : {1U, 2U, 7U, 64U}) {
    for (const auto latency : {0us, 100us}) {
      CAPTURE(queue);
      CAPTURE(latency.count());
      network both(loop, {}, {.queue_packets = queue, .latency = latency});
      co_await run_echoes(both, 5, 50'000);
    }
  }
}

TASK_TEST("tcp link: without latency everything happens in a bounded number of turns") {
  network both(loop, {}, {.latency = 0ms});
  const auto before = loop.metrics().turns;
  const auto start = loop.now();
  co_await run_echoes(both, 3, 100'000);
  CHECK(loop.now() - start < 1s);
  CHECK(loop.metrics().turns - before < 2'000);
}

TASK_TEST("tcp link: loss, doubling and reordering are borne by many connections at once") {
  network both(loop);
  net::impairment rough;
  rough.loss = 0.03;
  rough.duplicate = 0.03;
  rough.reorder = 0.05;
  rough.reorder_delay = 3ms;
  both.cutter.set_outgoing(rough);
  both.cutter.set_incoming(rough);
  const auto start = loop.now();
  co_await run_echoes(both, 20, 30'000);
  CHECK(loop.now() - start < 5min);
}
