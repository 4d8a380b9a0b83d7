#include "runnel/task_group.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// tcp::listener with more clients than its accept queue takes.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<result<void>> answer(tcp::stream accepted) {
  tcp::stream at = std::move(accepted);
  const std::string question = co_await read_to_end(at);
  const auto sent = co_await at.write(bytes_of("answer to " + question));
  CHECK(sent.has_value());
  const auto ended = co_await at.close();
  CHECK(ended.clean());
  co_return result<void>();
}

task<result<void>> ask(tcp::stack& from, int number) {
  auto connected = co_await from.connect(server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream at = std::move(*connected);
  const std::string question = "question " + std::to_string(number);
  const auto sent = co_await at.write(bytes_of(question));
  CHECK(sent.has_value());
  CHECK(at.shutdown().has_value());
  const std::string heard = co_await read_to_end(at);
  CHECK(heard == "answer to " + question);
  const auto ended = co_await at.close();
  CHECK(ended.clean());
  co_return result<void>();
}

tcp::listener_policy parking(std::uint32_t backlog) {
  tcp::listener_policy policy;
  policy.backlog = backlog;
  policy.overflow = tcp::accept_overflow::park;
  return policy;
}

/// Fills the accept queue but for one place, and has `more` clients ask at the same moment.
task<> crowd(network& both, task_group& group, std::uint32_t backlog, int more) {
  int number = 0;
  for (std::uint32_t i = 0; i < backlog; ++i) group.spawn(ask(both.client, number++));
  co_await sleep(10ms);
  for (int i = 0; i < more; ++i) group.spawn(ask(both.client, number++));
  co_await sleep(10ms);
}

}  // namespace

TASK_TEST("park: a crowd waits while the accept loop sleeps, and each gets its own answer") {
  network both(loop);
  auto listener = both.listen(parking(8));
  task_group group{loop};
  co_await crowd(both, group, 8, 9);
  CHECK(listener.info().accept_queue == 9);
  CHECK(listener.info().parked == 8);
  co_await sleep(2s);
  CHECK(listener.info().parked == 8);
  for (int i = 0; i < 17; ++i) {
    auto accepted = co_await listener.accept();
    REQUIRE(accepted.has_value());
    group.spawn(answer(std::move(*accepted)));
    // Now and then it sleeps again.
    if (i % 5 == 0) co_await sleep(100ms);
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(listener.info().parked == 0);
  CHECK(both.server.engine().counters().listen_drops == 0);
  CHECK(both.server.engine().counters().accept_parked == 8);
  CHECK(both.server.engine().counters().passive_opens == 17);
}

TASK_TEST("park: a parked client is handed to the accept that waits for it") {
  network both(loop);
  auto listener = both.listen(parking(1));
  task_group group{loop};
  co_await crowd(both, group, 1, 2);
  CHECK(listener.info().parked == 1);
  const auto serves = [](tcp::listener& on, task_group& in) -> task<> {
    auto accepted = co_await on.accept();
    REQUIRE(accepted.has_value());
    in.spawn(answer(std::move(*accepted)));
  };
  // More tasks accept than connections wait: each must come to one.
  for (int i = 0; i < 3; ++i) group.spawn(serves(listener, group));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(listener.info().accepted == 3);
}

TASK_TEST("park: closing the listener resets who is parked") {
  network both(loop);
  auto listener = both.listen(parking(0));
  auto one = co_await both.client.connect(server_endpoint);
  REQUIRE(one.has_value());
  co_await sleep(5ms);
  listener.set_backlog(1);
  task_group group{loop};
  const auto is_reset = [](tcp::stack& from) -> task<> {
    auto connected = co_await from.connect(server_endpoint);
    REQUIRE(connected.has_value());
    std::byte buffer[16];
    const auto got = co_await connected->read(buffer);
    CHECK(got.error() == std::errc::connection_reset);
  };
  group.spawn(is_reset(both.client));
  group.spawn(is_reset(both.client));
  co_await sleep(10ms);
  CHECK(listener.info().parked == 1);
  listener.close();
  co_await group.join();
  const auto idle = co_await both.server.idle();
  CHECK(idle.has_value());
  CHECK(both.server.engine().memory().half_open == 0);
}
