#include <runnel/net/pipe.hpp>

#include "net/bytes.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <optional>
#include <vector>

using namespace std::chrono_literals;
using namespace runnel;
using runnel::net::pipe_connector;
using runnel::net::pipe_listener;
using runnel::net::pipe_listener_options;
using runnel::net::pipe_stream;
using runnel::test::byte_string;
using runnel::test::bytes_of;

namespace {

task<result<void>> accept_into(pipe_listener& listener, std::vector<pipe_stream>& into) {
  auto stream = co_await listener.accept();
  if (!stream) co_return stream.error();
  into.push_back(std::move(*stream));
  co_return result<void>{};
}

task<result<void>> connect_into(pipe_listener& listener, std::vector<pipe_stream>& into) {
  auto stream = co_await listener.connect();
  if (!stream) co_return stream.error();
  into.push_back(std::move(*stream));
  co_return result<void>{};
}

pipe_listener_options backlog_of(std::size_t size) {
  pipe_listener_options options;
  options.backlog = size;
  return options;
}

}  // namespace

TASK_TEST("pipe listener: accepts in the order of connecting, whoever comes first") {
  pipe_listener listener{loop};
  auto first = co_await listener.connect();
  auto second = co_await listener.connect();
  CHECK(listener.pending() == 2);
  auto one = co_await listener.accept();
  auto two = co_await listener.accept();
  CHECK(one->remote_endpoint() == first->local_endpoint());
  CHECK(two->remote_endpoint() == second->local_endpoint());
  CHECK(first->local_endpoint() != second->local_endpoint());
  CHECK(one->local_endpoint() == listener.local_endpoint());

  std::vector<pipe_stream> accepted;
  task_group group{loop};
  group.spawn(accept_into(listener, accepted));
  co_await sleep(1ms);
  const auto from = net::endpoint::parse("10.9.9.9:77").value();
  auto third = co_await listener.connect(from);
  co_await group.join();
  REQUIRE(accepted.size() == 1);
  CHECK(accepted[0].remote_endpoint() == from);
}

TASK_TEST("pipe listener: a full backlog makes connect wait") {
  pipe_listener listener{loop, backlog_of(1)};
  auto first = co_await listener.connect();
  const auto late = co_await with_timeout(1s, listener.connect());
  CHECK(late.error() == errc::deadline_exceeded);
  CHECK(listener.pending() == 1);
  std::vector<pipe_stream> connected;
  task_group group{loop};
  group.spawn(connect_into(listener, connected));
  co_await sleep(1ms);
  CHECK(connected.empty());
  auto accepted = co_await listener.accept();
  co_await group.join();
  CHECK(connected.size() == 1);
  CHECK(listener.pending() == 1);
}

TASK_TEST("pipe listener: a cancelled accept loses no connection") {
  pipe_listener listener{loop};
  std::vector<pipe_stream> accepted;
  {
    task_group group{loop};
    group.spawn(accept_into(listener, accepted));
    co_await sleep(1ms);
    auto connected = co_await listener.connect();
    group.cancel();
    co_await group.join();
  }
  {
    task_group group{loop};
    group.spawn(accept_into(listener, accepted));
    group.cancel();
    co_await group.join();
  }
  CHECK(accepted.size() + listener.pending() == 1);
}

TASK_TEST("pipe listener: close refuses, resets and ends what is pending") {
  pipe_listener listener{loop, backlog_of(1)};
  pipe_connector connector{listener};
  auto unaccepted = co_await connector.connect(listener.local_endpoint());
  std::vector<pipe_stream> connected;
  task_group group{loop, on_failure::collect};
  group.spawn(connect_into(listener, connected));
  co_await sleep(1ms);
  listener.close();
  const auto joined = co_await group.join();
  CHECK(joined.error() == std::errc::connection_refused);
  byte_string buffer(1);
  const auto count = co_await unaccepted->read(buffer);
  CHECK(count.error() == std::errc::connection_reset);
  const auto accepted = co_await listener.accept();
  CHECK(accepted.error() == std::errc::bad_file_descriptor);
  const auto refused = co_await connector.connect(net::endpoint::parse("127.0.0.1:80").value());
  CHECK(refused.error() == std::errc::connection_refused);
}

TASK_TEST("pipe listener: destroying it ends a pending accept") {
  std::optional<pipe_listener> listener{std::in_place, loop};
  std::vector<pipe_stream> accepted;
  task_group group{loop};
  group.spawn(accept_into(*listener, accepted));
  co_await sleep(1ms);
  listener.reset();
  const auto joined = co_await group.join();
  CHECK(joined.error() == std::errc::bad_file_descriptor);
}

TASK_TEST("pipe connector: refuses other endpoints than its listener's") {
  pipe_listener listener{loop};
  pipe_connector connector{listener};
  const auto refused = co_await connector.connect(net::endpoint::parse("127.0.0.1:81").value());
  CHECK(refused.error() == std::errc::connection_refused);
  auto connected = co_await connector.connect(listener.local_endpoint());
  CHECK(connected.has_value());
}

TASK_TEST("pipe listener: a connection given to a task that dies goes to the next one") {
  pipe_listener listener{loop};
  std::vector<pipe_stream> accepted;
  const auto acceptor = [](pipe_listener& from, std::vector<pipe_stream>& into) -> task<> {
    co_await accept_into(from, into);
  };
  auto first = testing::make_victim(acceptor(listener, accepted));
  first.start(loop);
  co_await sleep(1ms);
  auto connected = co_await listener.connect();
  CHECK(listener.pending() == 0);
  first.destroy();
  CHECK(listener.pending() == 1);
  auto again = co_await listener.accept();
  REQUIRE(again.has_value());
  CHECK(again->remote_endpoint() == connected->local_endpoint());
}
