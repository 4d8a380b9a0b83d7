// The same seed gives the same run, byte for byte on the wire.

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "runnel/net/pcap.hpp"
#include "runnel/task_group.hpp"
#include "runnel/testing/trace.hpp"
#include "stack_network.hpp"

namespace {

using namespace runnel;
using namespace std::chrono_literals;

task<> echo(tcp::listener& listener) {
  auto accepted = co_await listener.accept();
  REQUIRE(accepted.has_value());
  tcp::stream stream = std::move(*accepted);
  const std::string text = co_await tcp::test::read_to_end(stream);
  const auto sent = co_await stream.write(tcp::test::bytes_of(text));
  CHECK(sent.has_value());
  co_await stream.close();
}

/// A transfer there and back over a bad path. The keys of both stacks come from the loop's seed.
task<> transfer(loop& owner, net::link& path, net::link_pair& wire) {
  tcp::stack client(owner, path, tcp::test::options_for(tcp::test::client_address));
  tcp::stack server(owner, wire.second(), tcp::test::options_for(tcp::test::server_address));
  auto listener = server.listen(tcp::test::server_endpoint, {}).value();
  task_group group{owner};
  group.spawn(echo(listener));
  auto connected = co_await client.connect(tcp::test::server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream stream = std::move(*connected);
  const std::string text = tcp::test::pattern(20'000);
  const auto sent = co_await stream.write(tcp::test::bytes_of(text));
  CHECK(sent.has_value());
  static_cast<void>(stream.shutdown());
  const std::string back = co_await tcp::test::read_to_end(stream);
  CHECK(back == text);
  co_await stream.close();
  co_await group.join();
}

/// What the capture of such a run holds.
std::string capture(std::uint64_t seed) {
  const std::string file = "/tmp/runnel_repeatable_" + std::to_string(::getpid()) + ".pcapng";
  loop_options options;
  options.simulated = seed;
  loop driver{options};
  net::link_pair wire(tcp::test::with_test_mtu({.latency = 5ms}));
  net::impair_options bad;
  bad.seed = seed;
  bad.outgoing.loss = bad.incoming.loss = 0.05;
  bad.outgoing.reorder = bad.incoming.reorder = 0.1;
  net::impair path(wire.first(), bad);
  {
    auto watched = net::pcap::open(path, file).value();
    driver.run(transfer(driver, *watched, wire));
  }
  std::ifstream in(file, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::remove(file.c_str());
  return bytes;
}

task<> traced(loop& owner, std::uint64_t seed) {
  net::link_pair wire(tcp::test::with_test_mtu({.latency = 5ms}));
  net::impair_options bad;
  bad.seed = seed;
  bad.outgoing.loss = 0.05;
  net::impair path(wire.first(), bad);
  co_await transfer(owner, path, wire);
}

}  // namespace

TEST_CASE("tcp repeatable: the same seed gives the same capture, another seed another one") {
  const std::string first = capture(5);
  CHECK(first.size() > 40'000);
  CHECK((first == capture(5)));
  CHECK((first != capture(6)));
}

TEST_CASE("tcp repeatable: two runs of the loop with one seed do the same") {
  testing::check_repeatable(&traced);
}
