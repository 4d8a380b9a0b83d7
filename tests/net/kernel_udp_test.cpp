#include <runnel/net/kernel/udp.hpp>

#include "net/bytes.hpp"
#include "support/kill_test.hpp"
#include "support/task_test.hpp"

#include <runnel/task_group.hpp>
#include <runnel/timeout.hpp>

#include <array>
#include <optional>
#include <vector>

using namespace runnel;
using namespace std::chrono_literals;
using net::kernel::datagram_slot;
using net::kernel::outgoing_datagram;
using net::kernel::received_datagram;
using net::kernel::udp_socket;
using test::byte_string;
using test::bytes_of;

namespace {

const net::endpoint loopback{net::address::v4(127, 0, 0, 1), 0};

task<> receive_into(udp_socket& at, std::optional<result<received_datagram>>& outcome) {
  byte_string buffer(100);
  outcome = co_await at.receive_from(buffer);
}

task<> send_some(udp_socket& from, net::endpoint to, int count) {
  const byte_string bytes = bytes_of("datagram");
  for (int i = 0; i < count; ++i) {
    const auto sent = co_await from.send_to(bytes, to);
    if (!sent) co_return;
  }
}

task<> exchange(loop& owner, std::uint64_t) {
  auto a = udp_socket::bind(owner, loopback).value();
  auto b = udp_socket::bind(owner, loopback).value();
  cancel_scope& scope = co_await this_scope();
  task_group group{scope};
  group.spawn(send_some(a, b.local_endpoint(), 5));
  for (int i = 0; i < 5; ++i) {
    std::optional<result<received_datagram>> outcome;
    co_await b.readable();
    co_await receive_into(b, outcome);
  }
  co_await group.join();
}

}  // namespace

RING_TASK_TEST("UDP: a datagram arrives whole, with its sender") {
  auto a = udp_socket::bind(loop, loopback).value();
  auto b = udp_socket::bind(loop, loopback).value();
  std::optional<result<received_datagram>> outcome;
  task_group group{loop};
  group.spawn(receive_into(b, outcome));
  co_await yield();
  const byte_string hello = bytes_of("hello");
  const auto sent = co_await a.send_to(hello, b.local_endpoint());
  CHECK(sent == result<std::size_t>(5));
  co_await group.join();
  REQUIRE(outcome->has_value());
  CHECK((*outcome)->size == 5);
  CHECK((*outcome)->from == a.local_endpoint());
  CHECK_FALSE((*outcome)->truncated);
  const byte_string nothing;
  co_await a.send_to(nothing, b.local_endpoint());
  byte_string buffer(2);
  auto got = co_await b.receive_from(buffer);
  REQUIRE(got.has_value());
  CHECK(got->size == 0);
  co_await a.send_to(hello, b.local_endpoint());
  got = co_await b.receive_from(buffer);
  REQUIRE(got.has_value());
  CHECK(got->size == 5);
  CHECK(got->truncated);
  CHECK(buffer == bytes_of("he"));
}

RING_TASK_TEST("UDP: a receive that is cancelled or late has taken nothing") {
  auto a = udp_socket::bind(loop, loopback).value();
  auto b = udp_socket::bind(loop, loopback).value();
  byte_string buffer(10);
  const auto late = co_await with_timeout(2ms, b.receive_from(buffer));
  CHECK(late.error() == errc::deadline_exceeded);
  const byte_string hello = bytes_of("hello");
  co_await a.send_to(hello, b.local_endpoint());
  {
    std::optional<result<received_datagram>> outcome;
    task_group group{loop};
    group.cancel();
    group.spawn(receive_into(b, outcome));
    co_await group.join();
    CHECK(outcome->error() == errc::cancelled);
  }
  const auto ready = co_await b.readable();
  CHECK(ready.has_value());
  const auto got = co_await b.receive_from(buffer);
  CHECK(got.value().size == 5);
}

RING_TASK_TEST("UDP: a connected socket hears one peer and what ICMP says of it") {
  auto a = udp_socket::bind(loop, loopback).value();
  auto b = udp_socket::bind(loop, loopback).value();
  auto c = udp_socket::bind(loop, loopback).value();
  CHECK(a.connect(b.local_endpoint()).has_value());
  CHECK(b.connect(a.local_endpoint()).has_value());
  const byte_string hello = bytes_of("hello");
  const byte_string other = bytes_of("other");
  co_await c.send_to(other, b.local_endpoint());
  co_await a.send(hello);
  byte_string buffer(10);
  const auto got = co_await b.receive_from(buffer);
  CHECK(got.value().from == a.local_endpoint());
  b.close();
  co_await a.send(hello);
  const auto refused = co_await a.receive_from(buffer);
  CHECK(refused.error() == std::errc::connection_refused);
  const auto late = co_await b.receive_from(buffer);
  CHECK(late.error() == std::errc::bad_file_descriptor);
  const byte_string huge(70'000);
  const auto too_large = co_await c.send_to(huge, a.local_endpoint());
  CHECK(too_large.error() == std::errc::message_size);
}

RING_TASK_TEST("UDP: many datagrams go in few calls, in order") {
  auto a = udp_socket::bind(loop, loopback).value();
  auto b = udp_socket::bind(loop, loopback).value();
  constexpr std::size_t total = 100;
  std::vector<byte_string> texts;
  std::vector<outgoing_datagram> all;
  texts.reserve(total);
  for (std::size_t i = 0; i < total; ++i) {
    texts.push_back(byte_string(i + 1, static_cast<std::byte>(i)));
    all.push_back({texts.back(), b.local_endpoint()});
  }
  const auto sent = co_await a.send_many(all);
  CHECK(sent == result<std::size_t>(total));
  std::size_t seen = 0;
  std::vector<byte_string> memory(40, byte_string(50));
  while (seen < total) {
    std::vector<datagram_slot> slots;
    for (byte_string& each : memory) slots.push_back({each});
    const auto got = co_await b.receive_many(slots);
    REQUIRE(got.has_value());
    CHECK(*got > 0);
    for (std::size_t i = 0; i < *got; ++i, ++seen) {
      CHECK(slots[i].got.size == seen + 1);
      CHECK(slots[i].got.truncated == (seen + 1 > 50));
      CHECK(slots[i].got.from == a.local_endpoint());
      CHECK(memory[i].front() == static_cast<std::byte>(seen));
    }
  }
  const auto more = co_await with_timeout(2ms, b.readable());
  CHECK(more.error() == errc::deadline_exceeded);
}

RING_TASK_TEST("UDP: closing ends what is pending") {
  auto a = udp_socket::bind(loop, loopback).value();
  std::optional<result<received_datagram>> outcome;
  task_group group{loop};
  group.spawn(receive_into(a, outcome));
  co_await yield();
  co_await yield();
  a.close();
  co_await group.join();
  CHECK(outcome->error() == std::errc::bad_file_descriptor);
}

TEST_CASE("UDP: tasks that are destroyed at any moment leave nothing behind") {
  testing::kill_everywhere_real(&exchange, {.time_step = 100us, .times = 3, .passes = 8});
}

TEST_CASE("UDP: tasks that are cancelled at any moment come to their end") {
  testing::cancel_everywhere_real(&exchange, {.time_step = 100us, .times = 3, .passes = 8});
}
