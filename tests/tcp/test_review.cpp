#include "host_pair.hpp"
#include "raw_peer.hpp"

// What a reader of the sources doubted: corners of flow control, of congestion control and of the
// host's limits.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp persist: a window of one byte lets FIN out when the text is through") {
  raw_peer peer;
  peer.establish();
  peer.send({window(0)});
  peer.write("ab");
  peer.shutdown();
  peer.send({window(1)});
  peer.run_for(250ms);
  peer.expect({seq(1), length(1), flags("A")});
  peer.send({window(1)});
  peer.expect({seq(2), length(1), flags("A")});
  peer.send({window(1)});
  peer.expect({seq(3), length(0), flags("FA")});
}

TEST_CASE("tcp window: what an answer to an invalid segment offers may be used") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.receive_buffer = 65'536;
  peer.establish(policy);
  for (int i = 0; i < 7; ++i) peer.send({length(1460)});
  CHECK(peer.read().size() == 7 * 1460);
  peer.forget();
  // A keepalive probe: the answer offers the whole window again.
  peer.send({seq(7 * 1460)});
  peer.expect({ack(7 * 1460 + 1), window(21 * 1460)});
  for (int i = 0; i < 21; ++i) peer.send_unanswered({length(1460)});
  peer.flush();
  CHECK(peer.read().size() == 21 * 1460);
}

TEST_CASE("tcp send: without memory it says so instead of waiting for what nothing will free") {
  host_pair pair(1, {}, [](int, host_options& options) {
    options.policy.memory_limit = 1U << 20;
    options.connection.send_buffer = 4U << 20;
  });
  const auto listener = pair[1].listen({{}, 80}, {}, 1).value;
  connect_options options;
  options.policy = pair[0].connection_defaults();
  const auto greedy = pair[0].connect({pair.address(1), 80}, options, 2, pair.now()).value;
  const auto modest = pair[0].connect({pair.address(1), 80}, options, 3, pair.now()).value;
  pair.drive_for(10ms);
  const std::string text(2U << 20, 'x');
  std::size_t taken = 0;
  for (const std::size_t piece : {text.size(), std::size_t{1}}) {
    for (;;) {
      const auto sent = pair[0].send(greedy, bytes_of(text).first(piece), pair.now());
      taken += sent.value;
      if (sent) continue;
      // Its own bytes will be acknowledged, and then there is room.
      CHECK(sent.error == error::would_block);
      break;
    }
  }
  CHECK(taken > 0);
  CHECK(taken < text.size());
  const auto refused = pair[0].send(modest, bytes_of("x"), pair.now());
  CHECK(refused.error == error::no_buffer_space);
  pair[0].close(greedy, close_mode::abort, pair.now());
  CHECK(pair[0].send(modest, bytes_of("x"), pair.now()).value == 1);
  pair[1].close_listener(listener, pair.now());
}

TEST_CASE("tcp SYN-SENT: an echo of zero is a middlebox's, not an old connection's") {
  raw_peer peer;
  peer.connect();
  peer.forget();
  peer.send({seq(0), flags("SA"), mss(1460), stamp(77, 0)});
  CHECK(peer.current() == state::established);
  peer.expect({flags("A"), ack(1)});
}

TEST_CASE("tcp connect: the families of both addresses must be one") {
  raw_peer peer;
  connect_options options;
  options.local = {peer.host_address(), 0};
  const auto other = net::address::parse(speaks_v6() ? "10.0.0.9" : "fe80::1");
  REQUIRE(other);
  const auto refused = peer.engine().connect({*other, 80}, options, 1, peer.now());
  CHECK(refused.error == error::family_not_supported);
  CHECK(peer.engine().connect({*other, 80}, {}, 1, peer.now()).error ==
        error::family_not_supported);
}

TEST_CASE("tcp RFC 5681: a window that is not used does not grow") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 1000; ++i) {
    peer.write(std::string(1000, 'x'));
    peer.run_for(1ms);
    peer.send({});
  }
  CHECK(peer.look().snd_cwnd_bytes <= 20 * 1460);
}

TEST_CASE("tcp RFC 5681: after a pause sending begins with the initial window again") {
  raw_peer peer;
  peer.establish();
  for (int i = 0; i < 4; ++i) {
    peer.write(std::string(60'000, 'x'));
    while (peer.look().unacked_bytes > 0) peer.send({});
  }
  CHECK(peer.look().snd_cwnd_bytes >= 40 * 1460);
  peer.run_for(10s);
  peer.forget();
  peer.write(std::string(60'000, 'x'));
  CHECK(peer.said().size() == 10);
}

TEST_CASE("tcp RFC 5681: duplicates without end do not wrap the window round") {
  raw_peer peer([](host_options& options) { options.mtu = 65'535; });
  peer.establish({}, {mss(65'495), scale(14)}, {});
  peer.write(std::string(200'000, 'x'));
  peer.forget();
  for (int i = 0; i < 3; ++i) peer.send({ack(1)});
  std::uint32_t largest = peer.look().snd_cwnd_bytes;
  for (int i = 0; i < 70'000; ++i) {
    peer.send({ack(1)});
    const std::uint32_t cwnd = peer.look().snd_cwnd_bytes;
    REQUIRE(cwnd >= largest);
    largest = cwnd;
  }
}

TEST_CASE("tcp RFC 6582: duplicates at the point where a timeout began start no fast retransmit") {
  raw_peer peer;
  peer.establish();
  peer.write(std::string(5 * 1460, 'x'));
  peer.run_for(1s);
  const auto whole = 5 * 1460 + 1;
  peer.send({ack(whole)});
  peer.write(std::string(5 * 1460, 'y'));
  peer.forget();
  for (int i = 0; i < 5; ++i) peer.send({ack(whole)});
  CHECK(peer.count().fast_retrans == 0);
  peer.send({ack(whole + 1460)});
  for (int i = 0; i < 3; ++i) peer.send({ack(whole + 1460)});
  CHECK(peer.count().fast_retrans == 1);
}
