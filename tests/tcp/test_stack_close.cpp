#include "runnel/shield.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// How a tcp::stream ends: every outcome of close, destruction, and the stack's idle.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;
using tcp::close_outcome;

namespace {

tcp::connection_policy small_buffers() {
  tcp::connection_policy small;
  small.send_buffer = 16'384;
  small.receive_buffer = 16'384;
  return small;
}

}  // namespace

TASK_TEST("tcp close: clean for the one who closes last, peer_still_open for the first") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.client.write(bytes_of("bye"));
  CHECK(sent.has_value());
  const auto first = co_await at.client.close();
  CHECK(first.outcome == close_outcome::peer_still_open);
  CHECK(first.clean());
  CHECK(first.lost_bytes == 0);
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == "bye");
  const auto last = co_await at.server.close();
  CHECK(last.outcome == close_outcome::clean);
}

TASK_TEST("tcp close: reset by the peer, with the number of bytes that were lost") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(16'000);
  const auto sent = co_await at.client.write(bytes_of(text));
  CHECK(sent.value() == text.size());
  task_group group{loop};
  const auto aborts = [](tcp::stream& at_last) -> task<> {
    co_await sleep(20ms);
    at_last.abort();
  };
  group.spawn(aborts(at.server));
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::reset);
  CHECK_FALSE(ended.clean());
  CHECK(ended.lost_bytes > 0);
  CHECK(ended.lost_bytes < text.size());
  co_await group.join();
}

TASK_TEST("tcp close: a reset in LAST-ACK is not clean while bytes are missing") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  CHECK(at.server.shutdown().has_value());
  co_await sleep(5ms);
  const std::string text = pattern(16'000);
  const auto sent = co_await at.client.write(bytes_of(text));
  CHECK(sent.value() == text.size());
  task_group group{loop};
  const auto aborts = [](tcp::stream& at_last) -> task<> {
    co_await sleep(20ms);
    at_last.abort();
  };
  group.spawn(aborts(at.server));
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::reset);
  CHECK(ended.lost_bytes > 0);
  co_await group.join();
}

TASK_TEST("tcp close: timed out when the peer falls silent") {
  tcp::connection_policy impatient;
  impatient.orphan_retries = 3;
  network both(loop, impatient);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  both.cut();
  const auto sent = co_await at.client.write(bytes_of("never heard"));
  CHECK(sent.value() == 11);
  const auto before = loop.now();
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::timed_out);
  CHECK(ended.lost_bytes == 11);
  CHECK(loop.now() - before >= 3s);
  CHECK(loop.now() - before < 4s);
  CHECK(both.client.engine().memory().connections == 0);
}

TASK_TEST("tcp close: aborted after abort, and when bytes arrive for a closed connection") {
  network both(loop);
  auto listener = both.listen();
  ends first = co_await connect_ends(both, listener);
  first.client.abort();
  const auto ended = co_await first.client.close();
  CHECK(ended.outcome == close_outcome::aborted);

  ends second = co_await connect_ends(both, listener);
  task_group group{loop};
  const auto writes = [](tcp::stream& to) -> task<> {
    const auto sent = co_await to.write(bytes_of("nobody reads this"));
    CHECK(sent.has_value());
  };
  group.spawn(writes(second.server));
  // Both leave in the same turn: the bytes arrive at a connection that is closed.
  const auto crossed = co_await second.client.close();
  CHECK(crossed.outcome == close_outcome::aborted);
  co_await group.join();
}

TASK_TEST("tcp close: cancelled, the engine goes on alone and delivers") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  task_group group{loop, on_failure::collect};
  const auto closes = [](tcp::stream& mine) -> task<> {
    const auto sent = co_await mine.write(bytes_of("still to come"));
    CHECK(sent.has_value());
    const auto ended = co_await mine.close();
    CHECK(ended.outcome == close_outcome::cancelled);
    CHECK(ended.lost_bytes == 13);
    std::byte buffer[1];
    const auto after = co_await shield(mine.read(buffer));
    CHECK(after.error() == std::errc::bad_file_descriptor);
  };
  group.spawn(closes(at.client));
  co_await sleep(500us);
  group.cancel();
  co_await group.join();
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == "still to come");
  const auto ended = co_await at.server.close();
  CHECK(ended.clean());
}

TASK_TEST("tcp close: the mode and the time hold also where the scope is cancelled already") {
  network both(loop);
  auto listener = both.listen();
  ends one = co_await connect_ends(both, listener);
  ends two = co_await connect_ends(both, listener);
  task_group group{loop, on_failure::collect};
  const auto closes = [](tcp::stream& mine, tcp::close_mode mode) -> task<> {
    const auto rested = co_await sleep(1h);
    CHECK(rested.has_error());
    const auto ended = co_await mine.close(mode, 1s);
    CHECK(ended.outcome == close_outcome::cancelled);
    const auto again = co_await mine.close();
    CHECK(again == ended);
  };
  group.spawn(closes(one.server, tcp::close_mode::peer_first));
  group.spawn(closes(two.server, tcp::close_mode::abort));
  co_await sleep(5ms);
  const auto before = loop.now();
  group.cancel();
  co_await group.join();
  std::byte buffer[16];
  const auto reset = co_await two.client.read(buffer);
  CHECK(reset.error() == std::errc::connection_reset);
  const std::string got = co_await read_to_end(one.client);
  CHECK(got.empty());
  CHECK(loop.now() - before >= 1s);
  CHECK(both.server.engine().counters().released_open == 0);
  const auto ended = co_await one.client.close();
  CHECK(ended.clean());
}

TASK_TEST("tcp close: link lost") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto sent = co_await at.client.write(bytes_of("lost"));
  CHECK(sent.has_value());
  task_group group{loop};
  const auto severs = [](net::link_pair& wire) -> task<> {
    wire.sever();
    co_return;
  };
  group.spawn(severs(both.wire));
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::link_lost);
  CHECK(ended.lost_bytes == 4);
  co_await group.join();
}

TASK_TEST("tcp close: tells a task that reads and one that writes") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(100'000);
  task_group group{loop};
  std::size_t taken = 0;
  const auto reads = [](tcp::stream& from) -> task<> {
    std::byte buffer[16];
    const auto got = co_await from.read(buffer);
    REQUIRE(got.has_error());
    CHECK(got.error() == std::errc::bad_file_descriptor);
  };
  const auto writes = [](tcp::stream& to, std::string_view what, std::size_t& count) -> task<> {
    const auto sent = co_await to.write(bytes_of(what));
    REQUIRE(sent.has_value());
    count = *sent;
    const auto late = co_await to.write(bytes_of(what));
    REQUIRE(late.has_error());
    CHECK(late.error() == std::errc::bad_file_descriptor);
  };
  group.spawn(reads(at.client));
  group.spawn(writes(at.client, text, taken));
  co_await sleep(10ms);
  std::string got;
  const auto reads_all = [](tcp::stream& from, std::string& into) -> task<> {
    into = co_await read_to_end(from);
  };
  group.spawn(reads_all(at.server, got));
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::peer_still_open);
  co_await group.join();
  CHECK(taken > 0);
  CHECK(taken < text.size());
  CHECK(got == text.substr(0, taken));
}

TASK_TEST("tcp close: afterwards every operation fails with bad_file_descriptor") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto first = co_await at.client.close();
  std::byte buffer[16];
  const auto got = co_await at.client.read(buffer);
  CHECK(got.error() == std::errc::bad_file_descriptor);
  const auto ready = co_await at.client.readable();
  CHECK(ready.error() == std::errc::bad_file_descriptor);
  const auto sent = co_await at.client.write(bytes_of("x"));
  CHECK(sent.error() == std::errc::bad_file_descriptor);
  const auto drained = co_await at.client.drained();
  CHECK(drained.error() == std::errc::bad_file_descriptor);
  CHECK(at.client.shutdown().error() == std::errc::bad_file_descriptor);
  at.client.abort();
  const auto again = co_await at.client.close();
  CHECK(again == first);
}

TASK_TEST("tcp close: a later close gives the first one's result") {
  network both(loop);
  auto listener = both.listen();
  ends first = co_await connect_ends(both, listener);
  ends second = co_await connect_ends(both, listener);
  const auto left_open = co_await first.client.close();
  const auto again = co_await first.client.close();
  CHECK(left_open.outcome == close_outcome::peer_still_open);
  CHECK(again == left_open);
  both.cut();
  const auto sent = co_await second.client.write(bytes_of("x"));
  CHECK(sent.has_value());
  const auto cancelled = co_await with_timeout(1s, second.client.close());
  CHECK(cancelled.has_error());
  const auto later = co_await second.client.close();
  CHECK(later.outcome == close_outcome::cancelled);
  CHECK(later.lost_bytes == 1);
}

TASK_TEST("tcp close: unfinished after close_time when it lingers, and the engine goes on (S98)") {
  tcp::connection_policy lingers;
  lingers.close = tcp::close_mode::linger;
  lingers.close_time = 2s;
  network both(loop, lingers);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  both.cut();
  const auto sent = co_await at.client.write(bytes_of("late"));
  CHECK(sent.has_value());
  const auto before = loop.now();
  const auto ended = co_await at.client.close();
  CHECK(loop.now() - before >= 2s);
  CHECK(loop.now() - before < 2010ms);
  CHECK(ended.outcome == close_outcome::unfinished);
  CHECK_FALSE(ended.clean());
  CHECK(ended.lost_bytes == 4);
  CHECK(both.client.engine().memory().orphans == 1);
  both.heal();
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == "late");
  const auto other = co_await at.server.close();
  CHECK(other.outcome == close_outcome::clean);
}

TASK_TEST("tcp close: by another mode than the policy's") {
  network both(loop);
  auto listener = both.listen();
  ends one = co_await connect_ends(both, listener);
  const auto reset = co_await one.client.close(tcp::close_mode::abort);
  CHECK(reset.outcome == close_outcome::aborted);
  co_await sleep(5ms);
  ends two = co_await connect_ends(both, listener);
  both.cut();
  const auto sent = co_await two.client.write(bytes_of("x"));
  CHECK(sent.has_value());
  const auto before = loop.now();
  const auto ended = co_await two.client.close(tcp::close_mode::linger, 300ms);
  CHECK(loop.now() - before >= 300ms);
  CHECK(loop.now() - before < 310ms);
  CHECK(ended.outcome == close_outcome::unfinished);
}

TASK_TEST("tcp close: peer_first waits for the peer, and is clean when it closes") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  task_group group{loop};
  const auto closes = [](tcp::stream& later) -> task<> {
    co_await sleep(100ms);
    const auto how = co_await later.close();
    CHECK(how.clean());
  };
  group.spawn(closes(at.client));
  const auto before = loop.now();
  const auto ended = co_await at.server.close(tcp::close_mode::peer_first, 1s);
  CHECK(ended.outcome == close_outcome::clean);
  CHECK(loop.now() - before < 200ms);
  co_await group.join();
  co_await sleep(5ms);
  CHECK(both.server.engine().memory().time_wait == 0);
  CHECK(both.client.engine().memory().time_wait == 1);
}

TASK_TEST("tcp leave: nobody stays, and the engine throws away what still comes") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto asked = co_await at.client.write(bytes_of("never read"));
  CHECK(asked.has_value());
  co_await sleep(5ms);
  const auto answered = co_await at.server.write(bytes_of("answer"));
  CHECK(answered.has_value());
  at.server.leave(net::departure::lingering, 5s);
  CHECK_FALSE(static_cast<bool>(at.server));
  for (int i = 0; i < 10; ++i) {
    const auto more = co_await at.client.write(bytes_of("more"));
    CHECK(more.has_value());
    co_await sleep(10ms);
  }
  const std::string got = co_await read_to_end(at.client);
  CHECK(got == "answer");
  const auto ended = co_await at.client.close();
  CHECK(ended.outcome == close_outcome::clean);
  CHECK(both.server.engine().counters().out_rsts == 0);
  CHECK(both.server.engine().counters().released_open == 0);
  CHECK(both.server.engine().memory().time_wait == 1);
}

TASK_TEST("tcp S66 write: connection reset once, then broken pipe; read says reset every time") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  at.server.abort();
  co_await sleep(5ms);
  const auto first = co_await at.client.write(bytes_of("x"));
  CHECK(first.error() == std::errc::connection_reset);
  for (int i = 0; i < 2; ++i) {
    const auto later = co_await at.client.write(bytes_of("x"));
    CHECK(later.error() == std::errc::broken_pipe);
    std::byte buffer[4];
    const auto got = co_await at.client.read(buffer);
    CHECK(got.error() == std::errc::connection_reset);
  }
}

TASK_TEST("tcp S66 write: broken pipe at once when the peer had ended before it was reset") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  CHECK(at.server.shutdown().has_value());
  co_await sleep(5ms);
  at.server.abort();
  co_await sleep(5ms);
  const auto first = co_await at.client.write(bytes_of("x"));
  CHECK(first.error() == std::errc::broken_pipe);
  std::byte buffer[4];
  const auto got = co_await at.client.read(buffer);
  CHECK(got.value() == 0);
}

TASK_TEST("tcp close: destroying a stream still delivers what was written") {
  network both(loop, small_buffers());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const std::string text = pattern(16'000);
  const auto sent = co_await at.client.write(bytes_of(text));
  CHECK(sent.value() == text.size());
  at.client = tcp::stream();
  const auto early = co_await with_timeout(10ms, both.client.idle());
  CHECK(early.has_error());
  const std::string got = co_await read_to_end(at.server);
  CHECK(got == text);
  const auto ended = co_await at.server.close();
  CHECK(ended.outcome == close_outcome::clean);
  const auto idle = co_await both.client.idle();
  CHECK(idle.has_value());
  co_await sleep(5ms);
  CHECK(both.client.engine().memory().time_wait == 1);
  CHECK(both.client.engine().memory().connections == 0);
}

TASK_TEST("tcp idle: at once without connections, and not before the last packet has left") {
  network both(loop);
  const auto nothing = co_await both.client.idle();
  CHECK(nothing.has_value());
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  const auto early = co_await with_timeout(1s, both.client.idle());
  CHECK(early.error() == errc::deadline_exceeded);
  at.client.abort();
  at.client = tcp::stream();
  const auto sent_before = both.wire.first().counters().tx_packets;
  const auto idle = co_await both.client.idle();
  CHECK(idle.has_value());
  // The RST is on the wire when idle says that nothing is left.
  CHECK(both.wire.first().counters().tx_packets == sent_before + 1);
}

TASK_TEST("tcp idle: gives the link's error when the link is gone") {
  network both(loop);
  auto listener = both.listen();
  ends at = co_await connect_ends(both, listener);
  task_group group{loop};
  const auto waits = [](tcp::stack& on) -> task<> {
    const auto idle = co_await on.idle();
    REQUIRE(idle.has_error());
    CHECK(idle.error() == std::errc::no_such_device);
  };
  group.spawn(waits(both.client));
  co_await sleep(1ms);
  both.wire.sever();
  co_await group.join();
  const auto later = co_await both.client.idle();
  REQUIRE(later.has_error());
  CHECK(later.error() == std::errc::no_such_device);
}
