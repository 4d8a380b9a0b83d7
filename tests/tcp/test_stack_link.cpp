#include <array>
#include <deque>
#include <string>

#include "runnel/net/detail/link_decorator.hpp"
#include "runnel/net/detail/packet_queue.hpp"
#include "runnel/task_group.hpp"
#include "runnel/timeout.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// The stack on links that are narrow, instant or lossy: nothing may stand still.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

task<> echo_all(tcp::listener& on, int connections, task_group& group) {
  const auto echoes = [](tcp::stream accepted) -> task<> {
    tcp::stream at = std::move(accepted);
    std::vector<std::byte> buffer(5'000);
    for (;;) {
      const auto got = co_await at.read(buffer);
      REQUIRE(got.has_value());
      if (*got == 0) break;
      const auto sent = co_await at.write(std::span<const std::byte>(buffer).first(*got));
      REQUIRE(sent.has_value());
    }
    const auto ended = co_await at.close();
    CHECK(ended.clean());
  };
  for (int i = 0; i < connections; ++i) {
    auto accepted = co_await on.accept();
    REQUIRE(accepted.has_value());
    group.spawn(echoes(std::move(*accepted)));
  }
}

task<> write_all(tcp::stream& to, std::string_view text) {
  const auto sent = co_await to.write(bytes_of(text));
  CHECK(sent.value() == text.size());
  CHECK(to.shutdown().has_value());
}

task<> ask_echo(tcp::stack& from, std::string text) {
  auto connected = co_await from.connect(server_endpoint);
  REQUIRE(connected.has_value());
  tcp::stream at = std::move(*connected);
  loop& on_loop = co_await this_loop();
  task_group group{on_loop};
  group.spawn(write_all(at, text));
  const std::string got = co_await read_to_end(at);
  CHECK(got.size() == text.size());
  CHECK(got == text);
  co_await group.join();
  const auto ended = co_await at.close();
  CHECK(ended.clean());
}

task<> run_echoes(network& both, int connections, std::size_t bytes) {
  auto listener = both.listen();
  loop& on_loop = co_await this_loop();
  task_group group{on_loop};
  group.spawn(echo_all(listener, connections, group));
  for (int i = 0; i < connections; ++i) {
    group.spawn(ask_echo(both.client, pattern(bytes + static_cast<std::size_t>(i))));
  }
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  co_await both.client.idle();
  co_await both.server.idle();
  CHECK(both.client.engine().memory().buffer_bytes == 0);
  CHECK(both.server.engine().memory().buffer_bytes == 0);
}

/// Says of every packet that its checksum is right, which its `info` does not promise to be true.
class lying_link final : public net::detail::link_decorator {
 public:
  explicit lying_link(net::link& inner) noexcept : link_decorator(inner) {}
  std::size_t receive(time_point now, std::span<net::packet> out) noexcept override {
    const std::size_t count = link_decorator::receive(now, out);
    for (net::packet& each : out.first(count)) {
      each->offload = {net::checksum_state::verified, 7, 0, 0};
      if (spoils) each.bytes().back() ^= std::byte{1};
    }
    return count;
  }
  bool spoils = false;
};

/// Keeps what is enqueued until there is room for it, which somebody has to give.
class waiting_link final : public net::detail::link_decorator {
 public:
  explicit waiting_link(net::link& inner) noexcept : link_decorator(inner) {}
  net::send_status enqueue(time_point, const net::tx_packet& packet) noexcept override {
    if (full_) ++overruns;
    waiting_.push_back(net::detail::gather(pool(), packet));
    return net::send_status::sent;
  }
  bool send_queued(time_point now) noexcept override {
    while (!waiting_.empty() && room_ > 0) {
      const std::span<const std::byte> piece = waiting_.front().bytes();
      const auto size = static_cast<std::uint32_t>(piece.size());
      const auto sent = link_decorator::send(now, {{&piece, 1}, size, {}});
      CHECK(sent == net::send_status::sent);
      waiting_.pop_front();
      --room_;
    }
    full_ = !waiting_.empty();
    if (full_) ++refusals;
    return !full_;
  }
  void give_room(int packets) noexcept {
    room_ = packets;
    if (client() != nullptr) client()->on_link_ready();
  }
  bool empty() const noexcept { return waiting_.empty(); }

  int overruns = 0;
  int refusals = 0;

 private:
  int room_ = 0;
  bool full_ = false;
  std::deque<net::packet> waiting_;
};

task<> give_room(waiting_link& to, const bool& over) {
  while (!over) {
    to.give_room(3);
    co_await sleep(1ms);
  }
}

/// Writes down what the stack asks of it: how many packets each `receive` gave, and each packet
/// that leaves.
class noting_link final : public net::detail::link_decorator {
 public:
  explicit noting_link(net::link& inner) noexcept : link_decorator(inner) {}
  std::size_t receive(time_point now, std::span<net::packet> out) noexcept override {
    const std::size_t count = link_decorator::receive(now, out);
    notes += std::to_string(count);
    return count;
  }
  net::send_status enqueue(time_point now, const net::tx_packet& packet) noexcept override {
    notes += 's';
    return link_decorator::send(now, packet);
  }
  std::string notes;
};

}  // namespace

TASK_TEST(
    "tcp link: packets that a link keeps until it has room are not lost, nor is the stack idle") {
  net::link_pair wire({.latency = 1ms});
  waiting_link narrow(wire.first());
  tcp::stack client(loop, narrow, options_for(client_address));
  tcp::stack server(loop, wire.second(), options_for(server_address));
  auto listener = server.listen(server_endpoint).value();
  bool over = false;
  task_group group{loop};
  group.spawn(give_room(narrow, over));
  auto connected = co_await client.connect(server_endpoint);
  REQUIRE(connected.has_value());
  auto accepted = co_await listener.accept();
  REQUIRE(accepted.has_value());
  const std::string text = pattern(100'000);
  group.spawn(write_all(*connected, text));
  const std::string got = co_await read_to_end(*accepted);
  CHECK(got == text);
  over = true;
  const auto joined = co_await group.join();
  CHECK(joined.has_value());
  CHECK(narrow.refusals > 10);

  // The reset has no room.
  narrow.give_room(0);
  connected->abort();
  const auto early = co_await with_timeout(50ms, client.idle());
  CHECK(early.has_error());
  CHECK_FALSE(narrow.empty());
  narrow.give_room(3);
  co_await client.idle();
  CHECK(narrow.empty());
  CHECK(narrow.overruns == 0);
}

TASK_TEST("tcp link: a packet that comes alone is answered before the link is asked for another") {
  net::link_pair wire({.latency = 1ms});
  noting_link noting(wire.second());
  tcp::stack client(loop, wire.first(), options_for(client_address));
  tcp::stack server(loop, noting, options_for(server_address));
  auto listener = server.listen(server_endpoint).value();
  auto connected = co_await client.connect(server_endpoint);
  REQUIRE(connected.has_value());
  auto accepted = co_await listener.accept();
  REQUIRE(accepted.has_value());
  co_await sleep(1s);
  std::array<std::byte, 100> buffer;
  for (int i = 0; i < 3; ++i) {
    noting.notes.clear();
    const auto asked = co_await connected->write(bytes_of("question"));
    REQUIRE(asked.has_value());
    const auto read = co_await accepted->read(buffer);
    REQUIRE(read.has_value());
    const auto told = co_await accepted->write(bytes_of("answer"));
    REQUIRE(told.has_value());
    const auto answer = co_await connected->read(buffer);
    REQUIRE(answer.has_value());
    CHECK(noting.notes.substr(0, 3) == "1s0");
    // Its acknowledgement comes alone, too.
    co_await sleep(1s);
  }
}

TASK_TEST("tcp gro: over a link of single segments the stack joins them, when the policy says so") {
  for (const bool joins : {false, true}) {
    CAPTURE(joins);
    network both(loop, {}, {.latency = 1ms});
    CHECK(both.server.set("gro", joins ? "true" : "false") == "");
    auto listener = both.listen();
    auto pair = co_await connect_ends(both, listener);
    task_group group{loop};
    const std::string text = pattern(500'000);
    group.spawn(write_all(pair.client, text));
    const std::string got = co_await read_to_end(pair.server);
    CHECK(got == text);
    const auto joined = co_await group.join();
    CHECK(joined.has_value());
    const std::uint64_t given = both.wire.second().counters().rx_packets;
    const tcp::counters& count = both.server.engine().counters();
    const std::uint64_t heard = count.ip_in_receives + count.ip6_in_receives;
    CHECK((joins ? heard * 2 < given : heard == given));
  }
}

TASK_TEST("tcp link: what a link says of checksums without promising it is not believed") {
  for (const bool joins : {false, true}) {
    CAPTURE(joins);
    net::link_pair wire({.latency = 1ms});
    lying_link liar(wire.second());
    tcp::stack client(loop, wire.first(), options_for(client_address));
    tcp::stack server(loop, liar, options_for(server_address));
    CHECK(server.set("gro", joins ? "true" : "false") == "");
    auto listener = server.listen(server_endpoint).value();
    auto connected = co_await client.connect(server_endpoint);
    REQUIRE(connected.has_value());
    auto accepted = co_await listener.accept();
    REQUIRE(accepted.has_value());
    liar.spoils = true;
    const std::string text = pattern(20'000);
    const auto written = co_await connected->write(bytes_of(text));
    CHECK(written.has_value());
    co_await sleep(20ms);
    CHECK(server.engine().counters().in_csum_errors >= 10);
    std::uint64_t received = 0;
    server.engine().for_each_connection(
        [&](const tcp::snapshot& each) { received += each.traffic.bytes_received; });
    CHECK(received == 0);
  }
}

TASK_TEST("tcp link: a queue of one packet, or a few, only slows down") {
  for (const std::size_t queue : {1U, 2U, 7U, 64U}) {
    for (const auto latency : {0us, 100us}) {
      CAPTURE(queue);
      CAPTURE(latency.count());
      network both(loop, {}, {.queue_packets = queue, .latency = latency});
      co_await run_echoes(both, 5, 50'000);
    }
  }
}

TASK_TEST("tcp link: without latency everything happens in a bounded number of turns") {
  network both(loop, {}, {.latency = 0ms});
  const auto before = loop.metrics().turns;
  const auto start = loop.now();
  co_await run_echoes(both, 3, 100'000);
  CHECK(loop.now() - start < 1s);
  CHECK(loop.metrics().turns - before < 2'000);
}

TASK_TEST("tcp link: loss, doubling and reordering are borne by many connections at once") {
  network both(loop);
  net::impairment rough;
  rough.loss = 0.03;
  rough.duplicate = 0.03;
  rough.reorder = 0.05;
  rough.reorder_delay = 3ms;
  both.cutter.set_outgoing(rough);
  both.cutter.set_incoming(rough);
  const auto start = loop.now();
  co_await run_echoes(both, 20, 30'000);
  CHECK(loop.now() - start < 5min);
}
