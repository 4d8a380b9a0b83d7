#include <chrono>

#include "packets.hpp"
#include "runnel/net/link_pair.hpp"
#include "runnel/sleep.hpp"
#include "runnel/tcp/stack.hpp"
#include "support/task_test.hpp"

// SYN cookies that several stacks share.

using namespace runnel;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const auto client_address = test_address(10, 0, 0, 1);
const auto server_address = test_address(10, 0, 0, 2);
const net::endpoint server_endpoint{server_address, 80};

/// A machine behind a load balancer: a stack with the shared key whose listener answers with
/// cookies, and the wire to it.
struct machine {
  machine(loop& owner, std::optional<duration> clock_offset)
      : server(owner, wire.second(), options_of(clock_offset)),
        listener(server.listen(server_endpoint, {.syncookies = tcp::syncookies::always}).value()) {}

  static tcp::stack_options options_of(std::optional<duration> clock_offset) {
    tcp::stack_options options;
    options.addresses = {server_address};
    options.shared_keys.cookie_key = {{7, 8}};
    options.clock_offset = clock_offset;
    return options;
  }
  void give(loop& owner, const wire::tcp_header& tcp) {
    net::packet_pool pool;
    const net::packet packet = make_packet(pool, {client_address, 40000}, server_endpoint, tcp);
    const std::span<const std::byte> piece = packet.bytes();
    net::tx_packet out;
    out.pieces = std::span(&piece, 1);
    out.size = static_cast<std::uint32_t>(piece.size());
    CHECK(wire.first().send(owner.now(), out) == net::send_status::sent);
    owner.request_turn();
  }
  /// The first number of its SYN-ACK.
  task<std::uint32_t> ask(loop& owner) {
    wire::tcp_header syn;
    syn.seq = 1000;
    syn.flags = wire::tcp_flag::syn;
    syn.window = 65535;
    give(owner, syn);
    net::packet got;
    for (int i = 0; i < 1000 && wire.first().receive(owner.now(), std::span(&got, 1)) == 0; ++i) {
      co_await sleep(1ms);
    }
    REQUIRE(static_cast<bool>(got));
    co_return look_at(got.bytes(), owner.now(), 1, true).tcp.seq;
  }
  /// Whether it takes that number, made by another machine, for its own.
  task<bool> accepts(loop& owner, std::uint32_t number) {
    wire::tcp_header third;
    third.seq = 1001;
    third.ack = number + 1;
    third.flags = wire::tcp_flag::ack;
    third.window = 65535;
    give(owner, third);
    const auto& count = server.engine().counters();
    for (int i = 0; i < 1000 && count.syncookies_recv + count.syncookies_failed == 0; ++i) {
      co_await sleep(1ms);
    }
    co_return count.syncookies_recv == 1;
  }

  net::link_pair wire;
  tcp::stack server;
  tcp::listener listener;
};

/// A machine that was told what its loop's time lacks makes a cookie; others are shown it.
task<void> share_cookie(loop& owner) {
  const auto wall = std::chrono::system_clock::now().time_since_epoch();
  const auto lacks = std::chrono::duration_cast<duration>(wall) - owner.now().time_since_epoch();
  machine told(owner, lacks);
  machine plain(owner, std::nullopt);
  machine wrong(owner, lacks + 1h);
  const std::uint32_t number = co_await told.ask(owner);
  const bool accepted = co_await plain.accepts(owner, number);
  CHECK(accepted);
  const bool mistaken = co_await wrong.accepts(owner, number);
  CHECK_FALSE(mistaken);
}

}  // namespace

TEST_CASE(
    "tcp stack S40: with a shared key and no clock offset, the wall clock is the common time") {
  // A simulated loop has no wall clock.
  loop driver;
  driver.run(share_cookie(driver));
}
