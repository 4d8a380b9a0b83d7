#include "host_pair.hpp"
#include "raw_peer.hpp"

// When the host sends: Nagle's rule as RFC 9293 3.7.4 has it, TCP_NODELAY, PSH, and segment sizes.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp S108 Nagle: a small segment leaves at once when nothing is unacknowledged") {
  raw_peer peer;
  peer.establish();
  peer.write("a");
  peer.expect({flags("PA"), seq(1), text("a")});
}

TEST_CASE("tcp S108 Nagle: while text is unacknowledged small writes are collected") {
  raw_peer peer;
  peer.establish();
  peer.write("a");
  peer.forget();
  for (const char* each : {"b", "c", "d"}) peer.write(each);
  peer.expect_nothing();
  CHECK(peer.look().unsent_bytes == 3);
  peer.send({});
  peer.expect({flags("PA"), seq(2), text("bcd")});
}

TEST_CASE("tcp S108 Minshall: full segments hold no short one back, a short one does") {
  raw_peer peer;
  peer.establish();
  peer.write(numbered_text(3 * 1460 + 40));
  for (std::uint32_t i = 0; i < 3; ++i) peer.expect({seq(1 + 1460 * i), length(1460)});
  peer.expect({flags("PA"), length(40)});
  peer.write("a");
  peer.expect_nothing();
  // The full ones are acknowledged, the short one is not.
  peer.send({ack(1 + 3 * 1460)});
  peer.expect_nothing();
  peer.send({ack(1 + 3 * 1460 + 40)});
  peer.expect({flags("PA"), text("a")});
}

TEST_CASE("tcp S108 Minshall: the point of the last short segment does not come round again") {
  // 2^31 bytes of full segments after a short one; then nothing may hold the next short one back.
  raw_peer peer([](host_options& options) { options.mtu = 65535; });
  peer.establish({}, {mss(32767 + 40), scale(8)});
  peer.write("a");
  const std::string bulk(8 * peer.look().snd_mss, 'x');
  peer.forget();
  std::uint64_t sent = 1;
  while (sent < (std::uint64_t{1} << 31) + bulk.size()) {
    peer.send({});
    peer.write(bulk);
    sent += bulk.size();
    peer.forget();
  }
  peer.write("b");
  peer.expect({text("b")});
}

TEST_CASE("tcp S108 TCP_CORK: short segments are held back until one is full") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.cork = true;
  peer.establish(policy);
  peer.write("head");
  peer.expect_nothing();
  peer.write(std::string(1456, 'b'));
  peer.expect({length(1460)});
  peer.write("tail");
  peer.expect_nothing();
  SUBCASE("taken back, it lets them go") {
    CHECK(peer.engine().set_cork(peer.socket, false) == error::none);
    peer.flush();
    peer.expect({flags("PA"), text("tail")});
  }
  SUBCASE("FIN lets them go") {
    peer.close();
    peer.expect({flags("FPA"), text("tail")});
  }
  SUBCASE("an acknowledgement does not") {
    peer.send({});
    peer.expect_nothing();
  }
  SUBCASE("TCP_NODELAY does not, until the cork is out") {
    peer.engine().set_nodelay(peer.socket, true);
    peer.flush();
    peer.expect_nothing();
  }
}

TEST_CASE("tcp S108 TCP_CORK: nothing waits longer than 200 ms") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.cork = true;
  peer.establish(policy);
  for (int round = 0; round < 3; ++round) {
    peer.mark();
    peer.write("head");
    peer.run_for(150ms);
    peer.write("er");
    peer.run_for(100ms);
    CHECK(peer.times() == std::vector<std::int64_t>{200});
    peer.send({});
    peer.forget();
  }
}

TEST_CASE("tcp S108 Nagle: what grows to a full segment leaves") {
  raw_peer peer;
  peer.establish();
  peer.write("a");
  peer.forget();
  peer.write(std::string(1459, 'b'));
  peer.expect_nothing();
  peer.write("c");
  peer.expect({seq(2), length(1460)});
}

TEST_CASE("tcp S108 Nagle: TCP_NODELAY sends every write") {
  raw_peer peer;
  SUBCASE("from the policy") {
    listener_policy policy;
    policy.connection.nodelay = true;
    peer.establish(policy);
    for (const char* each : {"a", "b", "c"}) peer.write(each);
    for (const char* each : {"a", "b", "c"}) peer.expect({text(each)});
  }
  SUBCASE("set while text waits") {
    peer.establish();
    peer.write("a");
    peer.write("b");
    peer.expect({text("a")});
    peer.expect_nothing();
    CHECK(peer.engine().set_nodelay(peer.socket, true) == error::none);
    peer.flush();
    peer.expect({text("b")});
    CHECK(peer.engine().set_nodelay(peer.socket, false) == error::none);
    peer.write("c");
    peer.expect_nothing();
  }
}

TEST_CASE("tcp Nagle: writes of one turn leave together") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.nodelay = true;
  peer.establish(policy);
  for (const char* each : {"a", "b", "c"}) {
    CHECK(peer.engine().send(peer.socket, bytes_of(each), peer.now()).value == 1);
  }
  peer.flush();
  peer.expect({text("abc")});
  peer.expect_nothing();
}

TEST_CASE("tcp Nagle: FIN lets what is collected go") {
  raw_peer peer;
  peer.establish();
  peer.write("a");
  peer.forget();
  peer.write("b");
  peer.expect_nothing();
  peer.shutdown();
  peer.expect({flags("FPA"), seq(2), text("b")});
}

TEST_CASE("tcp PSH: stands on the segment that empties the queue") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.nodelay = true;
  peer.establish(policy);
  peer.write(numbered_text(2000));
  REQUIRE(peer.said().size() == 2);
  CHECK(peer.said()[0].flags() == "A");
  CHECK(peer.said()[1].flags() == "PA");
}

TEST_CASE("tcp cwnd: the first flight is ten segments (RFC 6928)") {
  raw_peer peer;
  peer.establish();
  CHECK(peer.write(numbered_text(60'000)) == 60'000);
  CHECK(peer.said().size() == 10);
  peer.forget();
  peer.send({});
  CHECK(peer.said().size() == 20);
}

TEST_CASE("tcp send: writing stops at the send buffer and goes on when it empties") {
  raw_peer peer;
  listener_policy policy;
  policy.connection.send_buffer = 20'000;
  peer.establish(policy);
  peer.reported = events::none;
  const std::string text = numbered_text(100'000);
  const std::size_t taken = peer.write(text);
  CHECK(taken >= 10'000);
  CHECK(taken < 100'000);
  CHECK(peer.engine().send(peer.socket, bytes_of("x"), peer.now()).error == error::would_block);
  CHECK((peer.reported & events::writable) == events::none);
  CHECK((peer.engine().readiness(peer.socket) & events::writable) == events::none);
  for (int i = 0; i < 20 && (peer.reported & events::writable) == events::none; ++i) peer.send({});
  CHECK((peer.reported & events::writable) == events::writable);
  CHECK(peer.engine().send(peer.socket, bytes_of("x"), peer.now()).value == 1);
}

TEST_CASE("tcp send: nothing to send is no error, and an unknown handle is one") {
  raw_peer peer;
  peer.establish();
  const auto none = peer.engine().send(peer.socket, {}, peer.now());
  CHECK(none.error == error::none);
  CHECK(none.value == 0);
  peer.flush();
  peer.expect_nothing();
  CHECK(peer.engine().send({}, bytes_of("x"), peer.now()).error == error::bad_handle);
  CHECK(peer.engine().send({7, 7}, bytes_of("x"), peer.now()).error == error::bad_handle);
}
