#include "examples/support/chat_room.hpp"

#include <string>
#include <vector>

#include "runnel/net/pipe.hpp"
#include "runnel/sleep.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

namespace {

using namespace std::chrono_literals;
using example::chat_options;
using example::chat_room;
using example::slow_client;
using runnel::result;
using runnel::task;
using runnel::net::pipe_stream;

/// A room and those who serve its clients.
class party {
 public:
  party(runnel::loop& owner, runnel::cancel_scope& scope, const chat_options& options)
      : room(options), serving(scope, runnel::on_failure::collect), owner_(&owner) {}

  /// The client's end; `capacity` is what fits between it and the room.
  pipe_stream enter(std::size_t capacity = 4096) {
    auto ends = pipe_stream::make(*owner_, {.capacity = capacity});
    serving.spawn(room.serve(std::move(ends.first)));
    return std::move(ends.second);
  }

  chat_room room;
  runnel::task_group serving;

 private:
  runnel::loop* owner_;
};

task<> type(pipe_stream& to, std::string text) {
  co_await to.write(std::as_bytes(std::span(text)));
  co_await runnel::sleep(1ms);
}

/// All that comes within a millisecond.
task<std::string> screen(pipe_stream& of) {
  std::string all;
  std::array<char, 4096> buffer;
  for (;;) {
    result<std::size_t> got =
        co_await runnel::with_timeout(1ms, of.read(std::as_writable_bytes(std::span(buffer))));
    if (!got) {
      if (got.error() != runnel::errc::deadline_exceeded) all += "<reset>";
      break;
    }
    if (*got == 0) {
      all += "<end>";
      break;
    }
    all.append(buffer.data(), *got);
  }
  co_return all;
}

task<> talk(party& p) {
  pipe_stream ann = p.enter();
  co_await runnel::sleep(1ms);
  pipe_stream bob = p.enter();
  co_await type(ann, "/name Ann\n");
  co_await type(ann, "hello\r\nsec");
  co_await type(bob, "hi\x1b[2J\n\n");
  co_await type(ann, "ond\n/who\n");
  std::string seen = co_await screen(ann);
  CHECK(seen == "* guest2 has come\n* guest1 is now Ann\nguest2: hi?[2J\n* here: Ann guest2\n");
  seen = co_await screen(bob);
  CHECK(seen == "* guest1 is now Ann\nAnn: hello\nAnn: second\n");
  co_await type(bob, "/quit\nunheard\n");
  seen = co_await screen(bob);
  CHECK(seen.ends_with("<end>"));
  seen = co_await screen(ann);
  CHECK(seen == "* guest2 has gone\n");
  CHECK(p.room.clients() == 1);
}

task<> crowd(runnel::loop& loop, std::uint64_t) {
  runnel::cancel_scope& scope = co_await runnel::this_scope();
  party p(loop, scope, {.policy = slow_client::disconnect, .queue_lines = 2});
  pipe_stream reader = p.enter();
  pipe_stream sleeper = p.enter(16);
  pipe_stream writer = p.enter();
  for (int i = 0; i < 5; ++i) {
    co_await type(writer, "a line of text\n");
    co_await screen(reader);
  }
  static_cast<void>(writer.shutdown());
  co_await runnel::sleep(1ms);
  p.serving.cancel();
  co_await p.serving.join();
}

}  // namespace

TASK_TEST("chat: what one writes the others read, line by line") {
  party p(loop, loop.root_scope(), {});
  co_await talk(p);
  p.serving.cancel();
  co_await p.serving.join();
  CHECK(p.room.clients() == 0);
}

TASK_TEST("chat: a line that is too long is cut, and a client that leaves gets what it missed") {
  party p(loop, loop.root_scope(), {.longest_line = 8});
  pipe_stream ann = p.enter();
  co_await runnel::sleep(1ms);
  pipe_stream bob = p.enter();
  co_await runnel::sleep(1ms);
  co_await type(ann, "0123456789abcdef\nnext\n");
  result<void> ended = bob.shutdown();
  CHECK(ended.has_value());
  co_await runnel::sleep(1ms);
  std::string seen = co_await screen(bob);
  CHECK(seen == "guest1: 01234567\nguest1: next\n<end>");
  p.serving.cancel();
  co_await p.serving.join();
}

TASK_TEST("chat: a slow client loses its oldest lines, is told so, and delays nobody") {
  party p(loop, loop.root_scope(), {.policy = slow_client::drop_oldest, .queue_lines = 3});
  pipe_stream slow = p.enter(16);
  co_await runnel::sleep(1ms);
  pipe_stream fast = p.enter();
  co_await runnel::sleep(1ms);
  pipe_stream writer = p.enter();
  std::string expected = "* guest3 has come\n";
  for (int i = 0; i < 50; ++i) {
    std::string line = "line " + std::to_string(i);
    expected += "guest3: " + line + "\n";
    co_await type(writer, line + "\n");
    std::string seen = co_await screen(fast);
    CHECK(expected.ends_with(seen));
  }
  std::string seen = co_await screen(slow);
  CHECK(seen.find("lines were lost") != std::string::npos);
  CHECK(seen.ends_with("guest3: line 47\nguest3: line 48\nguest3: line 49\n"));
  CHECK(seen.find("line 20\n") == std::string::npos);
  CHECK(p.room.clients() == 3);
  p.serving.cancel();
  co_await p.serving.join();
}

TASK_TEST("chat: a slow client loses its connection where the policy says so") {
  party p(loop, loop.root_scope(), {.policy = slow_client::disconnect, .queue_lines = 3});
  pipe_stream slow = p.enter(16);
  co_await runnel::sleep(1ms);
  pipe_stream writer = p.enter();
  for (int i = 0; i < 10; ++i) {
    co_await type(writer, "line\n");
  }
  std::string seen = co_await screen(writer);
  CHECK(seen == "* guest1 was too slow\n");
  seen = co_await screen(slow);
  CHECK(seen.ends_with("<reset>"));
  CHECK(p.room.clients() == 1);
  p.serving.cancel();
  co_await p.serving.join();
}

TASK_TEST("chat: a full room says so") {
  party p(loop, loop.root_scope(), {.most_clients = 1});
  pipe_stream ann = p.enter();
  co_await runnel::sleep(1ms);
  pipe_stream bob = p.enter();
  std::string seen = co_await screen(bob);
  CHECK(seen == "* the room is full\n<end>");
  p.serving.cancel();
  co_await p.serving.join();
}

TEST_CASE("chat: the room and its clients may be destroyed at every suspension point") {
  runnel::testing::kill_everywhere(&crowd, {.time_step = 1ms, .times = 10, .passes = 6});
}

TEST_CASE("chat: the room and its clients may be cancelled at every point") {
  runnel::testing::cancel_everywhere(&crowd, {.time_step = 1ms, .times = 10, .passes = 6});
}
