#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "shard_network.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

// Two stacks that are one host, on one loop, with packets that arrive where they do not belong.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<> echo_until_end(tcp::stream accepted) {
  tcp::stream at = std::move(accepted);
  std::vector<std::byte> buffer(5'000);
  for (;;) {
    const auto got = co_await at.read(buffer);
    if (!got || *got == 0) break;
    const auto sent = co_await at.write(std::span<const std::byte>(buffer).first(*got));
    if (!sent) break;
  }
  co_await at.close();
}

task<> accept_echoes(tcp::listener& on, task_group& connections) {
  for (;;) {
    auto accepted = co_await on.accept();
    if (!accepted) break;
    connections.spawn(echo_until_end(std::move(*accepted)));
  }
}

/// Writes, reads the same back, after `pause` once more, and closes.
task<> ask_twice(tcp::stack& from, net::endpoint to, duration pause) {
  auto connected = co_await from.connect(to);
  REQUIRE(connected.has_value());
  tcp::stream at = std::move(*connected);
  for (const std::size_t size : {20UL, 20'000UL}) {
    const std::string text = pattern(size);
    const auto sent = co_await at.write(bytes_of(text));
    CHECK(sent.value() == size);
    std::string back;
    std::vector<std::byte> buffer(size);
    while (back.size() < size) {
      const auto got = co_await at.read(buffer);
      REQUIRE(got.value() > 0);
      back.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
    CHECK(back == text);
    co_await sleep(pause);
  }
  const auto ended = co_await at.close();
  CHECK(ended.clean());
}

/// Connections both ways, from both shards and to both.
task<> run_both_ways(loop& owner, shard_network& net, int each_way) {
  auto listeners = net.listen();
  auto far = net.client.listen({{}, 7}).value();
  task_group connections(owner);
  task_group accepting(owner);
  for (auto& each : listeners) accepting.spawn(accept_echoes(each, connections));
  accepting.spawn(accept_echoes(far, connections));
  task_group asking(owner);
  for (int i = 0; i < each_way; ++i) {
    asking.spawn(ask_twice(net.client, server_endpoint, 10ms));
    const auto shard = static_cast<std::size_t>(i % 2);
    asking.spawn(ask_twice(*net.servers[shard], {client_address, 7}, 10ms));
  }
  co_await asking.join();
  accepting.cancel();
  co_await accepting.join();
  co_await connections.join();
  for (auto& each : net.servers) {
    const auto idle = co_await each->idle();
    CHECK(idle.has_value());
  }
}

}  // namespace

TASK_TEST("tcp shards: connections both ways live although every packet comes by the wrong link") {
  shard_network net(loop);
  co_await run_both_ways(loop, net, 20);
  CHECK(net.sum(&tcp::counters::active_opens) == 20);
  CHECK(net.sum(&tcp::counters::passive_opens) == 20);
  for (const auto& each : net.servers) {
    CHECK(each->engine().counters().passive_opens > 2);
    CHECK(each->engine().counters().in_csum_errors == 0);
  }
  CHECK(net.sum(&tcp::counters::out_rsts) == 0);
  CHECK(net.client.engine().counters().out_rsts == 0);
  CHECK(net.sum(&tcp::counters::retrans_segs) == 0);
  CHECK(net.sum(&tcp::counters::shard_dropped) == 0);
  CHECK(net.sum(&tcp::counters::shard_handed) == net.sum(&tcp::counters::shard_taken));
  CHECK(net.sum(&tcp::counters::shard_handed) == net.sum(&tcp::counters::in_segs));
}

TASK_TEST("tcp shards: nothing is handed over where each packet comes by its own link") {
  shard_network net(loop);
  net.middle.choose = [&](const passing& each) { return net.owner_of(each); };
  co_await run_both_ways(loop, net, 10);
  CHECK(net.sum(&tcp::counters::passive_opens) == 10);
  CHECK(net.sum(&tcp::counters::shard_handed) == 0);
  CHECK(net.sum(&tcp::counters::out_rsts) == 0);
}

TASK_TEST("tcp shards: packets of a flow that come by turns by both links stay one flow") {
  shard_network net(loop);
  net.middle.choose = [&, n = 0U](const passing&) mutable { return n++ / 3 % 2; };
  co_await run_both_ways(loop, net, 20);
  CHECK(net.sum(&tcp::counters::out_rsts) == 0);
  CHECK(net.client.engine().counters().out_rsts == 0);
  CHECK(net.sum(&tcp::counters::shard_handed) > 0);
  CHECK(net.sum(&tcp::counters::shard_dropped) == 0);
}

TEST_CASE("tcp shards: the same seed gives the same run") {
  const auto run = [](std::uint64_t seed) {
    loop driver{loop_options{.simulated = seed}};
    shard_network net(driver);
    std::vector<std::int64_t> moments;
    net.middle.watch = [&](const passing& each) {
      moments.push_back(each.at.time_since_epoch().count() + each.seq +
                        static_cast<std::int64_t>(each.size));
    };
    driver.run(run_both_ways(driver, net, 5));
    return moments;
  };
  CHECK(run(3) == run(3));
  CHECK(run(3) != run(4));
}

TASK_TEST("tcp shards: what nobody listens for is refused once, by its owner") {
  shard_network net(loop);
  for (int i = 0; i < 8; ++i) {
    const auto refused = co_await net.client.connect(server_endpoint);
    CHECK(refused.error() == std::errc::connection_refused);
  }
  CHECK(net.sum(&tcp::counters::out_rsts) == 8);
  CHECK(net.sum(&tcp::counters::shard_handed) == 8);
}

TASK_TEST("tcp shards: all of them are looked at as one") {
  shard_network net(loop);
  auto listeners = net.listen({.backlog = 100});
  task_group asking(loop);
  std::vector<tcp::stream> held;
  for (int i = 0; i < 20; ++i) {
    auto connected = co_await net.client.connect(server_endpoint);
    held.push_back(std::move(connected.value()));
  }
  co_await sleep(10ms);
  const auto seen = co_await net.servers[1]->look_at_all();
  REQUIRE(seen.has_value());
  CHECK(seen->shards == 2);
  CHECK(seen->counters.passive_opens == 20);
  CHECK(seen->counters.curr_estab == 20);
  CHECK(seen->memory.connections == 20);
  CHECK(seen->memory.time_wait_bytes == net.servers[0]->engine().memory().time_wait_bytes);
  REQUIRE(seen->listeners.size() == 1);
  CHECK(seen->listeners[0].local == listeners[0].local_endpoint());
  CHECK(seen->listeners[0].accept_queue == 20);
  CHECK(seen->listeners[0].backlog == 200);
  CHECK(seen->listeners[0].accepted == 20);
  const auto alone = co_await net.client.look_at_all();
  CHECK(alone->shards == 1);
  CHECK(alone->counters.active_opens == 20);
}

namespace {

task<> look_once(loop& owner, std::uint64_t) {
  shard_network net(owner);
  co_await sleep(2ms);
  const auto seen = co_await net.servers[0]->look_at_all();
  if (seen) CHECK(seen->shards == 2);
  co_await sleep(2ms);
}

}  // namespace

TEST_CASE("tcp shards: who looks at all may be destroyed or cancelled at any moment") {
  testing::kill_everywhere(&look_once);
  testing::cancel_everywhere(&look_once);
}

TASK_TEST("tcp shards: when one shard is gone, what is for it is lost, and the others go on") {
  shard_network net(loop);
  auto listeners = net.listen();
  listeners.pop_back();
  net.servers[1].reset();
  // All packets come by the link that is left, and half of them are nobody's.
  net.middle.choose = [](const passing&) { return 0U; };
  int answered = 0;
  for (int i = 0; i < 10; ++i) {
    auto connected = co_await with_timeout(50ms, net.client.connect(server_endpoint));
    if (!connected) continue;
    ++answered;
    connected->abort();
  }
  CHECK(answered > 0);
  CHECK(answered < 10);
  CHECK(net.servers[0]->engine().counters().shard_dropped > 0);
  CHECK(net.servers[0]->engine().counters().out_rsts == 0);
  const auto seen = co_await net.servers[0]->look_at_all();
  CHECK(seen->shards == 1);
}

TASK_TEST("tcp shards: a shard whose link is gone still answers who looks at all") {
  shard_network net(loop);
  net.inner[1]->sever();
  co_await sleep(5ms);
  CHECK(net.servers[1]->link_error());
  for (const auto& each : net.servers) {
    const auto seen = co_await each->look_at_all();
    CHECK(seen->shards == 2);
  }
}

namespace {

/// How many of 16 clients whose SYN-ACK carries a cookie get in, when `rotate` is done while that
/// is on its way.
task<int> let_in(loop& owner, std::function<void(shard_network&)> rotate) {
  shard_network net(owner);
  auto listeners = net.listen({.syncookies = tcp::syncookies::always});
  std::vector<tcp::stream> held;
  task_group connecting(owner);
  const auto connect = [](shard_network& in, std::vector<tcp::stream>& out) -> task<> {
    auto connected = co_await in.client.connect(server_endpoint);
    if (connected) out.push_back(std::move(*connected));
  };
  for (int i = 0; i < 16; ++i) connecting.spawn(connect(net, held));
  co_await sleep(1500us);
  CHECK(net.sum(&tcp::counters::syncookies_sent) == 16);
  rotate(net);
  co_await connecting.join();
  co_await sleep(5ms);
  CHECK(net.servers[0]->engine().counters().syncookies_sent > 0);
  CHECK(net.servers[1]->engine().counters().syncookies_sent > 0);
  co_return static_cast<int>(net.sum(&tcp::counters::syncookies_recv));
}

}  // namespace

TASK_TEST("tcp shards: a key that is rotated by one call is rotated everywhere") {
  const auto none = co_await let_in(loop, [](shard_network&) {});
  CHECK(none == 16);
  const auto once = co_await let_in(loop, [](auto& net) { net.shards.rotate_cookie_key(); });
  CHECK(once == 16);
  const auto twice = co_await let_in(loop, [](auto& net) {
    net.servers[0]->rotate_cookie_key();
    net.servers[1]->rotate_cookie_key();
  });
  CHECK(twice == 0);
  const auto set = co_await let_in(loop, [](auto& net) {
    net.shards.set_cookie_keys({1, 2}, {3, 4});
  });
  CHECK(set == 0);
}

TASK_TEST("tcp shards: a Fast Open cookie of one shard is good at the other, rotated or not") {
  tcp::connection_policy fast;
  fast.fastopen_connect = true;
  shard_network net(loop, fast);
  tcp::policy_set all = net.servers[0]->policy();
  all.stack.fastopen = tcp::fastopen_flag::client | tcp::fastopen_flag::server;
  CHECK(net.shards.set_policy(all).has_value());
  CHECK(net.client.set("fastopen", "3").empty());
  auto listeners = net.listen({.fastopen_queue = 100});
  task_group connections(loop);
  task_group accepting(loop);
  for (auto& each : listeners) accepting.spawn(accept_echoes(each, connections));
  for (int i = 0; i < 12; ++i) {
    co_await ask_twice(net.client, server_endpoint, 1ms);
    if (i == 6) net.shards.rotate_fastopen_key();
  }
  CHECK(net.sum(&tcp::counters::fastopen_passive) == 11);
  for (const auto& each : net.servers) {
    CHECK(each->engine().counters().fastopen_passive > 0);
    CHECK(each->policy().stack.fastopen == all.stack.fastopen);
  }
  all.stack.tw_reuse_delay = -1s;
  CHECK(net.shards.set_policy(all).error() == std::errc::invalid_argument);
  accepting.cancel();
  co_await accepting.join();
  co_await connections.join();
}

TEST_CASE("tcp shards: a place is one stack's, and the stacks of a group are alike") {
  loop driver{loop_options{.simulated = 0}};
  net::link_pair wire(with_test_mtu({}));
  tcp::shard_group shards(2);
  CHECK(shards.size() == 2);
  const auto refusal = [&](std::uint32_t place, auto&& change) {
    tcp::stack_options options = options_for(server_address);
    options.shard = shards.seat(place);
    change(options);
    try {
      const tcp::stack refused(driver, wire.second(), std::move(options));
    } catch (const std::invalid_argument& bad) {
      return std::string(bad.what());
    }
    return std::string();
  };
  tcp::stack_options options = options_for(server_address);
  options.shard = shards.seat(0);
  const tcp::stack first(driver, wire.first(), std::move(options));
  const auto same = [](tcp::stack_options&) {};
  // The second refusal: the first one has not taken the place from its stack.
  CHECK(refusal(0, same).find("given to two stacks") != std::string::npos);
  CHECK(refusal(0, same).find("given to two stacks") != std::string::npos);
  CHECK(refusal(1, [](auto& o) {
          o.addresses.push_back(test_address(10, 0, 0, 9));
        }).find("same addresses") != std::string::npos);
  CHECK(refusal(1, [](auto& o) { o.policy.local_port_last = 50'000; }).find("local_port_first") !=
        std::string::npos);
  // A stack that could not be made has not used its place up.
  CHECK(refusal(1, [](auto& o) { o.connection.ttl = 0; }).find("ttl") != std::string::npos);
  CHECK(refusal(1, same).empty());
  CHECK(refusal(1, same).find("given to two stacks") != std::string::npos);
  CHECK_THROWS_AS(tcp::shard_group(0), std::invalid_argument);
  CHECK_THROWS_AS(tcp::shard_group(257), std::invalid_argument);
}
