#include "runnel/fiber.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/death_test.hpp"
#include "support/task_test.hpp"

// Reading and writing of a tcp::stream, and who may do so.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TASK_TEST("tcp stream: a write larger than the send buffer waits for a slow reader") {
  tcp::connection_policy small;
  small.send_buffer = 16'384;
  small.receive_buffer = 16'384;
  network both(loop, small);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(300'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<result<void>> {
    const auto sent = co_await to.write(bytes_of(what));
    CHECK(sent.value() == what.size());
    co_return to.shutdown();
  };
  group.spawn(writes(at.client, text));
  std::string got_text;
  std::vector<std::byte> buffer(3'000);
  for (;;) {
    const auto got = co_await at.server.read(buffer);
    REQUIRE(got.has_value());
    if (*got == 0) break;
    got_text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    co_await sleep(5ms);
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(got_text == text);
}

TASK_TEST("tcp stream: pieces are written in order as one, also where they do not fit at once") {
  tcp::connection_policy small;
  small.send_buffer = 16'384;
  network both(loop, small);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const std::span<const std::byte> all = bytes_of(what);
    const std::span<const std::byte> pieces[] = {
        all.first(10), {}, all.subspan(10, 70'000), all.subspan(70'010)};
    const auto sent = co_await to.write(pieces);
    CHECK(sent.value() == what.size());
    CHECK(to.shutdown().has_value());
  };
  group.spawn(writes(at.client, text));
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  co_await group.join();
}

TASK_TEST("tcp stream: it may be moved between operations, and assigned over") {
  network both(loop);
  auto listener = both.listen();
  ends first = co_await connect_ends(both, listener);
  ends second = co_await connect_ends(both, listener);
  const auto sent = co_await first.client.write(bytes_of("one"));
  CHECK(sent.value() == 3);
  tcp::stream moved = std::move(first.client);
  CHECK_FALSE(first.client);
  CHECK(moved);
  const auto more = co_await moved.write(bytes_of("two"));
  CHECK(more.value() == 3);
  moved = std::move(second.client);
  const std::string got = co_await read_to_end(first.server);
  CHECK(got == "onetwo");
  const auto other = co_await moved.write(bytes_of("three"));
  CHECK(other.value() == 5);
  std::byte buffer[16];
  const auto still = co_await second.server.read(buffer);
  CHECK(still.value() == 5);
}

namespace {

task<> reads_once(tcp::stream& from) {
  std::byte buffer[16];
  co_await from.read(buffer);
}

void dies_in(task<> (*body)(loop&), std::string_view word) {
  const testing::death d = testing::run_in_child([body] {
    loop driver{{.simulated = 0}};
    driver.run(body(driver));
  });
  CHECK(d.aborted);
  CHECK(d.said.find(word) != std::string::npos);
}

}  // namespace

TASK_TEST("tcp stream: an error that ends it is never taken for the end of the stream") {
  tcp::connection_policy fast;
  fast.send_buffer = 16'384;
  fast.fastopen_connect = true;
  network both(loop, fast);
  tcp::policy_set blind = both.client.policy();
  blind.stack.fastopen = tcp::fastopen_flag::client | tcp::fastopen_flag::client_no_cookie;
  REQUIRE(both.client.set_policy(blind).has_value());
  // Nobody listens: whoever waits in the open stream finds out.
  auto connected = co_await both.client.connect(server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream at = std::move(*connected);
  task_group group{loop};
  const auto reads = [](tcp::stream& from) -> task<> {
    std::byte buffer[16];
    for (int i = 0; i < 3; ++i) {
      const auto got = co_await from.read(buffer);
      REQUIRE(got.has_error());
      CHECK(got.error() == std::errc::connection_refused);
    }
  };
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const auto sent = co_await to.write(bytes_of(what));
    REQUIRE(sent.has_value());
    CHECK(*sent < what.size());
    const auto first = co_await to.write(bytes_of("x"));
    CHECK(first.error() == std::errc::connection_refused);
    const auto later = co_await to.write(bytes_of("x"));
    CHECK(later.error() == std::errc::broken_pipe);
  };
  const std::string text = pattern(100'000);
  group.spawn(reads(at));
  group.spawn(writes(at, text));
  co_await group.join();
}

TEST_CASE("tcp stream: a second reader is a checked error") {
  dies_in(
      [](loop& on) -> task<> {
        network both(on);
        auto listener = both.listen();
        ends at = co_await connect_ends(both, listener);
        task_group group{on};
        group.spawn(reads_once(at.client));
        group.spawn(reads_once(at.client));
        co_await group.join();
      },
      "second task");
}

TEST_CASE("tcp stream: a second reader is found also when the first was just woken") {
  dies_in(
      [](loop& on) -> task<> {
        network both(on);
        auto listener = both.listen();
        ends one = co_await connect_ends(both, listener);
        ends two = co_await connect_ends(both, listener);
        task_group group{on};
        const auto reads_both = [](tcp::stream& mine, tcp::stream& not_mine) -> task<> {
          std::byte buffer[16];
          co_await mine.read(buffer);
          co_await not_mine.read(buffer);
        };
        group.spawn(reads_both(one.client, two.client));
        group.spawn(reads_once(two.client));
        co_await sleep(1ms);
        // Both bytes arrive in one turn, and the one who reads both runs first.
        co_await one.server.write(bytes_of("x"));
        co_await two.server.write(bytes_of("x"));
        co_await group.join();
      },
      "second task");
}

TEST_CASE("tcp stream: destroying it while a task reads is a checked error") {
  dies_in(
      [](loop& on) -> task<> {
        network both(on);
        auto listener = both.listen();
        ends at = co_await connect_ends(both, listener);
        task_group group{on};
        group.spawn(reads_once(at.client));
        co_await sleep(1ms);
        at.client = tcp::stream();
        co_await group.join();
      },
      "destroyed while an operation");
}

TASK_TEST("tcp stream: a standing write deadline ends a write that waits, and may be moved") {
  tcp::connection_policy small;
  small.send_buffer = 16'384;
  small.receive_buffer = 16'384;
  network both(loop, small);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  at.client.set_write_deadline(loop.now() + 50ms);
  const auto before = loop.now();
  const auto sent = co_await at.client.write(bytes_of(text));
  REQUIRE(sent.has_value());
  CHECK(*sent > 0);
  CHECK(*sent < text.size());
  CHECK(loop.now() - before >= 50ms);
  CHECK(loop.now() - before <= 52ms);
  const auto late = co_await at.client.write(bytes_of("x"));
  REQUIRE(late.has_error());
  CHECK(late.error() == errc::deadline_exceeded);
  at.client.set_write_deadline(loop.now() + 1h);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const auto rest = co_await to.write(bytes_of(what));
    CHECK(rest.value() == what.size());
    CHECK(to.shutdown().has_value());
  };
  group.spawn(writes(at.client, std::string_view(text).substr(*sent)));
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  co_await group.join();
}

TASK_TEST(
    "tcp stream: a cancelled write says how many bytes were taken, a cancelled read took none") {
  tcp::connection_policy small;
  small.send_buffer = 16'384;
  small.receive_buffer = 16'384;
  network both(loop, small);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  const auto sent = co_await with_timeout(20ms, at.client.write(bytes_of(text)));
  REQUIRE(sent.has_value());
  CHECK(*sent > 0);
  CHECK(*sent < text.size());
  CHECK(at.client.shutdown().has_value());
  std::byte buffer[16];
  const auto nothing = co_await with_timeout(20ms, at.client.read(buffer));
  REQUIRE(nothing.has_error());
  CHECK(nothing.error() == errc::deadline_exceeded);
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text.substr(0, *sent));
}

TASK_TEST("tcp stream: in a cancelled scope no operation begins, also where it could end at once") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.server.write(bytes_of("ready"));
  CHECK(sent.has_value());
  co_await sleep(5ms);
  CHECK(at.client.info().unread_bytes == 5);
  task_group group{loop, on_failure::collect};
  group.cancel();
  const auto tries = [](tcp::stream& with) -> task<> {
    std::byte buffer[16];
    const auto got = co_await with.read(buffer);
    CHECK(got.error() == errc::cancelled);
    const auto ready = co_await with.readable();
    CHECK(ready.error() == errc::cancelled);
    const auto wrote = co_await with.write(bytes_of("x"));
    CHECK(wrote.error() == errc::cancelled);
    const auto drained = co_await with.drained();
    CHECK(drained.error() == errc::cancelled);
  };
  group.spawn(tries(at.client));
  co_await group.join();
  CHECK(at.client.info().unread_bytes == 5);
}

TASK_TEST("tcp stream: a read that is ready for ever can be cancelled") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  task_group group{loop, on_failure::collect};
  const auto writes = [](tcp::stream& to) -> task<> {
    const std::string text(20'000, 'x');
    for (;;) {
      const auto sent = co_await to.write(bytes_of(text));
      if (!sent || *sent < text.size()) co_return;
    }
  };
  int reads_after = -1;
  const auto reads = [](tcp::stream& from, task_group& in, int& count) -> task<> {
    std::byte buffer[100];
    for (;;) {
      const auto got = co_await from.read(buffer);
      if (!got) co_return;
      if (in.cancelled()) ++count;
    }
  };
  group.spawn(writes(at.server));
  group.spawn(reads(at.client, group, reads_after));
  co_await sleep(50ms);
  group.cancel();
  co_await group.join();
  CHECK(reads_after <= 0);
}

TASK_TEST("tcp stream: after a reset every read says so, but what had arrived is read first") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.server.write(bytes_of("last words"));
  CHECK(sent.has_value());
  co_await sleep(5ms);
  at.server.abort();
  co_await sleep(5ms);
  const auto refused = co_await at.client.write(bytes_of("x"));
  CHECK(refused.error() == std::errc::connection_reset);
  std::byte buffer[16];
  const auto got = co_await at.client.read(buffer);
  CHECK(got.value() == 10);
  for (int i = 0; i < 3; ++i) {
    const auto after = co_await at.client.read(buffer);
    REQUIRE(after.has_error());
    CHECK(after.error() == std::errc::connection_reset);
    const auto again = co_await at.client.write(bytes_of("x"));
    CHECK(again.error() == std::errc::broken_pipe);
  }
  CHECK(at.client.shutdown().error() == std::errc::connection_reset);
}

TASK_TEST("tcp stream: after abort every operation fails with connection_aborted") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.server.write(bytes_of("unread"));
  CHECK(sent.has_value());
  co_await sleep(5ms);
  task_group group{loop};
  const auto drains = [](tcp::stream& with) -> task<> {
    const auto waited = co_await with.drained();
    CHECK(waited.error() == std::errc::connection_aborted);
  };
  const auto written = co_await at.client.write(bytes_of("x"));
  CHECK(written.has_value());
  group.spawn(drains(at.client));
  co_await yield();
  at.client.abort();
  co_await group.join();
  std::byte buffer[16];
  for (int i = 0; i < 2; ++i) {
    const auto got = co_await at.client.read(buffer);
    REQUIRE(got.has_error());
    CHECK(got.error() == std::errc::connection_aborted);
    const auto wrote = co_await at.client.write(bytes_of("x"));
    CHECK(wrote.error() == std::errc::connection_aborted);
  }
  CHECK(at.client.shutdown().error() == std::errc::connection_aborted);
}

TASK_TEST("tcp stream: a write to a peer that closed ends as broken pipe, and reading at the end") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  at.server = tcp::stream();
  co_await sleep(5ms);
  const auto taken = co_await at.client.write(bytes_of("x"));
  CHECK(taken.has_value());
  co_await sleep(5ms);
  std::byte buffer[16];
  for (int i = 0; i < 2; ++i) {
    const auto end = co_await at.client.read(buffer);
    REQUIRE(end.has_value());
    CHECK(*end == 0);
    const auto refused = co_await at.client.write(bytes_of("x"));
    REQUIRE(refused.has_error());
    CHECK(refused.error() == std::errc::broken_pipe);
  }
}

FIBER_TEST("tcp stream: a fiber reads, writes and closes like a task") {
  network both(loop);
  auto listener = both.listen();
  task_group group{loop};
  const auto serves = [](tcp::listener& on) -> task<> {
    auto accepted = co_await on.accept();
    tcp::stream at = std::move(accepted.value());
    const std::string got = co_await read_to_end(at);
    const auto sent = co_await at.write(bytes_of(got));
    CHECK(sent.value() == got.size());
    const auto ended = co_await at.close();
    CHECK(ended.clean());
  };
  group.spawn(serves(listener));
  auto connected = self.await(both.client.connect(server_endpoint));
  tcp::stream at = std::move(connected.value());
  const std::string text = pattern(50'000);
  CHECK(self.await(at.write(bytes_of(text))).value() == text.size());
  CHECK(at.shutdown().has_value());
  std::string got;
  std::vector<std::byte> buffer(4'000);
  for (;;) {
    const auto count = self.await(at.read(buffer));
    if (!count || *count == 0) break;
    got.append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
  CHECK(got == text);
  CHECK(self.await(at.close()).clean());
  self.await(group.join());
}

namespace {

/// Both stacks take part in Fast Open, and the client has the server's cookie.
task<> learn_cookie(network& both, tcp::listener& on) {
  CHECK(both.client.set("fastopen_connect", "on") == "");
  CHECK(both.server.set("net.ipv4.tcp_fastopen", "3") == "");
  CHECK(on.set("TCP_FASTOPEN", "16") == "");
  auto pair = co_await connect_ends(both, on);
  co_await pair.client.close();
  co_await pair.server.close();
}

}  // namespace

TASK_TEST("S53 tcp stream: with Fast Open a request is answered after one round trip") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  co_await learn_cookie(both, listener);
  const auto start = loop.now();
  auto client = (co_await both.client.connect(server_endpoint)).value();
  CHECK(loop.now() == start);
  const auto asked = co_await client.write(bytes_of("GET"));
  CHECK(asked.value() == 3);
  auto server = (co_await listener.accept()).value();
  std::array<std::byte, 100> buffer{};
  const auto got = co_await server.read(buffer);
  CHECK(got.value() == 3);
  co_await server.write(bytes_of("200"));
  const auto answered = co_await client.read(buffer);
  CHECK(answered.value() == 3);
  CHECK(loop.now() - start == 2ms);
  CHECK(client.info().syn_data_acked);
  const auto closed = co_await client.close();
  CHECK(closed.lost_bytes == 0);
  co_await server.close();
}

TASK_TEST("S53 tcp stream: who waits for a server that speaks first does not wait in vain") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  co_await learn_cookie(both, listener);
  auto client = (co_await both.client.connect(server_endpoint)).value();
  task_group group(loop);
  group.spawn([](tcp::listener& on) -> task<> {
    auto server = (co_await on.accept()).value();
    co_await server.write(bytes_of("220"));
    co_await server.close();
  }(listener));
  const auto came = co_await client.readable();
  CHECK(came.has_value());
  const std::string greeting = co_await read_to_end(client);
  CHECK(greeting == "220");
  co_await client.close();
  co_await group.join();
}

TASK_TEST("S53 tcp stream: a refusal after a fast connect is told by what follows, each time") {
  network both(loop);
  {
    auto listener = both.server.listen(server_endpoint).value();
    co_await learn_cookie(both, listener);
  }
  auto client = (co_await both.client.connect(server_endpoint)).value();
  const auto asked = co_await client.write(bytes_of("GET"));
  CHECK(asked.value() == 3);
  std::array<std::byte, 100> buffer{};
  for (int i = 0; i < 2; ++i) {
    const auto got = co_await client.read(buffer);
    CHECK(got.error() == std::errc::connection_refused);
  }
  const auto closed = co_await client.close();
  CHECK(closed.outcome == tcp::close_outcome::reset);
  CHECK(closed.lost_bytes == 3);
}

TASK_TEST("S53 tcp stream: closed before anything was said, a fast connect ends clean") {
  network both(loop);
  auto listener = both.server.listen(server_endpoint).value();
  co_await learn_cookie(both, listener);
  auto client = (co_await both.client.connect(server_endpoint)).value();
  const auto closed = co_await client.close();
  CHECK(closed.outcome == tcp::close_outcome::clean);
  CHECK(both.server.engine().counters().passive_opens == 1);
}
