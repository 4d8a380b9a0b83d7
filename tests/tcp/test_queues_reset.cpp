#include "raw_peer.hpp"

// RST for who finished a handshake and found the accept queue full.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;

namespace {

/// Strangers hear of one RST a second.
void one_answer_a_second(host_options& options) {
  options.policy.reject_limit = 1;
  options.policy.reject_limit_per_peer = 1;
}

/// SYNs from ports 1 to `count`, and then their third segments into an accept queue that takes one.
void finish_into_full_queue(raw_peer& peer, std::uint16_t count) {
  std::vector<std::uint32_t> first_numbers;
  for (std::uint16_t port = 1; port <= count; ++port) {
    peer.send_syn({from_port(port)});
    first_numbers.push_back(peer.host_iss);
  }
  CHECK(peer.engine().set_backlog(peer.listener, 0) == error::none);
  peer.forget();
  for (std::uint16_t port = 1; port <= count; ++port) {
    peer.host_iss = first_numbers[port - 1U];
    peer.send({from_port(port), seq(1), ack(1)});
  }
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
}

}  // namespace

TEST_CASE("S33: everyone who finds the queue full is told, whatever strangers are told") {
  raw_peer peer(one_answer_a_second);
  listener_policy policy{
      .backlog = 20, .overflow = accept_overflow::reset, .cookie_overflow = accept_overflow::reset};
  SUBCASE("half-open entries") {}
  SUBCASE("cookies") {
    policy.syncookies = syncookies::always;
  }
  peer.listen(policy);
  finish_into_full_queue(peer, 20);
  CHECK(peer.said().size() == 19);
  CHECK(peer.count().out_rsts == 19);
  CHECK(peer.count().reject_limited == 0);
  // They have not used up what strangers have.
  peer.forget();
  peer.host_port = 81;
  peer.send({seq(1), ack(1)});
  peer.expect({flags("R"), seq(1)});
  peer.send({seq(1), ack(1)});
  peer.expect_nothing();
  CHECK(peer.count().reject_limited == 1);
}

TEST_CASE("S33: the RST of a full queue is the one that comes when nobody listens") {
  raw_peer peer;
  peer.listen({.backlog = 20, .overflow = accept_overflow::reset});
  finish_into_full_queue(peer, 2);
  REQUIRE(peer.said().size() == 1);
  const seen_packet full = peer.said().front();
  peer.engine().close_listener(peer.listener, peer.now());
  peer.flush();
  peer.forget();
  // The same acknowledgement again.
  peer.send({from_port(2), seq(1), ack(1)});
  REQUIRE(peer.said().size() == 1);
  const seen_packet nobody = peer.said().front();
  peer.forget();
  CHECK(full.flags() == "R");
  CHECK(nobody.flags() == full.flags());
  CHECK(nobody.tcp.seq == full.tcp.seq);
  CHECK(nobody.tcp.ack == full.tcp.ack);
  CHECK(nobody.tcp.window == full.tcp.window);
  CHECK(nobody.ip.ttl == full.ip.ttl);
  CHECK(nobody.ip.total_length == full.ip.total_length);
}
