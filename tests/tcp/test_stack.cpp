#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "runnel/net/link_pair.hpp"
#include "runnel/sleep.hpp"
#include "runnel/task_group.hpp"
#include "runnel/tcp/stack.hpp"
#include "runnel/timeout.hpp"
#include "support/task_test.hpp"
#include "test_family.hpp"

using namespace runnel;
using namespace std::chrono_literals;

namespace {

const auto client_address = tcp::test::test_address(10, 0, 0, 1);
const auto server_address = tcp::test::test_address(10, 0, 0, 2);
const net::endpoint server_endpoint{server_address, 80};

/// Two stacks of one loop with a wire of 1 ms between them.
struct network {
  explicit network(loop& owner)
      : wire(net::link_pair_options{.latency = 1ms}),
        client(owner, wire.first(), options_for(client_address)),
        server(owner, wire.second(), options_for(server_address)) {}

  static tcp::stack_options options_for(const net::address& address) {
    tcp::stack_options options;
    options.addresses = {address};
    return options;
  }

  net::link_pair wire;
  tcp::stack client;
  tcp::stack server;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

task<result<void>> echo_once(tcp::listener& listener) {
  auto accepted = co_await listener.accept();
  if (!accepted) co_return accepted.error();
  tcp::stream stream = std::move(*accepted);
  std::vector<std::byte> buffer(4096);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got) co_return got.error();
    if (*got == 0) break;
    const auto sent = co_await stream.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) co_return sent.error();
  }
  const auto ended = co_await stream.close();
  CHECK(ended.outcome == tcp::close_outcome::clean);
  co_return result<void>();
}

task<std::string> read_all(tcp::stream& stream) {
  std::string out;
  std::vector<std::byte> buffer(10'000);
  for (;;) {
    const auto got = co_await stream.read(buffer);
    if (!got || *got == 0) co_return out;
    out.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}

task<result<void>> write_all(tcp::stream& stream, std::string_view text) {
  const auto sent = co_await stream.write(bytes_of(text));
  if (!sent) co_return sent.error();
  CHECK(*sent == text.size());
  const auto ended = stream.shutdown();
  co_return ended;
}

}  // namespace

TASK_TEST("tcp stack: an echo of a megabyte, half-close, and a clean end on both sides") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  task_group group{loop};
  group.spawn(echo_once(listener));
  auto connected = co_await both.client.connect(server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream stream = std::move(*connected);
  CHECK(stream.remote_endpoint() == server_endpoint);
  std::string text(1'000'000, '?');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
  group.spawn(write_all(stream, text));
  const std::string echoed = co_await read_all(stream);
  CHECK(echoed.size() == text.size());
  CHECK(echoed == text);
  const auto ended = co_await stream.close();
  CHECK(ended.clean());
  CHECK(ended.lost_bytes == 0);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  const auto idle = co_await both.server.idle();
  CHECK(idle.has_value());
}

TASK_TEST("tcp stack: connecting to a port where nobody listens is refused") {
  network both(loop);
  const auto connected = co_await both.client.connect({server_address, 81});
  REQUIRE(connected.has_error());
  CHECK(connected.error() == std::errc::connection_refused);
}

TASK_TEST("tcp S18 stack: a connect that runs into its time limit leaves nothing behind") {
  network both(loop);
  const auto connected =
      co_await with_timeout(5s, both.client.connect({tcp::test::test_address(10, 0, 0, 9), 80}));
  REQUIRE(connected.has_error());
  CHECK(connected.error() == errc::deadline_exceeded);
  CHECK(both.client.engine().memory().connections == 0);
}

TASK_TEST("tcp S106 stack: a read deadline fails the read, loses nothing, and may be moved") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  auto connected = co_await both.client.connect(server_endpoint);
  tcp::stream client = std::move(connected.value());
  auto accepted = co_await listener.accept();
  tcp::stream server = std::move(accepted.value());
  std::byte buffer[16];
  server.set_read_deadline(loop.now() + 50ms);
  const auto before = loop.now();
  const auto nothing = co_await server.read(buffer);
  REQUIRE(nothing.has_error());
  CHECK(nothing.error() == errc::deadline_exceeded);
  CHECK(loop.now() - before == 50ms);
  const auto sent = co_await client.write(bytes_of("hello"));
  CHECK(sent.value() == 5);
  co_await sleep(10ms);
  const auto still_late = co_await server.read(buffer);
  CHECK(still_late.has_error());
  server.set_read_deadline(time_point::max());
  const auto got = co_await server.read(buffer);
  CHECK(got.value() == 5);
}

TASK_TEST("tcp stack: a cancelled accept loses no connection") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  const auto nobody = co_await with_timeout(10ms, listener.accept());
  CHECK(nobody.has_error());
  auto connected = co_await both.client.connect(server_endpoint);
  REQUIRE(connected.has_value());
  const auto accepted = co_await listener.accept();
  CHECK(accepted.has_value());
}

TASK_TEST("tcp stack: closing with bytes unread resets the peer") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  auto connected = co_await both.client.connect(server_endpoint);
  tcp::stream client = std::move(connected.value());
  auto accepted = co_await listener.accept();
  tcp::stream server = std::move(accepted.value());
  const auto sent = co_await client.write(bytes_of("unread"));
  CHECK(sent.has_value());
  co_await sleep(10ms);
  const auto ended = co_await server.close();
  CHECK(ended.outcome == tcp::close_outcome::aborted);
  std::byte buffer[16];
  const auto got = co_await client.read(buffer);
  REQUIRE(got.has_error());
  CHECK(got.error() == std::errc::connection_reset);
  CHECK(both.server.engine().counters().abort_on_close == 1);
}

TASK_TEST("tcp stack: when the link is gone every pending wait gets the error") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  auto connected = co_await both.client.connect(server_endpoint);
  tcp::stream client = std::move(connected.value());
  auto accepted = co_await listener.accept();
  tcp::stream server = std::move(accepted.value());
  task_group group{loop, on_failure::collect};
  const auto waits_to_read = [](tcp::stream& stream) -> task<void> {
    std::byte buffer[16];
    const auto got = co_await stream.read(buffer);
    CHECK(got.error() == std::errc::no_such_device);
  };
  const auto waits_to_accept = [](tcp::listener& on) -> task<void> {
    const auto got = co_await on.accept();
    CHECK(got.error() == std::errc::no_such_device);
  };
  group.spawn(waits_to_read(client));
  group.spawn(waits_to_read(server));
  group.spawn(waits_to_accept(listener));
  co_await sleep(1ms);
  both.wire.sever();
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  const auto late = co_await client.write(bytes_of("x"));
  CHECK(late.error() == std::errc::no_such_device);
}
