#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// What a tcp::stream says of its bytes: whether the peer has them.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using tcp::close_outcome;

TASK_TEST("tcp drained: waits for the acknowledgement of the bytes and of FIN") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto at_once = co_await at.client.drained();
  CHECK(at_once.has_value());
  const auto before = loop.now();
  const auto sent = co_await at.client.write(bytes_of("x"));
  CHECK(sent.has_value());
  const auto drained = co_await at.client.drained();
  CHECK(drained.has_value());
  CHECK(loop.now() - before >= 2ms);
  CHECK(at.client.info().unacked_bytes == 0);
  CHECK(at.client.shutdown().has_value());
  const auto ended = co_await at.client.drained();
  CHECK(ended.has_value());
  CHECK(at.client.info().state == tcp::state::fin_wait_2);
  both.cut();
  const auto more = co_await at.server.write(bytes_of("x"));
  CHECK(more.has_value());
  const auto late = co_await with_timeout(5s, at.server.drained());
  CHECK(late.error() == errc::deadline_exceeded);
}

TASK_TEST("tcp drained: fails when the connection is reset or times out") {
  tcp::connection_policy impatient;
  impatient.send_buffer = 16'384;
  impatient.receive_buffer = 16'384;
  impatient.retries2 = 2;
  network both(loop, impatient);
  auto listener = both.listen();
  ends first = co_await connect_ends(both, listener);
  ends second = co_await connect_ends(both, listener);
  const std::string text = pattern(16'000);
  const auto one = co_await first.client.write(bytes_of(text));
  CHECK(one.value() == text.size());
  task_group group{loop};
  const auto aborts = [](tcp::stream& at_last) -> task<> {
    co_await sleep(20ms);
    at_last.abort();
  };
  group.spawn(aborts(first.server));
  const auto reset = co_await first.client.drained();
  CHECK(reset.error() == std::errc::connection_reset);
  co_await group.join();
  both.cut();
  const auto two = co_await second.client.write(bytes_of("x"));
  CHECK(two.has_value());
  const auto silent = co_await second.client.drained();
  CHECK(silent.error() == std::errc::timed_out);
}

TASK_TEST("tcp drained: an abort fails it, however soon the stream is closed behind that") {
  network both(loop);
  auto listener = both.listen();
  const auto drain = [](tcp::stream& of, result<void>& out) -> task<> {
    out = co_await of.drained();
  };
  // As many steps lie between abort and close: in one turn, over its end, and after it.
  for (const int steps : {0, 1, 10, 255, 256, 257, 258, 300, 600}) {
    CAPTURE(steps);
    ends at = co_await connect_ends(both, listener);
    const auto sent = co_await at.client.write(bytes_of("x"));
    CHECK(sent.has_value());
    task_group group{loop};
    result<void> waited;
    group.spawn(drain(at.client, waited));
    co_await sleep(100us);
    at.client.abort();
    for (int i = 0; i < steps; ++i) co_await yield();
    const auto ended = co_await at.client.close();
    CHECK(ended.outcome == close_outcome::aborted);
    co_await group.join();
    CHECK(waited.error() == std::errc::connection_aborted);
  }
}
