#include <runnel/net/link_pair.hpp>

#include "net/bytes.hpp"
#include "net/link_fixture.hpp"

#include <runnel/loop.hpp>
#include <runnel/sleep.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

using namespace std::chrono_literals;
using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;

namespace {

constexpr time_point start{};

}  // namespace

TEST_CASE("link pair: packets arrive at the other end, in order and unchanged") {
  link_pair pair;
  CHECK(send_bytes(pair.first(), start, bytes_of("one")) == send_status::sent);
  const auto head = bytes_of("tw");
  const auto tail = bytes_of("o");
  const std::array<std::span<const std::byte>, 3> pieces{head, {}, tail};
  CHECK(pair.first().send(start, {.pieces = pieces, .size = 3}) == send_status::sent);
  CHECK(receive_texts(pair.first(), start).empty());
  CHECK(receive_texts(pair.second(), start) == texts{"one", "two"});
  CHECK(receive_texts(pair.second(), start).empty());
  const link_counters sent = pair.first().counters();
  CHECK(sent.tx_packets == 2);
  CHECK(sent.tx_bytes == 6);
  const link_counters received = pair.second().counters();
  CHECK(received.rx_packets == 2);
  CHECK(received.rx_bytes == 6);
}

TEST_CASE("link pair: a packet larger than the MTU is dropped and counted") {
  link_pair pair{{.mtu = 100}};
  CHECK(pair.first().info().mtu == 100);
  CHECK(send_bytes(pair.first(), start, byte_string(100)) == send_status::sent);
  CHECK(send_bytes(pair.first(), start, byte_string(101)) == send_status::dropped);
  CHECK(pair.first().counters().tx_dropped == 1);
}

TEST_CASE("link pair: a full queue blocks, and the sender hears when there is room") {
  link_pair pair{{.queue_packets = 2}};
  loop driver{loop_options{.simulated = 0}};
  recording_client client;
  pair.first().attach(driver, client);
  client.ready = 0;
  for (int i = 0; i < 2; ++i) {
    CHECK(send_bytes(pair.first(), start, bytes_of("x")) == send_status::sent);
  }
  CHECK(send_bytes(pair.first(), start, bytes_of("x")) == send_status::would_block);
  CHECK(pair.first().counters().tx_blocked == 1);
  CHECK(client.ready == 0);
  std::array<packet, 1> out;
  CHECK(pair.second().receive(start, out) == 1);
  CHECK(client.ready == 1);
  CHECK(send_bytes(pair.first(), start, bytes_of("x")) == send_status::sent);
  pair.first().detach();
}

TEST_CASE("link pair: the receiver hears once, when it had taken everything") {
  link_pair pair;
  loop driver{loop_options{.simulated = 0}};
  recording_client client;
  pair.second().attach(driver, client);
  CHECK(client.ready == 1);
  client.ready = 0;
  send_bytes(pair.first(), start, bytes_of("a"));
  send_bytes(pair.first(), start, bytes_of("b"));
  CHECK(client.ready == 1);
  std::array<packet, 1> out;
  CHECK(pair.second().receive(start, out) == 1);
  send_bytes(pair.first(), start, bytes_of("c"));
  CHECK(client.ready == 1);
  CHECK(receive_texts(pair.second(), start) == texts{"b", "c"});
  send_bytes(pair.first(), start, bytes_of("d"));
  CHECK(client.ready == 2);
  pair.second().detach();
  send_bytes(pair.first(), start, bytes_of("e"));
  CHECK(client.ready == 2);
}

TEST_CASE("link pair: with latency a packet arrives when it is due, not before") {
  link_pair pair{{.latency = 10ms}};
  CHECK(pair.second().deadline() == time_point::max());
  send_bytes(pair.first(), start, bytes_of("a"));
  send_bytes(pair.first(), start + 5ms, bytes_of("b"));
  CHECK(pair.second().deadline() == start + 10ms);
  CHECK(receive_texts(pair.second(), start + 9ms).empty());
  CHECK(receive_texts(pair.second(), start + 10ms) == texts{"a"});
  CHECK(pair.second().deadline() == start + 15ms);
  CHECK(receive_texts(pair.second(), start + 1s) == texts{"b"});
  CHECK(pair.second().deadline() == time_point::max());
}

TEST_CASE("link pair: without memory packets are dropped and counted") {
  link_pair pair{{.pool_bytes = 4096}};
  int sent = 0;
  while (send_bytes(pair.first(), start, byte_string(1000)) == send_status::sent) ++sent;
  CHECK(sent == 1);
  CHECK(pair.first().counters().tx_dropped == 1);
  CHECK(pair.second().pool().held_bytes() <= 4096);
}

TEST_CASE("link pair: severed, both ends say so once and for good") {
  link_pair pair;
  loop driver{loop_options{.simulated = 0}};
  recording_client first;
  recording_client second;
  pair.first().attach(driver, first);
  send_bytes(pair.first(), start, bytes_of("lost"));
  pair.sever();
  pair.sever();
  pair.second().attach(driver, second);
  for (const recording_client* client : {&first, &second}) {
    CHECK(client->errors == 1);
    CHECK(client->error == std::errc::no_such_device);
  }
  CHECK(send_bytes(pair.first(), start, bytes_of("x")) == send_status::gone);
  CHECK(receive_texts(pair.second(), start).empty());
  pair.first().detach();
  pair.second().detach();
}

TEST_CASE("link pair: two hooks of one loop wake each other, also from the emitting phase") {
  for (const duration latency : {duration{0}, duration{3ms}}) {
    loop driver{loop_options{.simulated = 0}};
    link_pair pair{{.latency = latency}};
    packet_hook first{driver, pair.first()};
    packet_hook second{driver, pair.second()};
    second.answer = [&](const std::string& text) { second.to_send.push_back("re " + text); };
    first.to_send.push_back("hello");
    const auto wait = [](loop& owner, packet_hook& hook) -> task<> {
      for (int turns = 0; hook.received.empty() && turns < 100; ++turns) co_await sleep(10ms);
      CHECK(owner.metrics().turns < 20);
    };
    driver.run(wait(driver, first));
    CHECK(first.received == texts{"re hello"});
    CHECK(second.received == texts{"hello"});
  }
}
