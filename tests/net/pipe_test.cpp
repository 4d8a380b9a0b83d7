#include <runnel/net/pipe.hpp>

#include "net/bytes.hpp"
#include "support/task_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <algorithm>
#include <optional>
#include <string>

using namespace std::chrono_literals;
using namespace runnel;
using runnel::net::pipe_options;
using runnel::net::pipe_stream;
using runnel::test::byte_string;
using runnel::test::bytes_of;

namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

task<result<void>> write_all(pipe_stream& to, byte_string bytes) {
  const auto taken = co_await to.write(std::span<const std::byte>(bytes));
  CHECK(taken.has_value());
  CHECK(taken.value() == bytes.size());
  co_return result<void>{};
}

/// Reads until the end of the stream, a few bytes at a time.
task<result<void>> read_all(pipe_stream& from, byte_string& into, std::size_t at_once) {
  byte_string buffer(at_once);
  for (;;) {
    const auto count = co_await from.read(buffer);
    if (!count) co_return count.error();
    if (*count == 0) co_return result<void>{};
    into.insert(into.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*count));
  }
}

task<result<void>> expect_read_error(pipe_stream& from, std::error_condition expected) {
  byte_string buffer(10);
  const auto count = co_await from.read(buffer);
  CHECK(count.has_error());
  CHECK(count.error() == expected);
  co_return result<void>{};
}

task<result<void>> store_write(pipe_stream& to, byte_string bytes,
                               std::optional<result<std::size_t>>& outcome) {
  outcome = co_await to.write(std::span<const std::byte>(bytes));
  co_return result<void>{};
}

}  // namespace

TASK_TEST("pipe: what is written is read, and the end comes after it") {
  auto [a, b] = pipe_stream::make(loop);
  const auto hello = bytes_of("hello");
  const auto taken = co_await a.write(std::span<const std::byte>(hello));
  CHECK(taken.value() == 5);
  CHECK(b.unread_bytes() == 5);
  CHECK(a.shutdown().has_value());
  CHECK(a.shutdown().has_value());

  byte_string buffer(3);
  auto count = co_await b.read(buffer);
  CHECK(count.value() == 3);
  CHECK(text_of(buffer) == "hel");
  count = co_await b.read(buffer);
  CHECK(count.value() == 2);
  count = co_await b.read(buffer);
  CHECK(count.value() == 0);
  count = co_await b.read(buffer);
  CHECK(count.value() == 0);
  const auto refused = co_await a.write(std::span<const std::byte>(hello));
  CHECK(refused.error() == std::errc::broken_pipe);
}

TASK_TEST("pipe: a write larger than the buffer goes on as the peer reads") {
  random_source random{seed};
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{7}, std::size_t{64}}) {
    pipe_options options;
    options.capacity = capacity;
    auto [a, b] = pipe_stream::make(loop, options);
    byte_string sent(1000);
    for (auto& byte : sent) byte = static_cast<std::byte>(random());
    byte_string received;
    task_group group{loop};
    group.spawn(read_all(b, received, 1 + random.below(20)));
    group.spawn(write_all(a, sent));
    co_await sleep(1ms);
    CHECK(received == sent);
    CHECK(a.shutdown().has_value());
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
  }
}

TASK_TEST("pipe: pieces are written in order as one") {
  pipe_options options;
  options.capacity = 4;
  auto [a, b] = pipe_stream::make(loop, options);
  byte_string received;
  task_group group{loop};
  group.spawn(read_all(b, received, 3));
  const auto head = bytes_of("head");
  const auto tail = bytes_of("tail and more");
  const std::array<std::span<const std::byte>, 4> pieces{head, {}, tail, {}};
  const auto taken = co_await a.write(pieces);
  CHECK(taken.value() == head.size() + tail.size());
  CHECK(a.shutdown().has_value());
  co_await group.join();
  CHECK(text_of(received) == "headtail and more");
}

TASK_TEST("pipe: half-close leaves the other direction open") {
  auto [a, b] = pipe_stream::make(loop);
  CHECK(a.shutdown().has_value());
  byte_string buffer(10);
  auto count = co_await b.read(buffer);
  CHECK(count.value() == 0);
  const auto answer = bytes_of("answer");
  const auto taken = co_await b.write(std::span<const std::byte>(answer));
  CHECK(taken.value() == 6);
  count = co_await a.read(buffer);
  CHECK(count.value() == 6);
  const auto drained = co_await b.drained();
  CHECK(drained.has_value());
  const auto last = co_await b.close();
  CHECK(last.clean());
  const auto first = co_await a.close();
  CHECK(first.clean());
}

TASK_TEST("pipe: readable waits without a buffer, for bytes and for the end") {
  auto [a, b] = pipe_stream::make(loop);
  const auto early = co_await with_timeout(1s, b.readable());
  CHECK(early.error() == errc::deadline_exceeded);
  task_group group{loop};
  group.spawn(write_all(a, bytes_of("x")));
  auto ready = co_await b.readable();
  CHECK(ready.has_value());
  ready = co_await b.readable();
  CHECK(ready.has_value());
  byte_string buffer(1);
  const auto count = co_await b.read(buffer);
  CHECK(count.value() == 1);
  co_await group.join();
  CHECK(a.shutdown().has_value());
  ready = co_await b.readable();
  CHECK(ready.has_value());
}

TASK_TEST("pipe: a read that is cancelled or late has consumed nothing") {
  auto [a, b] = pipe_stream::make(loop);
  byte_string buffer(10);
  auto count = co_await with_timeout(1s, b.read(buffer));
  CHECK(count.error() == errc::deadline_exceeded);
  const auto hello = bytes_of("hello");
  co_await a.write(std::span<const std::byte>(hello));
  {
    task_group group{loop};
    group.cancel();
    group.spawn(expect_read_error(b, std::errc::operation_canceled));
    co_await group.join();
  }
  CHECK(b.unread_bytes() == 5);
  count = co_await b.read(buffer);
  CHECK(count.value() == 5);
}

TASK_TEST("pipe: a cancelled write says how many bytes were taken") {
  pipe_options options;
  options.capacity = 4;
  auto [a, b] = pipe_stream::make(loop, options);
  const auto six = bytes_of("sixsix");
  auto taken = co_await with_timeout(1s, a.write(std::span<const std::byte>(six)));
  CHECK(taken.value() == 4);
  taken = co_await with_timeout(1s, a.write(std::span<const std::byte>(six)));
  CHECK(taken.error() == errc::deadline_exceeded);
  byte_string buffer(10);
  const auto count = co_await b.read(buffer);
  CHECK(count.value() == 4);
  CHECK(b.unread_bytes() == 0);
}

TASK_TEST("pipe: a standing read deadline fails what is pending and later, and loses nothing") {
  auto [a, b] = pipe_stream::make(loop);
  b.set_read_deadline(loop.now() + 5s);
  const auto begin = loop.now();
  byte_string buffer(10);
  auto count = co_await b.read(buffer);
  CHECK(count.error() == errc::deadline_exceeded);
  CHECK(loop.now() - begin >= 5s);
  const auto hello = bytes_of("hello");
  co_await a.write(std::span<const std::byte>(hello));
  count = co_await b.read(buffer);
  CHECK(count.error() == errc::deadline_exceeded);
  auto ready = co_await b.readable();
  CHECK(ready.error() == errc::deadline_exceeded);
  b.set_read_deadline(time_point::max());
  ready = co_await b.readable();
  CHECK(ready.has_value());
  count = co_await b.read(buffer);
  CHECK(count.value() == 5);
  b.set_read_deadline(loop.now());
  count = co_await b.read(buffer);
  CHECK(count.error() == errc::deadline_exceeded);
}

TASK_TEST("pipe: moving a deadline while a read waits moves its end") {
  auto [a, b] = pipe_stream::make(loop);
  b.set_read_deadline(loop.now() + 1s);
  task_group group{loop};
  group.spawn(expect_read_error(b, std::errc::timed_out));
  co_await sleep(500ms);
  b.set_read_deadline(loop.now() + 2s);
  co_await sleep(1900ms);
  CHECK(group.size() == 1);
  co_await sleep(200ms);
  CHECK(group.empty());
  co_await group.join();
}

TASK_TEST("pipe: a standing write deadline gives the short count, then the error") {
  pipe_options options;
  options.capacity = 4;
  auto [a, b] = pipe_stream::make(loop, options);
  a.set_write_deadline(loop.now() + 1s);
  const auto six = bytes_of("sixsix");
  auto taken = co_await a.write(std::span<const std::byte>(six));
  CHECK(taken.value() == 4);
  taken = co_await a.write(std::span<const std::byte>(six));
  CHECK(taken.error() == errc::deadline_exceeded);
  byte_string buffer(4);
  co_await b.read(buffer);
  taken = co_await a.write(std::span<const std::byte>(six));
  CHECK(taken.error() == errc::deadline_exceeded);
  a.set_write_deadline(loop.now() + 1s);
  taken = co_await a.write(std::span<const std::byte>(six).first(4));
  CHECK(taken.value() == 4);
}

TASK_TEST("pipe: abort resets the peer, who reads what had arrived first") {
  auto [a, b] = pipe_stream::make(loop);
  const auto hello = bytes_of("hello");
  co_await a.write(std::span<const std::byte>(hello));
  a.abort();
  byte_string buffer(10);
  auto count = co_await b.read(buffer);
  CHECK(count.value() == 5);
  count = co_await b.read(buffer);
  CHECK(count.error() == std::errc::connection_reset);
  const auto taken = co_await b.write(std::span<const std::byte>(hello));
  CHECK(taken.error() == std::errc::connection_reset);
  const auto drained = co_await b.drained();
  CHECK(drained.error() == std::errc::connection_reset);
  CHECK(b.shutdown().error() == std::errc::connection_reset);
  count = co_await a.read(buffer);
  CHECK(count.error() == std::errc::connection_aborted);
  const auto mine = co_await a.close();
  CHECK_FALSE(mine.clean());
  CHECK(mine.error() == std::errc::connection_aborted);
  const auto theirs = co_await b.close();
  CHECK_FALSE(theirs.clean());
  CHECK(theirs.error() == std::errc::connection_reset);
}

TASK_TEST("pipe: abort wakes what is pending on both sides") {
  pipe_options options;
  options.capacity = 4;
  auto [a, b] = pipe_stream::make(loop, options);
  std::optional<result<std::size_t>> outcome;
  task_group group{loop};
  group.spawn(expect_read_error(a, std::errc::connection_reset));
  group.spawn(store_write(a, bytes_of("sixsix"), outcome));
  co_await sleep(1ms);
  CHECK(group.size() == 2);
  b.abort();
  co_await group.join();
  REQUIRE(outcome.has_value());
  CHECK(outcome->value() == 4);
}

TASK_TEST("pipe: closing with bytes unread resets the peer") {
  auto [a, b] = pipe_stream::make(loop);
  const auto hello = bytes_of("hello");
  co_await a.write(std::span<const std::byte>(hello));
  const auto ending = co_await b.close();
  CHECK_FALSE(ending.clean());
  CHECK(ending.error() == std::errc::connection_aborted);
  byte_string buffer(10);
  const auto count = co_await a.read(buffer);
  CHECK(count.error() == std::errc::connection_reset);
  const auto again = co_await b.close();
  CHECK_FALSE(again.clean());
  const auto late = co_await b.read(buffer);
  CHECK(late.error() == std::errc::bad_file_descriptor);
}

TASK_TEST("pipe: a stream that is destroyed has closed, and its bytes are still read") {
  std::optional<pipe_stream> a;
  std::optional<pipe_stream> b;
  {
    auto both = pipe_stream::make(loop);
    a = std::move(both.first);
    b = std::move(both.second);
  }
  const auto hello = bytes_of("hello");
  co_await a->write(std::span<const std::byte>(hello));
  a.reset();
  byte_string received;
  const auto outcome = co_await read_all(*b, received, 2);
  CHECK(outcome.has_value());
  CHECK(text_of(received) == "hello");
  const auto taken = co_await b->write(std::span<const std::byte>(hello));
  CHECK(taken.error() == std::errc::broken_pipe);
}

TASK_TEST("pipe: an operation outlives the stream it was started on") {
  std::optional<pipe_stream> a;
  auto both = pipe_stream::make(loop);
  a = std::move(both.first);
  task_group group{loop};
  group.spawn(expect_read_error(*a, std::errc::bad_file_descriptor));
  co_await sleep(1ms);
  a.reset();
  co_await group.join();
}

TASK_TEST("pipe: a busy pair does not starve a third task") {
  auto [a, b] = pipe_stream::make(loop);
  const auto hello = bytes_of("hello");
  byte_string buffer(5);
  bool ran = false;
  task_group group{loop};
  const auto mark = [](bool& flag) -> task<> {
    flag = true;
    co_return;
  };
  group.spawn(mark(ran));
  for (int i = 0; i < 10000; ++i) {
    co_await a.write(std::span<const std::byte>(hello));
    co_await b.read(buffer);
  }
  CHECK(ran);
  co_await group.join();
}

TASK_TEST("pipe: has the endpoints it was made with") {
  pipe_options options;
  options.first = net::endpoint::parse("10.0.0.1:1234").value();
  options.second = net::endpoint::parse("[2001:db8::1]:80").value();
  auto [a, b] = pipe_stream::make(loop, options);
  CHECK(a.local_endpoint() == options.first);
  CHECK(a.remote_endpoint() == options.second);
  CHECK(b.local_endpoint() == options.second);
  CHECK(b.remote_endpoint() == options.first);
  co_return;
}

TEST_CASE("pipe: tasks destroyed while they wait leave the pipe usable") {
  loop driver{loop_options{.simulated = 1}};
  auto [a, b] = pipe_stream::make(driver);
  byte_string received;
  {
    // The root throws while its children wait, so the group's frames die suspended.
    const auto root = [](loop& owner, pipe_stream& from, byte_string& into) -> task<> {
      task_group group{owner};
      group.spawn(read_all(from, into, 5));
      co_await sleep(1ms);
      co_await sleep(time_point::max() - owner.now());
    };
    CHECK_THROWS_AS(driver.run(root(driver, b, received)), deadlock_error);
  }
  const auto next = [](pipe_stream& to, pipe_stream& from) -> task<> {
    const auto hello = bytes_of("hello");
    co_await to.write(std::span<const std::byte>(hello));
    byte_string buffer(5);
    const auto count = co_await from.read(buffer);
    CHECK(count.value() == 5);
  };
  driver.run(next(a, b));
}
