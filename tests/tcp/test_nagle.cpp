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

TEST_CASE("tcp S108 Nagle: full segments do not wait, the rest of them does") {
  raw_peer peer;
  peer.establish();
  const std::string bulk = numbered_text(3 * 1460 + 40);
  peer.write(bulk);
  for (std::uint32_t i = 0; i < 3; ++i) peer.expect({seq(1 + 1460 * i), length(1460)});
  peer.expect_nothing();
  peer.send({});
  peer.expect({flags("PA"), length(40)});
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
