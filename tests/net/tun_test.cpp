#include <fstream>
#include <runnel/net/tun.hpp>

#include "net/bytes.hpp"
#include "net/link_fixture.hpp"
#include "net/tun_fixture.hpp"
#include "support/network_namespace.hpp"
#include "support/task_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/wire/icmp.hpp>

#include <linux/if_tun.h>
#include <linux/sockios.h>

using namespace std::chrono_literals;
using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;
using namespace runnel::testing;

namespace {

const address kernel_address = address::v4(10, 77, 0, 1);
const address our_address = address::v4(10, 77, 0, 2);

tun open_tun(loop& owner, tun_options options = {}) {
  enter_network_namespace();
  if (options.address.empty()) options.address = "10.77.0.1/24";
  auto opened = tun::open(owner, options);
  if (opened.has_error()) FAIL(opened.error().message());
  return std::move(*opened);
}

/// Whether devices that are made from now on have IPv6; in the end they have none, so that the
/// kernel says nothing of its own on them.
class v6_switch {
 public:
  explicit v6_switch(bool on) {
    enter_network_namespace();
    set(on);
  }
  v6_switch(const v6_switch&) = delete;
  v6_switch& operator=(const v6_switch&) = delete;
  ~v6_switch() { set(false); }

 private:
  static void set(bool on) {
    std::ofstream("/proc/sys/net/ipv6/conf/default/disable_ipv6") << (on ? 0 : 1);
  }
};

/// Waits for something with a bound in real time; the loop sleeps meanwhile.
template <class Condition>
task<bool> eventually(Condition condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) co_return true;
    co_await sleep(10ms);
  }
  co_return false;
}

bool has_reply(const packet_hook& hook, const address& from = kernel_address) {
  return std::any_of(hook.received.begin(), hook.received.end(), [&](const std::string& packet) {
    const auto ip = wire::parse_ip(std::as_bytes(std::span(packet)));
    if (!ip || ip->source != from) return false;
    const auto icmp = wire::parse_icmp(*ip, ip->payload(std::as_bytes(std::span(packet))));
    return icmp && icmp->kind == wire::icmp_kind::echo_reply && icmp->identifier == 77;
  });
}

/// The identifiers of the echo replies, as they came.
std::vector<std::uint16_t> replies(const packet_hook& hook) {
  std::vector<std::uint16_t> found;
  for (const std::string& each : hook.received) {
    const auto bytes = std::as_bytes(std::span(each));
    const auto ip = wire::parse_ip(bytes);
    if (!ip || !ip->carries(wire::ip_protocol::icmp)) continue;
    const auto icmp = wire::parse_icmp(*ip, ip->payload(bytes));
    if (icmp && icmp->kind == wire::icmp_kind::echo_reply) found.push_back(icmp->identifier);
  }
  return found;
}

task<> ping_in_pieces(loop& loop, tun_offload offload) {
  tun device = open_tun(loop, {.offload = offload});
  packet_hook hook{loop, device};
  const std::string request = echo_request(our_address, kernel_address, 77);
  for (const std::size_t step : {std::size_t{1}, std::size_t{5}}) {
    std::vector<std::span<const std::byte>> pieces;
    for (auto rest = std::as_bytes(std::span(request)); !rest.empty();) {
      const std::size_t size = std::min(rest.size(), step);
      pieces.push_back(rest.first(size));
      rest = rest.subspan(size);
    }
    const auto size = static_cast<std::uint32_t>(request.size());
    CHECK(device.send(loop.now(), {.pieces = pieces, .size = size}) == send_status::sent);
    const bool answered = co_await eventually([&] { return has_reply(hook); });
    CHECK(answered);
    hook.received.clear();
  }
}

}  // namespace

RING_TASK_TEST(
    "tun: a new device has the name, address, MTU and queue length that were asked for") {
  const tun device = open_tun(loop, {.name = "mine%d", .mtu = 1400, .queue_length = 1234});
  CHECK(device.info().name == "mine0");
  CHECK(device.info().mtu == 1400);
  ifreq request = request_for("mine0");
  REQUIRE(device_ioctl(SIOCGIFMTU, request));
  CHECK(request.ifr_mtu == 1400);
  request = request_for("mine0");
  REQUIRE(device_ioctl(SIOCGIFTXQLEN, request));
  CHECK(request.ifr_qlen == 1234);
  request = request_for("mine0");
  REQUIRE(device_ioctl(SIOCGIFFLAGS, request));
  CHECK((request.ifr_flags & IFF_UP) != 0);
  CHECK(device_address("mine0") == prefix{kernel_address, 24});
  co_return;
}

RING_TASK_TEST("tun: a device with both families pings the kernel in both") {
  const address kernel_v6 = address::parse("fd77::1").value();
  const address our_v6 = address::parse("fd77::2").value();
  const v6_switch on(true);
  tun device = open_tun(loop, {.address_v6 = "fd77::1/64"});
  packet_hook hook{loop, device};
  hook.to_send.push_back(echo_request(our_v6, kernel_v6, 77));
  hook.to_send.push_back(echo_request(our_address, kernel_address, 77));
  const bool answered =
      co_await eventually([&] { return has_reply(hook) && has_reply(hook, kernel_v6); });
  CHECK(answered);
}

RING_TASK_TEST("tun: IPv6 that is switched off is told, with how to switch it on") {
  const v6_switch off(false);
  const auto refused = tun::open(loop, {.name = "mine0", .address_v6 = "fd77::1/64"});
  REQUIRE(refused.has_error());
  CHECK(refused.error().message().find("net.ipv6.conf.mine0.disable_ipv6=0") != std::string::npos);
  co_return;
}

RING_TASK_TEST("tun: pings the kernel, and is woken by its answer") {
  tun device = open_tun(loop);
  packet_hook hook{loop, device};
  hook.to_send.push_back(echo_request(our_address, kernel_address, 77));
  const bool answered = co_await eventually([&] { return has_reply(hook); });
  CHECK(answered);
  CHECK(device.counters().tx_packets == 1);
  CHECK(device.counters().rx_packets == hook.received.size());
}

RING_TASK_TEST("tun: answers the kernel's ping") {
  tun device = open_tun(loop);
  packet_hook hook{loop, device};
  hook.answer = [&](const std::string& packet) {
    const auto bytes = std::as_bytes(std::span(packet));
    const auto ip = wire::parse_ip(bytes);
    if (!ip || ip->destination != our_address) return;
    const auto icmp = wire::parse_icmp(*ip, ip->payload(bytes));
    if (!icmp || icmp->kind != wire::icmp_kind::echo_request) return;
    wire::icmp_message reply = *icmp;
    reply.kind = wire::icmp_kind::echo_reply;
    hook.to_send.push_back(icmp_packet(our_address, ip->source, reply));
  };
  const kernel_pinger pinger;
  REQUIRE(pinger.ping(our_address, 99));
  const bool answered = co_await eventually([&] { return pinger.answered(our_address, 99); });
  CHECK(answered);
}

RING_TASK_TEST("tun S28: a burst larger than the span is taken in several calls") {
  tun device = open_tun(loop);
  recording_client client;
  device.attach(loop, client);
  const udp_sender sender;
  for (int i = 0; i < 20; ++i) REQUIRE(sender.send(our_address, 500));
  std::size_t total = 0;
  for (;;) {
    std::array<packet, 8> out;
    const std::size_t count = device.receive(loop.now(), out);
    for (std::size_t i = 0; i < count; ++i) total += out[i].size() == 528 ? 1 : 0;
    if (count < out.size()) break;
  }
  CHECK(total == 20);
  client.ready = 0;
  REQUIRE(sender.send(our_address, 500));
  const bool woken = co_await eventually([&] { return client.ready != 0; });
  CHECK(woken);
  device.detach();
}

RING_TASK_TEST("tun: while the device is down sending waits, and goes on when it is up") {
  tun device = open_tun(loop);
  const std::string name = device.info().name;
  packet_hook hook{loop, device};
  co_await sleep(1ms);
  REQUIRE(set_device_up(name, false));
  hook.to_send.push_back(echo_request(our_address, kernel_address, 77));
  co_await sleep(1ms);
  CHECK(hook.to_send.size() == 1);
  CHECK(device.counters().tx_blocked != 0);

  // Nothing spins meanwhile: only this task's own timer makes turns.
  const auto before = loop.metrics().turns;
  co_await sleep(30ms);
  CHECK(loop.metrics().turns - before < 10);
  CHECK(hook.to_send.size() == 1);

  REQUIRE(set_device_up(name, true));
  const bool answered = co_await eventually([&] { return has_reply(hook); });
  CHECK(answered);
  CHECK_FALSE(hook.error);
}

RING_TASK_TEST(
    "tun: what is enqueued leaves when it is told to, or before what is sent, in its order") {
  tun device = open_tun(loop);
  packet_hook hook{loop, device};
  const auto put = [&](std::uint16_t identifier, bool enqueue) {
    const std::string text = echo_request(our_address, kernel_address, identifier);
    const auto piece = std::as_bytes(std::span(text));
    const tx_packet packet{{&piece, 1}, static_cast<std::uint32_t>(piece.size()), {}};
    return enqueue ? device.enqueue(loop.now(), packet) : device.send(loop.now(), packet);
  };
  CHECK(device.send_queued(loop.now()));
  // More than what is kept at once, and then one that does not wait.
  for (std::uint16_t i = 1; i <= 40; ++i) REQUIRE(put(i, true) == send_status::sent);
  CHECK(device.counters().tx_packets == 32);
  REQUIRE(put(41, false) == send_status::sent);
  CHECK(device.counters().tx_packets == 41);
  REQUIRE(put(42, true) == send_status::sent);
  CHECK(device.counters().tx_packets == 41);
  CHECK(device.send_queued(loop.now()));
  CHECK(device.counters().tx_packets == 42);
  std::vector<std::uint16_t> expected;
  for (std::uint16_t i = 1; i <= 42; ++i) expected.push_back(i);
  const bool all = co_await eventually([&] { return replies(hook).size() >= expected.size(); });
  CHECK(all);
  CHECK(replies(hook) == expected);
}

RING_TASK_TEST("tun: what was enqueued waits while the device is down, and nothing overtakes it") {
  tun device = open_tun(loop);
  const std::string name = device.info().name;
  packet_hook hook{loop, device};
  const std::string text = echo_request(our_address, kernel_address, 77);
  const auto piece = std::as_bytes(std::span(text));
  const tx_packet packet{{&piece, 1}, static_cast<std::uint32_t>(piece.size()), {}};
  REQUIRE(set_device_up(name, false));
  CHECK(device.enqueue(loop.now(), packet) == send_status::sent);
  CHECK_FALSE(device.send_queued(loop.now()));
  CHECK(device.counters().tx_blocked == 1);
  CHECK_FALSE(device.send_queued(loop.now()));
  CHECK(device.enqueue(loop.now(), packet) == send_status::would_block);
  CHECK(device.send(loop.now(), packet) == send_status::would_block);
  REQUIRE(set_device_up(name, true));
  const bool left = co_await eventually([&] { return device.send_queued(loop.now()); });
  CHECK(left);
  CHECK(device.counters().tx_packets == 1);
  const bool answered = co_await eventually([&] { return has_reply(hook); });
  CHECK(answered);
}

RING_TASK_TEST("tun: a deleted device is reported once, and nothing spins") {
  tun device = open_tun(loop);
  packet_hook hook{loop, device};
  co_await sleep(1ms);
  REQUIRE(delete_device(device.info().name));
  const bool told = co_await eventually([&] { return static_cast<bool>(hook.error); });
  CHECK(told);
  CHECK(hook.error == std::errc::no_such_device);
  const auto before = loop.metrics().turns;
  co_await sleep(30ms);
  CHECK(loop.metrics().turns - before < 10);
  CHECK(send_text(device, loop.now(), echo_request(our_address, kernel_address, 1)) ==
        send_status::gone);
  CHECK(receive_texts(device, loop.now()).empty());
  CHECK(device.drops().has_error());
}

RING_TASK_TEST("tun: a send is the first to notice that the device is gone") {
  tun device = open_tun(loop);
  recording_client client;
  device.attach(loop, client);
  REQUIRE(delete_device(device.info().name));
  CHECK(send_text(device, loop.now(), echo_request(our_address, kernel_address, 1)) ==
        send_status::gone);
  CHECK(client.errors == 1);
  CHECK(receive_texts(device, loop.now()).empty());
  CHECK(client.errors == 1);
  device.detach();
  co_return;
}

RING_TASK_TEST("tun: without memory packets are read and dropped, not left to spin") {
  tun device = open_tun(loop, {.pool_bytes = 5000});
  const udp_sender sender;
  for (int i = 0; i < 10; ++i) REQUIRE(sender.send(our_address, 1000));
  std::array<packet, 32> out;
  const std::size_t count = device.receive(loop.now(), out);
  CHECK(count == 2);
  CHECK(device.counters().rx_dropped == 8);
  out = {};
  REQUIRE(sender.send(our_address, 1000));
  CHECK(device.receive(loop.now(), out) == 1);
  out = {};
  co_return;
}

RING_TASK_TEST("tun: what the kernel drops because nobody reads is reported") {
  tun device = open_tun(loop, {.queue_length = 8});
  auto drops = device.drops();
  REQUIRE(drops.has_value());
  CHECK(drops->to_us == 0);
  const udp_sender sender;
  for (int i = 0; i < 100; ++i) sender.send(our_address, 100);
  drops = device.drops();
  REQUIRE(drops.has_value());
  CHECK(drops->to_us >= 80);
  co_return;
}

RING_TASK_TEST("tun: packets stay whole when somebody raises the MTU") {
  tun device = open_tun(loop, {.offload = tun_offload::off});
  ifreq request = request_for(device.info().name);
  request.ifr_mtu = 9000;
  REQUIRE(device_ioctl(SIOCSIFMTU, request));
  const udp_sender sender;
  REQUIRE(sender.send(our_address, 5000));
  CHECK(receive_texts(device, loop.now()).empty());
  CHECK(device.counters().rx_dropped == 1);
  REQUIRE(sender.send(our_address, 5000));
  const texts received = receive_texts(device, loop.now());
  REQUIRE(received.size() == 1);
  CHECK(received[0].size() == 5028);
  co_return;
}

RING_TASK_TEST("tun: many pieces leave as one packet") {
  co_await ping_in_pieces(loop, tun_offload::off);
}

RING_TASK_TEST("tun: many pieces leave as one packet behind a virtio header") {
  co_await ping_in_pieces(loop, tun_offload::automatic);
}
