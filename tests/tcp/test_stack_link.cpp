#include "runnel/net/detail/link_decorator.hpp"
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

/// Says of every packet that its checksum is right, which its `info` does not promise to be true.
class lying_link final : public net::detail::link_decorator {
 public:
  explicit lying_link(net::link& inner) noexcept : link_decorator(inner) {}
  std::size_t receive(time_point now, std::span<net::packet> out) noexcept override {
    const std::size_t count = link_decorator::receive(now, out);
    for (net::packet& each : out.first(count)) {
      each->offload = {net::checksum_state::verified, 7, 0, 0};
      if (spoils) each.bytes().back() ^= std::byte{1};
    }
    return count;
  }
  bool spoils = false;
};

}  // namespace

TASK_TEST("tcp gro: over a link of single segments the stack joins them, when the policy says so") {
  for (const bool joins : {false, true}) {
    CAPTURE(joins);
    network both(loop, {}, {.latency = 1ms});
    CHECK(both.server.set("gro", joins ? "true" : "false") == "");
    auto listener = both.listen();
    auto pair = co_await connect_ends(both, listener);
    task_group group{loop};
    const std::string text = pattern(500'000);
    group.spawn(write_all(pair.client, text));
    const std::string got = co_await read_to_end(pair.server);
    CHECK(got == text);
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    const std::uint64_t given = both.wire.second().counters().rx_packets;
    const tcp::counters& count = both.server.engine().counters();
    const std::uint64_t heard = count.ip_in_receives + count.ip6_in_receives;
    CHECK((joins ? heard * 2 < given : heard == given));
  }
}

TASK_TEST("tcp link: what a link says of checksums without promising it is not believed") {
  for (const bool joins : {false, true}) {
    CAPTURE(joins);
    net::link_pair wire({.latency = 1ms});
    lying_link liar(wire.second());
    tcp::stack client(loop, wire.first(), options_for(client_address));
    tcp::stack server(loop, liar, options_for(server_address));
    CHECK(server.set("gro", joins ? "true" : "false") == "");
    auto listener = server.listen(server_endpoint).value();
    auto connected = co_await client.connect(server_endpoint);
    REQUIRE(connected.has_value());
    auto accepted = co_await listener.accept();
    REQUIRE(accepted.has_value());
    liar.spoils = true;
    const std::string text = pattern(20'000);
    const auto written = co_await connected->write(bytes_of(text));
    CHECK(written.has_value());
    co_await sleep(20ms);
    CHECK(server.engine().counters().in_csum_errors >= 10);
    std::uint64_t received = 0;
    server.engine().for_each_connection(
        [&](const tcp::snapshot& each) { received += each.traffic.bytes_received; });
    CHECK(received == 0);
  }
}

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
