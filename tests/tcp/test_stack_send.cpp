#include "runnel/task_group.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// What a write waits for: the send buffer, which follows the window, and TCP_NOTSENT_LOWAT.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TASK_TEST(
    "tcp stream TCP_NOTSENT_LOWAT: a write waits while enough waits to be sent, and goes on") {
  tcp::connection_policy lazy;
  lazy.notsent_lowat = 10'000;
  lazy.send_buffer = 1 << 20;
  network both(loop, lazy);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(600'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const auto sent = co_await to.write(bytes_of(what));
    CHECK(sent.value() == what.size());
    // What the windows let out has left. The send buffer would have taken all of it at once.
    co_await sleep(1us);
    CHECK(to.info().unsent_bytes <= 10'000 + to.info().snd_mss);
    CHECK(to.shutdown().has_value());
  };
  group.spawn(writes(at.client, text));
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("tcp stream tcp_wmem: a long write goes through a buffer that grows on the way") {
  tcp::connection_policy fast;
  fast.receive_buffer = 4 << 20;
  network both(loop, fast);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::uint32_t first = at.client.info().send_buffer;
  const std::string text = pattern(4'000'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const auto sent = co_await to.write(bytes_of(what));
    CHECK(sent.value() == what.size());
    CHECK(to.shutdown().has_value());
  };
  group.spawn(writes(at.client, text));
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  CHECK(at.client.info().send_buffer > 2 * first);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}

TASK_TEST("tcp stream TCP_NOTSENT_LOWAT: a paced writer goes on when segments leave, not by ACKs") {
  tcp::connection_policy paced;
  paced.notsent_lowat = 16'384;
  paced.send_buffer = 1 << 20;
  paced.pacing = true;
  network both(loop, paced, {.latency = 100ms});
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(60'000);
  task_group group{loop};
  const auto writes = [](tcp::stream& to, std::string_view what) -> task<> {
    const auto sent = co_await to.write(bytes_of(what));
    CHECK(sent.value() == what.size());
    CHECK(to.shutdown().has_value());
  };
  group.spawn(writes(at.client, text));
  co_await sleep(1ms);
  // Ten segments have left at once, and what they have made room for is taken long before an
  // acknowledgement can come.
  const tcp::snapshot now = at.client.info();
  CHECK(now.unacked_bytes > 16'384 + 8 * std::uint32_t{now.snd_mss});
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
}
