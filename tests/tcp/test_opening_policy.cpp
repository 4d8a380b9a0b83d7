#include "raw_peer.hpp"

// What a SYN or SYN-ACK has said holds for its connection, whatever the policy says by the time
// that the handshake ends.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

void set_options(raw_peer& peer, bool on) {
  stack_policy policy = peer.engine().policy();
  policy.timestamps = on;
  policy.window_scaling = on;
  policy.sack = on;
  CHECK(peer.engine().set_policy(policy) == error::none);
}

void set_receive_buffer(raw_peer& peer, std::uint32_t bytes) {
  connection_policy defaults = peer.engine().connection_defaults();
  defaults.receive_buffer = bytes;
  CHECK(peer.engine().set_connection_defaults(defaults) == error::none);
}

/// The options of the host's next segment.
wire::tcp_options told_options(raw_peer& peer) {
  REQUIRE(!peer.said().empty());
  const wire::tcp_options options = peer.said().front().tcp.options;
  peer.said().pop_front();
  return options;
}

void fast_without_cookie(host_options& options) {
  options.policy.fastopen = fastopen_flag::server | fastopen_flag::server_no_cookie;
}

}  // namespace

TEST_CASE("S14: a listener's child has the options of its SYN-ACK when the policy changes") {
  raw_peer peer;
  peer.listen();
  peer.send_syn({mss(1460), scale(7), sack_permitted(), stamp(1)});
  const wire::tcp_options offered = told_options(peer);
  REQUIRE(offered.window_scale.has_value());
  REQUIRE(offered.timestamp.has_value());
  CHECK(offered.sack_permitted);
  SUBCASE("no options any more") {
    set_options(peer, false);
  }
  SUBCASE("a larger receive buffer") {
    set_receive_buffer(peer, 256U << 20);
  }
  SUBCASE("a smaller receive buffer") {
    set_receive_buffer(peer, 65536);
  }
  peer.send({seq(1), ack(1), stamp(2, offered.timestamp->value)});
  peer.accept();
  CHECK(peer.look().timestamps);
  CHECK(peer.look().snd_wscale == 7);
  CHECK(peer.look().rcv_wscale == *offered.window_scale);
  // The peer reads the window with the scale that it was told.
  peer.send({text("x"), stamp(3, offered.timestamp->value)});
  peer.expect({flags("A"), ack(2), has_stamp(true)});
  // Ahead of a hole.
  peer.send({seq(10), text("y"), stamp(3, offered.timestamp->value)});
  peer.expect({flags("A"), ack(2), sack(10, 11)});
}

TEST_CASE("S14: options that the SYN-ACK did not have do not come with a later policy") {
  raw_peer peer;
  set_options(peer, false);
  peer.listen();
  peer.send_syn({mss(1460), scale(7), sack_permitted(), stamp(1)});
  const wire::tcp_options offered = told_options(peer);
  CHECK(!offered.window_scale);
  CHECK(!offered.timestamp);
  CHECK(!offered.sack_permitted);
  set_options(peer, true);
  peer.send({seq(1), ack(1)});
  peer.accept();
  CHECK(!peer.look().timestamps);
  CHECK(peer.look().snd_wscale == 0);
  CHECK(peer.look().rcv_wscale == 0);
}

TEST_CASE("S14: a child takes what fits into the window that its SYN-ACK has offered") {
  for (const auto& [buffer, whole_segments] :
       std::initializer_list<std::pair<std::uint32_t, std::uint32_t>>{
           {1U << 20, 65'535}, {40'000, 18'980}, {20'001, 8760}}) {
    CAPTURE(buffer);
    raw_peer peer;
    set_receive_buffer(peer, buffer);
    peer.listen();
    peer.send_syn();
    REQUIRE(!peer.said().empty());
    const std::uint32_t offered = peer.said().front().tcp.window;
    CHECK(offered == whole_segments);
    peer.forget();
    set_receive_buffer(peer, 8192);
    peer.send({seq(1), ack(1)});
    peer.accept();
    CHECK(peer.look().rcv_wnd_bytes >= offered);
    CHECK(peer.look().rcv_wnd_bytes < offered + 256);
    peer.send({seq(offered), text("y")});
    CHECK(peer.look().out_of_order_bytes == 1);
    peer.forget();
  }
}

TEST_CASE("S14: a SYN-ACK that is sent again does not take its window back") {
  raw_peer peer;
  peer.listen();
  peer.send_syn();
  peer.expect({flags("SA"), window(64'240)});
  set_receive_buffer(peer, 8192);
  peer.run_for(1s);
  // As large, in the 256 bytes that an entry remembers it by.
  peer.expect({flags("SA"), window(64'256)});
  peer.send({seq(60'000), flags("S")});
  CHECK(peer.engine().memory().half_open == 0);
  peer.forget();
}

TEST_CASE("S14 S53: a Fast Open child says the same in every SYN-ACK, and keeps to it") {
  raw_peer peer(fast_without_cookie);
  peer.listen({.fastopen_queue = 4});
  peer.send_syn({mss(1460), scale(7), sack_permitted(), stamp(1), text("GET")});
  const wire::tcp_options first = told_options(peer);
  set_options(peer, false);
  set_receive_buffer(peer, 8192);
  peer.run_for(1s);
  const wire::tcp_options second = told_options(peer);
  CHECK(first.window_scale == second.window_scale);
  CHECK(first.mss == second.mss);
  CHECK(second.timestamp.has_value());
  CHECK(second.sack_permitted);
  peer.peer_next = peer.peer_iss + 4;
  peer.send({seq(4), ack(1), stamp(2, second.timestamp->value)});
  peer.accept();
  CHECK(peer.look().timestamps);
  CHECK(peer.look().rcv_wscale == *first.window_scale);
}

TEST_CASE(
    "S14: a connection has the options of its SYN when the policy changes before the answer") {
  raw_peer peer;
  peer.connect();
  const wire::tcp_options first = told_options(peer);
  REQUIRE(first.window_scale.has_value());
  set_options(peer, false);
  connection_policy defaults = peer.engine().connection_defaults();
  defaults.max_segment = std::uint16_t{600};
  CHECK(peer.engine().set_connection_defaults(defaults) == error::none);
  peer.run_for(1s);
  const wire::tcp_options second = told_options(peer);
  CHECK(second.window_scale == first.window_scale);
  CHECK(second.sack_permitted == first.sack_permitted);
  CHECK(second.timestamp.has_value());
  CHECK(second.mss == first.mss);
  peer.send({seq(0), ack(1), flags("SA"), mss(1460), scale(7), sack_permitted(),
             stamp(1, second.timestamp->value)});
  peer.expect({flags("A"), ack(1), has_stamp(true)});
  CHECK(peer.look().timestamps);
  CHECK(peer.look().snd_wscale == 7);
  CHECK(peer.look().rcv_wscale == *first.window_scale);
  CHECK(peer.look().snd_mss == 1448);
  peer.send({seq(10), text("y"), stamp(2, second.timestamp->value)});
  peer.expect({flags("A"), sack(10, 11)});
}

TEST_CASE("S14: what a SYN did not offer is not taken from the answer") {
  raw_peer peer;
  set_options(peer, false);
  peer.connect();
  CHECK(!told_options(peer).window_scale);
  set_options(peer, true);
  peer.run_for(1s);
  const wire::tcp_options second = told_options(peer);
  CHECK(!second.window_scale);
  CHECK(!second.timestamp);
  CHECK(!second.sack_permitted);
  peer.send({seq(0), ack(1), flags("SA"), mss(1460), scale(7), sack_permitted(), stamp(1, 1)});
  peer.expect({flags("A"), ack(1), has_stamp(false)});
  CHECK(peer.look().snd_wscale == 0);
  CHECK(peer.look().rcv_wscale == 0);
}
