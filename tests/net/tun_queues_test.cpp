#include <runnel/net/tun.hpp>

#include "net/bytes.hpp"
#include "net/link_fixture.hpp"
#include "net/tun_fixture.hpp"
#include "support/network_namespace.hpp"
#include "support/task_test.hpp"

#include <runnel/sleep.hpp>
#include <runnel/wire/icmp.hpp>

#include <fcntl.h>
#include <linux/if_tun.h>

#include <thread>

// TUN devices with several queues.

using namespace std::chrono_literals;
using namespace runnel;
using namespace runnel::net;
using namespace runnel::test;
using namespace runnel::testing;

namespace {

const address kernel_address = address::v4(10, 77, 0, 1);
const address our_address = address::v4(10, 77, 0, 2);

std::vector<tun> open_queues(std::uint32_t count, tun_options options = {}) {
  enter_network_namespace();
  if (options.address.empty()) options.address = "10.77.0.1/24";
  auto opened = tun::open_queues(count, options);
  if (opened.has_error()) FAIL(opened.error().message());
  return std::move(*opened);
}

template <class Condition>
task<bool> eventually(Condition condition) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) co_return true;
    co_await sleep(10ms);
  }
  co_return false;
}

/// A device that stays when nobody has it open, as `ip tuntap add` makes it.
class persistent_device {
 public:
  persistent_device(const char* name, int flags) : name_(name) {
    enter_network_namespace();
    const int fd = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    ifreq request = request_for(name);
    request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
    REQUIRE(::ioctl(fd, TUNSETIFF, &request) == 0);
    REQUIRE(::ioctl(fd, TUNSETPERSIST, 1) == 0);
    ::close(fd);
  }
  persistent_device(const persistent_device&) = delete;
  persistent_device& operator=(const persistent_device&) = delete;
  ~persistent_device() { delete_device(name_); }

 private:
  std::string name_;
};

bool has_reply(const packet_hook& hook, std::uint16_t identifier) {
  return std::any_of(hook.received.begin(), hook.received.end(), [&](const std::string& packet) {
    const auto bytes = std::as_bytes(std::span(packet));
    const auto ip = wire::parse_ip(bytes);
    if (!ip || ip->source != kernel_address) return false;
    const auto icmp = wire::parse_icmp(*ip, ip->payload(bytes));
    return icmp && icmp->kind == wire::icmp_kind::echo_reply && icmp->identifier == identifier;
  });
}

}  // namespace

TEST_CASE("tun queues: all are of one device, which is set up once, and alike") {
  for (const tun_offload offload : {tun_offload::automatic, tun_offload::off}) {
    const auto queues =
        open_queues(3, {.name = "many%d", .mtu = 1400, .queue_length = 1234, .offload = offload});
    REQUIRE(queues.size() == 3);
    for (const tun& each : queues) {
      CHECK(each.info().name == "many0");
      CHECK(each.info().mtu == 1400);
      CHECK(each.info().gso_max_bytes == queues[0].info().gso_max_bytes);
      CHECK(each.info().checksum_offload_tx == queues[0].info().checksum_offload_tx);
      CHECK(each.description() == queues[0].description());
      CHECK(each.drops().value().to_us == 0);
    }
    ifreq request = request_for("many0");
    REQUIRE(device_ioctl(SIOCGIFTXQLEN, request));
    CHECK(request.ifr_qlen == 1234);
    CHECK(device_address("many0") == prefix{kernel_address, 24});
  }
  CHECK(::if_nametoindex("many0") == 0);
}

RING_TASK_TEST("tun queues: what answers a queue's packets comes by that queue") {
  auto queues = open_queues(4);
  std::vector<std::unique_ptr<packet_hook>> hooks;
  for (tun& each : queues) hooks.push_back(std::make_unique<packet_hook>(loop, each));
  for (std::uint16_t n = 0; n < 8; ++n) {
    const std::uint16_t id = 100 + n;
    packet_hook& hook = *hooks[n / 2];
    hook.to_send.push_back(echo_request(our_address, kernel_address, id));
    const bool answered = co_await eventually([&] {
      return std::any_of(hooks.begin(), hooks.end(),
                         [&](const auto& each) { return has_reply(*each, id); });
    });
    CHECK(answered);
    // All pings are one flow to the kernel. It answers the first one by a queue while it is still
    // being written, before it has noted by which.
    if (n % 2 == 1) CHECK(has_reply(hook, id));
  }
}

TEST_CASE("tun queues: each is read and written by a thread of its own") {
  auto queues = open_queues(3);
  std::array<bool, 3> answered{};
  std::vector<std::thread> threads;
  for (std::uint16_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      loop driver;
      tun queue = std::move(queues[i]);
      // Each has an address, and so a flow, of its own.
      const address mine = address::v4(10, 77, 0, static_cast<std::uint8_t>(10 + i));
      const auto id = static_cast<std::uint16_t>(100 + i);
      const auto ping = [](tun& with, address from, std::uint16_t number, bool& done) -> task<> {
        auto& on = co_await this_loop();
        packet_hook hook{on, with};
        for (int n = 0; n < 20 && !done; ++n) {
          hook.to_send.push_back(echo_request(from, kernel_address, number));
          for (int k = 0; k < 25 && !has_reply(hook, number); ++k) {
            co_await sleep(10ms);
          }
          done = has_reply(hook, number);
        }
      };
      driver.run(ping(queue, mine, id, answered[i]));
    });
  }
  for (std::thread& each : threads) each.join();
  for (const bool each : answered) CHECK(each);
}

RING_TASK_TEST("tun queues: a device that is deleted is gone for every queue") {
  auto queues = open_queues(2, {.name = "gone0"});
  std::vector<std::unique_ptr<packet_hook>> hooks;
  for (tun& each : queues) hooks.push_back(std::make_unique<packet_hook>(loop, each));
  CHECK(delete_device("gone0"));
  const bool told = co_await eventually([&] { return hooks[0]->error && hooks[1]->error; });
  CHECK(told);
}

RING_TASK_TEST("tun queues: one is what open gives") {
  const persistent_device single("single0", 0);
  const auto queues = open_queues(1, {.name = "single0"});
  CHECK(queues.size() == 1);
  co_return;
}

RING_TASK_TEST("tun queues: a device with one queue is refused with a sentence, and vice versa") {
  const persistent_device single("single0", 0);
  const persistent_device many("many0", IFF_MULTI_QUEUE);
  const auto refused = tun::open_queues(2, {.name = "single0"});
  REQUIRE(refused.has_error());
  CHECK(refused.error().message().find("is not a TUN device with many queues: ") !=
        std::string::npos);
  const auto other = tun::open(loop, {.name = "many0"});
  REQUIRE(other.has_error());
  CHECK(other.error().message().find("is not a TUN device with one queue: open its queues") !=
        std::string::npos);
  CHECK(tun::open_queues(2, {.name = "many0"}).has_value());
  co_return;
}

TEST_CASE("tun queues: queues of another program are refused with a sentence") {
  const persistent_device many("many0", IFF_MULTI_QUEUE);
  const auto first = open_queues(2, {.name = "many0", .offload = tun_offload::off});
  const auto second = tun::open_queues(2, {.name = "many0", .offload = tun_offload::off});
  REQUIRE(second.has_error());
  CHECK(second.error().code() == std::errc::device_or_resource_busy);
  CHECK(second.error().message().find("in use by another program") != std::string::npos);
}

TEST_CASE("tun queues: a number that the kernel does not give is refused with a sentence") {
  for (const std::uint32_t count : {0U, 257U}) {
    const auto refused = tun::open_queues(count);
    REQUIRE(refused.has_error());
    CHECK(refused.error().message().find("1 to 256 queues") != std::string::npos);
    CHECK(refused.error().message().ends_with("."));
  }
}
