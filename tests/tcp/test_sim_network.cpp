#include "runnel/net/sim_network.hpp"

#include <string>
#include <string_view>

#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/testing/trace.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"

namespace {

using namespace runnel;
using namespace std::chrono_literals;
using net::sim_host_options;
using net::sim_network;

net::address host_address(int number) {
  return tcp::test::test_address(10, 0, 0, static_cast<std::uint8_t>(number));
}

net::endpoint port_80(int number) {
  return {host_address(number), 80};
}

sim_host_options far(duration latency) {
  sim_host_options options;
  options.mtu = tcp::test::test_mtu(1500);
  options.latency = latency;
  return options;
}

/// A host with a stack.
struct host {
  host(loop& owner, sim_network& network, int number, duration latency = 500us)
      : stack(owner, network.add({host_address(number)}, far(latency)),
              tcp::test::options_for(host_address(number))) {}
  tcp::stack stack;
};

task<> echo_all(tcp::listener& listener) {
  for (;;) {
    auto accepted = co_await listener.accept();
    if (!accepted) co_return;
    tcp::stream stream = std::move(*accepted);
    const std::string text = co_await tcp::test::read_to_end(stream);
    const auto sent = co_await stream.write(tcp::test::bytes_of(text));
    static_cast<void>(sent);
    co_await stream.close();
  }
}

task<std::string> ask(tcp::stack& from, net::endpoint to, std::string_view text) {
  auto connected = co_await from.connect(to);
  if (!connected) co_return connected.error().message();
  tcp::stream stream = std::move(*connected);
  const auto sent = co_await stream.write(tcp::test::bytes_of(text));
  CHECK(sent.has_value());
  static_cast<void>(stream.shutdown());
  std::string answer = co_await tcp::test::read_to_end(stream);
  co_await stream.close();
  co_return answer;
}

task<> ask_and_check(tcp::stack& from, net::endpoint to, std::string text) {
  const std::string answer = co_await ask(from, to, text);
  CHECK(answer == text);
}

/// Two clients of one server over paths that lose, double and reorder.
task<> busy_network(loop& owner, std::uint64_t) {
  sim_network network(owner);
  host server(owner, network, 1);
  host near(owner, network, 2);
  host distant(owner, network, 3, 40ms);
  net::impairment bad;
  bad.loss = 0.03;
  bad.duplicate = 0.02;
  bad.reorder = 0.05;
  network.impair(host_address(3), bad, bad);
  auto listener = server.stack.listen(port_80(1), {}).value();
  task_group serving{owner};
  serving.spawn(echo_all(listener));
  serving.spawn(echo_all(listener));
  task_group asking{owner};
  asking.spawn(ask_and_check(near.stack, port_80(1), tcp::test::pattern(30'000)));
  asking.spawn(ask_and_check(distant.stack, port_80(1), tcp::test::pattern(60'000)));
  const auto asked = co_await asking.join();
  CHECK(asked.has_value());
  CHECK(network.link_of(host_address(3)).outgoing().lost > 0);
  CHECK(network.link_of(host_address(2)).outgoing().lost == 0);
  CHECK(network.counters().forwarded > 100);
  listener.close();
  co_await serving.join();
}

}  // namespace

TASK_TEST("sim network: hosts reach each other, over paths of their own") {
  co_await busy_network(loop, seed);
}

TASK_TEST("sim network: a packet takes the way of both hosts") {
  sim_network network(loop);
  host server(loop, network, 1, 10ms);
  host client(loop, network, 2, 5ms);
  auto listener = server.stack.listen(port_80(1), {}).value();
  const time_point start = loop.now();
  auto connected = co_await client.stack.connect(port_80(1));
  CHECK(connected.has_value());
  CHECK(loop.now() == start + 30ms);
}

TASK_TEST("sim network: what is for nobody is counted, and a cut host hears nothing") {
  sim_network network(loop);
  host server(loop, network, 1);
  host client(loop, network, 2);
  auto nobody = co_await with_timeout(5s, client.stack.connect(port_80(9)));
  CHECK(nobody.has_error());
  CHECK(network.counters().unroutable > 1);
  auto listener = server.stack.listen(port_80(1), {}).value();
  network.cut(host_address(1));
  auto silent = co_await with_timeout(5s, client.stack.connect(port_80(1)));
  CHECK(silent.has_error());
  network.impair(host_address(1), {}, {});
  auto healed = co_await with_timeout(5s, client.stack.connect(port_80(1)));
  CHECK(healed.has_value());
}

TASK_TEST("sim network: a wrong address is one sentence") {
  sim_network network(loop);
  network.add({host_address(1)});
  CHECK_THROWS_AS(network.add({host_address(2), host_address(1)}), std::invalid_argument);
  CHECK_THROWS_AS(network.cut(host_address(2)), std::invalid_argument);
  CHECK_THROWS_AS(network.link_of(host_address(3)), std::invalid_argument);
  co_return;
}

TEST_CASE("sim network: the same seed gives the same run, another seed another one") {
  testing::check_repeatable(&busy_network, {.first = 1, .count = 2});
  CHECK((testing::trace_of(&busy_network, 1) != testing::trace_of(&busy_network, 2)));
}
