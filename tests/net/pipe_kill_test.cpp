#include <runnel/net/pipe.hpp>

#include "net/bytes.hpp"
#include "support/kill_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

using namespace std::chrono_literals;
using namespace runnel;
using net::pipe_listener;
using net::pipe_listener_options;
using net::pipe_options;
using net::pipe_stream;
using test::byte_string;

namespace {

/// Reads and writes that each wait for the other side, with a deadline that stands meanwhile.
task<> send_slowly(pipe_stream& to) {
  for (int i = 0; i < 4; ++i) {
    co_await sleep(1ms);
    const byte_string bytes(10, std::byte{1});
    co_await to.write(std::span<const std::byte>(bytes));
  }
  static_cast<void>(to.shutdown());
  co_await to.drained();
}

task<> receive_slowly(pipe_stream& from) {
  byte_string buffer(3);
  from.set_read_deadline((co_await this_loop()).now() + 1s);
  for (int i = 0; i < 100; ++i) {
    co_await from.readable();
    if (i % 3 == 0) co_await sleep(500us);
    const auto count = co_await from.read(buffer);
    if (!count || *count == 0) break;
  }
  co_await from.close();
}

task<> talk(loop& owner, std::uint64_t) {
  pipe_options options;
  options.capacity = 4;
  auto [a, b] = pipe_stream::make(owner, options);
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(send_slowly(a));
  group.spawn(receive_slowly(b));
  co_await group.join();
}

task<> accept_some(pipe_listener& listener) {
  for (int i = 0; i < 3; ++i) {
    auto stream = co_await with_timeout(10ms, listener.accept());
    if (!stream) co_return;
    co_await sleep(1ms);
  }
}

task<> connect_some(pipe_listener& listener) {
  for (int i = 0; i < 3; ++i) {
    auto stream = co_await listener.connect();
    if (!stream) co_return;
    co_await stream->readable();
  }
}

task<> meet(loop& owner, std::uint64_t) {
  pipe_listener_options options;
  options.backlog = 1;
  pipe_listener listener{owner, options};
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(connect_some(listener));
  group.spawn(connect_some(listener));
  group.spawn(accept_some(listener));
  co_await sleep(2ms);
  group.spawn(accept_some(listener));
  co_await group.join();
}

}  // namespace

TEST_CASE("pipe: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere(&talk);
  testing::kill_everywhere(&meet);
}

TEST_CASE("pipe: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere(&talk);
  testing::cancel_everywhere(&meet);
}
