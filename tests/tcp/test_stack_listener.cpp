#include "runnel/shield.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// tcp::listener: who is served in which order, and what happens to those who are not.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<> accept_one(tcp::listener& on, std::vector<int>& order, int mine) {
  auto accepted = co_await on.accept();
  CHECK(accepted.has_value());
  order.push_back(mine);
}

task<> accept_refused(tcp::listener& on) {
  const auto accepted = co_await on.accept();
  REQUIRE(accepted.has_error());
  CHECK(accepted.error() == std::errc::bad_file_descriptor);
}

task<result<void>> answer(tcp::stream accepted) {
  tcp::stream at = std::move(accepted);
  const std::string question = co_await read_to_end(at);
  const auto sent = co_await at.write(bytes_of("answer to " + question));
  CHECK(sent.has_value());
  const auto ended = co_await at.close();
  CHECK(ended.clean());
  co_return result<void>();
}

}  // namespace

TASK_TEST("tcp listener: tasks that accept are served in the order they came") {
  network both(loop);
  auto listener = both.listen();
  std::vector<int> order;
  task_group group{loop};
  for (int i = 0; i < 5; ++i) {
    group.spawn(accept_one(listener, order, i));
    co_await sleep(1ms);
  }
  std::vector<tcp::stream> clients;
  for (int i = 0; i < 5; ++i) {
    auto connected = co_await both.client.connect(server_endpoint);
    clients.push_back(std::move(connected.value()));
    co_await sleep(5ms);
  }
  co_await group.join();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
}

TASK_TEST("tcp listener: closing it fails those who accept, also for ever after") {
  network both(loop);
  auto listener = both.listen();
  task_group group{loop};
  group.spawn(accept_refused(listener));
  group.spawn(accept_refused(listener));
  co_await sleep(1ms);
  listener.close();
  co_await group.join();
  co_await accept_refused(listener);
  listener.close();
  const auto refused = co_await both.client.connect(server_endpoint);
  CHECK(refused.error() == std::errc::connection_refused);
  auto again = both.listen();
  auto connected = co_await both.client.connect(server_endpoint);
  CHECK(connected.has_value());
}

TASK_TEST("tcp listener: destroying or overwriting it is closing it") {
  network both(loop);
  auto listener = std::make_unique<tcp::listener>(both.listen());
  task_group group{loop};
  group.spawn(accept_refused(*listener));
  co_await sleep(1ms);
  listener.reset();
  co_await group.join();
  auto one = both.listen();
  group.spawn(accept_refused(one));
  co_await sleep(1ms);
  one = both.server.listen({server_address, 81}).value();
  co_await group.join();
  CHECK(one.local_endpoint().port == 81);
}

TASK_TEST("tcp listener: it may be moved while a task accepts") {
  network both(loop);
  auto first = both.listen();
  std::vector<int> order;
  task_group group{loop};
  group.spawn(accept_one(first, order, 1));
  co_await sleep(1ms);
  tcp::listener second = std::move(first);
  auto connected = co_await both.client.connect(server_endpoint);
  CHECK(connected.has_value());
  co_await group.join();
  CHECK(order.size() == 1);
}

TASK_TEST("tcp listener: closing it resets the connections that nobody accepted") {
  network both(loop);
  auto listener = both.listen();
  auto one = co_await both.client.connect(server_endpoint);
  auto two = co_await both.client.connect(server_endpoint);
  const auto sent = co_await one->write(bytes_of("to nobody"));
  CHECK(sent.has_value());
  co_await sleep(5ms);
  CHECK(listener.info().accept_queue == 2);
  listener.close();
  std::byte buffer[16];
  const auto first = co_await one->read(buffer);
  CHECK(first.error() == std::errc::connection_reset);
  const auto second = co_await two->read(buffer);
  CHECK(second.error() == std::errc::connection_reset);
  const auto idle = co_await both.server.idle();
  CHECK(idle.has_value());
  CHECK(both.server.engine().memory().connections == 0);
}

TASK_TEST("tcp listener: the backlog bounds who waits, and changes at once") {
  network both(loop);
  tcp::listener_policy narrow;
  narrow.backlog = 1;
  auto listener = both.listen(narrow);
  std::vector<tcp::stream> clients;
  for (int i = 0; i < 2; ++i) {
    auto connected = co_await both.client.connect(server_endpoint);
    clients.push_back(std::move(connected.value()));
  }
  co_await sleep(5ms);
  CHECK(listener.info().accept_queue == 2);
  auto shut_out = co_await with_timeout(500ms, both.client.connect(server_endpoint));
  REQUIRE(shut_out.has_error());
  CHECK(shut_out.error() == errc::deadline_exceeded);
  CHECK(both.server.engine().counters().listen_overflows > 0);
  listener.set_backlog(10);
  CHECK(listener.info().backlog == 10);
  auto let_in = co_await with_timeout(500ms, both.client.connect(server_endpoint));
  CHECK(let_in.has_value());
  co_await sleep(5ms);
  CHECK(listener.info().accept_queue == 3);
}

TASK_TEST("tcp listener: an accept that is cancelled when its connection arrives loses nothing") {
  for (auto wait = 0us; wait < 8000us; wait += 250us) {
    network both(loop);
    auto listener = both.listen();
    task_group group{loop, on_failure::collect};
    int accepted = 0;
    const auto accepts = [](tcp::listener& on, int& count) -> task<> {
      auto got = co_await on.accept();
      if (got) ++count;
    };
    const auto connects = [](tcp::stack& from) -> task<> {
      auto connected = co_await shield(from.connect(server_endpoint));
      CHECK(connected.has_value());
      co_await shield(sleep(20ms));
    };
    group.spawn(connects(both.client));
    group.spawn(accepts(listener, accepted));
    co_await sleep(wait);
    group.cancel();
    co_await shield(sleep(10ms));
    if (accepted == 0) {
      const auto later = co_await listener.accept();
      CHECK(later.has_value());
    }
    co_await group.join();
  }
}

TASK_TEST("tcp listener: in a cancelled scope accept takes nothing and connect begins nothing") {
  network both(loop);
  auto listener = both.listen();
  auto connected = co_await both.client.connect(server_endpoint);
  co_await sleep(5ms);
  task_group group{loop, on_failure::collect};
  group.cancel();
  const auto tries = [](tcp::listener& on, tcp::stack& from) -> task<> {
    auto accepted = co_await on.accept();
    CHECK(accepted.error() == errc::cancelled);
    auto made = co_await from.connect(server_endpoint);
    CHECK(made.error() == errc::cancelled);
  };
  group.spawn(tries(listener, both.client));
  co_await group.join();
  CHECK(listener.info().accept_queue == 1);
  CHECK(both.client.engine().counters().active_opens == 1);
}

TASK_TEST("tcp listener: a thousand connections at once, each with its own answer") {
  network both(loop);
  auto listener = both.listen();
  task_group group{loop};
  const auto serves = [](tcp::listener& on, task_group& in) -> task<> {
    for (int i = 0; i < 1000; ++i) {
      auto accepted = co_await on.accept();
      REQUIRE(accepted.has_value());
      in.spawn(answer(std::move(*accepted)));
    }
  };
  const auto asks = [](tcp::stack& from, int number) -> task<> {
    auto connected = co_await from.connect(server_endpoint);
    REQUIRE(connected.has_value());
    tcp::stream at = std::move(*connected);
    const std::string question = "question " + std::to_string(number);
    const auto sent = co_await at.write(bytes_of(question));
    CHECK(sent.has_value());
    CHECK(at.shutdown().has_value());
    const std::string answer = co_await read_to_end(at);
    CHECK(answer == "answer to " + question);
    const auto ended = co_await at.close();
    CHECK(ended.clean());
  };
  group.spawn(serves(listener, group));
  for (int i = 0; i < 1000; ++i) group.spawn(asks(both.client, i));
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  const auto idle = co_await both.server.idle();
  CHECK(idle.has_value());
  CHECK(both.server.engine().counters().passive_opens == 1000);
  CHECK(both.server.engine().counters().listen_drops == 0);
  CHECK(both.client.engine().counters().retrans_segs == 0);
}

TASK_TEST("tcp listener: addresses and ports that cannot be had are refused") {
  network both(loop);
  auto listener = both.listen();
  CHECK(both.server.listen(server_endpoint).error() == std::errc::address_in_use);
  CHECK(both.server.listen({client_address, 80}).error() == std::errc::address_not_available);
  const auto anywhere = both.server.listen({{}, 0}).value();
  CHECK(anywhere.local_endpoint().port >= 32768);
  tcp::listener_policy bad;
  bad.connection.ttl = std::uint8_t{0};
  CHECK(both.server.listen({{}, 82}, bad).error() == std::errc::invalid_argument);
  co_return;
}
