#include "json.hpp"
#include "runnel/sleep.hpp"
#include "runnel/tcp/diagnose.hpp"
#include "runnel/tcp/inspect_server.hpp"
#include "shard_network.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

// One answer about all shards of a host.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<std::string> ask(const stack& of, std::string_view words) {
  inspect_request request;
  const std::string complaint = parse_inspect_request(words, request);
  REQUIRE(complaint.empty());
  auto answer = co_await inspect(of, request);
  REQUIRE(answer.has_value());
  co_return std::move(*answer);
}

task<std::vector<stream>> connect_some(shard_network& net, int count) {
  std::vector<stream> out;
  for (int i = 0; i < count; ++i) {
    auto connected = co_await net.client.connect(server_endpoint);
    out.push_back(std::move(connected.value()));
  }
  co_await sleep(10ms);
  co_return out;
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

std::size_t connections_of(const stack& one) {
  return one.engine().memory().connections;
}

}  // namespace

TASK_TEST("inspect shards: the connections of all, and a line for each one's listener") {
  shard_network net(loop);
  auto listeners = net.listen({.backlog = 100});
  auto held = co_await connect_some(net, 20);
  REQUIRE(connections_of(*net.servers[0]) > 0);
  REQUIRE(connections_of(*net.servers[1]) > 0);
  const auto connections = co_await ask(*net.servers[1], "ss -tnH");
  CHECK(lines_of(connections) == 20);
  for (const stream& each : held) {
    CHECK(connections.find(":" + std::to_string(each.local_endpoint().port)) != std::string::npos);
  }
  const auto listening = co_await ask(*net.servers[1], "ss -tln");
  CHECK(lines_of(listening) == 3);
  CHECK(listening.starts_with("State "));
  CHECK(listening.find("State ", 1) == std::string::npos);
  for (const auto& each : net.servers) {
    const std::string depth = "LISTEN     " + std::to_string(connections_of(*each));
    CHECK(listening.find(depth) != std::string::npos);
  }
  const auto alone = co_await ask(net.client, "ss -tanH");
  CHECK(lines_of(alone) == 20);
}

TASK_TEST("inspect shards: a JSON document is one, whoever wrote its parts") {
  shard_network net(loop);
  auto listeners = net.listen({.backlog = 100});
  auto held = co_await connect_some(net, 20);
  const auto all = co_await ask(*net.servers[0], "ss -tajoim");
  CHECK(parse_json(all)["sockets"].size() == 22);
  const auto none = co_await ask(*net.servers[0], "ss -tj state time-wait");
  CHECK(parse_json(none)["sockets"].size() == 0);
}

TASK_TEST("inspect shards: counters and the summary are sums") {
  shard_network net(loop);
  auto listeners = net.listen({.backlog = 100});
  auto held = co_await connect_some(net, 20);
  const auto counted = co_await ask(*net.servers[0], "nstat -j");
  const json_value counters = parse_json(counted)["runnel"];
  CHECK(counters["TcpPassiveOpens"].number == 20);
  const auto handed = static_cast<double>(net.sum(&tcp::counters::shard_handed));
  CHECK(counters["RunnelShardHanded"].number == handed);
  const auto text = co_await ask(*net.servers[0], "ss -s");
  CHECK(text.starts_with("Total: 22\nTCP:   22 (estab 20, "));
  const auto summary = co_await ask(*net.servers[0], "ss -sj");
  const json_value document = parse_json(summary);
  CHECK(document["states"]["LISTEN"].number == 2);
  CHECK(document["states"]["ESTAB"].number == 20);
  std::size_t tables = 0;
  for (const auto& each : net.servers) tables += each->engine().memory().held_bytes;
  CHECK(document["memory"]["tables"].number == static_cast<double>(tables));
}

TASK_TEST("inspect shards: what piles up on all of them together is found") {
  shard_network net(loop);
  auto listeners = net.listen({.backlog = 100});
  // On neither shard alone it would be worth a word.
  const std::uint32_t worth_a_word = diagnosis_thresholds().close_wait;
  std::vector<stream> held;
  for (std::array<std::uint32_t, 2> counts{}; counts[0] + counts[1] < worth_a_word;) {
    auto connected = co_await net.client.connect(server_endpoint);
    const net::endpoint from = connected.value().local_endpoint();
    const std::uint32_t owner = net.servers[0]->engine().owner_of(server_endpoint, from);
    if (counts[owner] == worth_a_word / 2) {
      connected->abort();
      continue;
    }
    ++counts[owner];
    REQUIRE(connected->shutdown().has_value());
    held.push_back(std::move(*connected));
  }
  co_await sleep(60s);
  for (const auto& each : net.servers) {
    CHECK(diagnose(each->engine(), loop.now()).empty());
  }
  const auto words = co_await ask(*net.servers[0], "diagnose");
  CHECK(words.starts_with("close-wait:\n  8 connections have been in CLOSE-WAIT"));
}

TASK_TEST("inspect shards: more than a part comes whole") {
  shard_network net(loop);
  std::vector<listener> open;
  for (std::uint16_t port = 1000; port < 2500; ++port) {
    for (const auto& each : net.servers) open.push_back(each->listen({{}, port}).value());
  }
  const auto listening = co_await ask(*net.servers[0], "ss -tlnH");
  CHECK(listening.size() > 2 * inspection::part_bytes);
  CHECK(lines_of(listening) == open.size());
}

TASK_TEST("inspect shards: one that is gone is left out") {
  shard_network net(loop);
  auto listeners = net.listen();
  listeners.pop_back();
  net.servers[1].reset();
  const auto listening = co_await ask(*net.servers[0], "ss -tlnH");
  CHECK(lines_of(listening) == 1);
}

namespace {

task<> look_once(loop& owner, std::uint64_t) {
  shard_network net(owner);
  auto listeners = net.listen();
  co_await sleep(2ms);
  const inspect_request request{.no_header = true};
  const auto seen = co_await inspect(*net.servers[0], request);
  if (seen) CHECK(seen->empty());
  co_await sleep(2ms);
}

}  // namespace

TEST_CASE("inspect shards: who asks may be destroyed or cancelled at any moment") {
  testing::kill_everywhere(&look_once);
  testing::cancel_everywhere(&look_once);
}
