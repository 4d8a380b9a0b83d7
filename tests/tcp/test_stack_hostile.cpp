#include <array>

#include "runnel/net/detail/link_decorator.hpp"
#include "runnel/wire/ip.hpp"
#include "runnel/wire/tcp.hpp"
#include "stack_network.hpp"
#include "support/task_test.hpp"

// What a link says of its packets, and who is believed.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// A link that says of every packet that its checksum needs no look, as a TUN device with offloads
/// does, and that says so in its facts or does not.
class flagging final : public net::detail::link_decorator {
 public:
  flagging(net::link& inner, net::checksum_state says, bool is_kernel)
      : link_decorator(inner), info_(inner.info()), says_(says) {
    info_.checksum_offload_rx = is_kernel;
  }
  const net::link_info& info() const noexcept override { return info_; }
  std::size_t receive(time_point now, std::span<net::packet> out) noexcept override {
    const std::size_t count = inner().receive(now, out);
    for (net::packet& each : out.first(count)) each->offload.checksum = says_;
    return count;
  }

 private:
  net::link_info info_;
  net::checksum_state says_;
};

/// A SYN for a port that nobody serves, with a checksum that is wrong.
void send_damaged(net::link& over, time_point now) {
  wire::tcp_header tcp;
  tcp.source_port = 1000;
  tcp.destination_port = 80;
  tcp.flags = wire::tcp_flag::syn;
  tcp.checksum = 0x1234;
  wire::ip_header ip;
  ip.source = client_address;
  ip.destination = server_address;
  ip.protocol = static_cast<std::uint8_t>(wire::ip_protocol::tcp);
  ip.total_length = 40;
  std::array<std::byte, 40> packet;
  wire::emit_ip(packet, ip);
  wire::emit_tcp(std::span(packet).subspan(20), tcp);
  const std::span<const std::byte> bytes = packet;
  over.send(now, {.pieces = {&bytes, 1}, .size = ip.total_length});
}

struct outcome_of_damage {
  std::uint64_t refused = 0;
  std::uint64_t answered = 0;
};

/// Gives a stack on `link` a damaged packet from the other end of its wire.
task<outcome_of_damage> try_damage(loop& driver, net::link_pair& wire, net::link& link) {
  tcp::stack server(driver, link, options_for(server_address));
  send_damaged(wire.first(), driver.now());
  const auto slept = co_await sleep(10ms);
  static_cast<void>(slept);
  const tcp::counters& count = server.engine().counters();
  co_return outcome_of_damage{count.in_csum_errors, count.out_rsts};
}

}  // namespace

TASK_TEST("tcp hostile: NEEDS_CSUM is believed from the kernel's link, and from nobody else") {
  for (const auto says : {net::checksum_state::verified, net::checksum_state::partial}) {
    {
      net::link_pair wire({.latency = 1ms});
      flagging kernel(wire.second(), says, true);
      const auto seen = co_await try_damage(loop, wire, kernel);
      CHECK(seen.refused == 0);
      CHECK(seen.answered == 1);
    }
    {
      net::link_pair wire({.latency = 1ms});
      flagging other(wire.second(), says, false);
      const auto seen = co_await try_damage(loop, wire, other);
      CHECK(seen.refused == 1);
      CHECK(seen.answered == 0);
    }
    {
      // What may have been damaged on the way is not what the kernel vouched for.
      net::link_pair wire({.latency = 1ms});
      flagging kernel(wire.second(), says, true);
      net::impair rough(kernel);
      CHECK(!rough.info().checksum_offload_rx);
      const auto seen = co_await try_damage(loop, wire, rough);
      CHECK(seen.refused == 1);
      CHECK(seen.answered == 0);
    }
  }
  net::link_pair wire;
  CHECK(!wire.first().info().checksum_offload_rx);
}
