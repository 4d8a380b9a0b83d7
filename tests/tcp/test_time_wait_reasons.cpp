#include "host_pair.hpp"
#include "raw_peer.hpp"

// What TIME-WAIT is for, whom it costs what, and what helps (S78 to S83, S96).

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

TEST_CASE("tcp S78 TIME-WAIT: who closes first has it, the other has none; in CLOSING both have") {
  connected_pair pair;
  pair.establish();
  const bool both = [] {
    bool at_once = false;
    SUBCASE("the client first") {
      at_once = false;
    }
    SUBCASE("both at once") {
      at_once = true;
    }
    return at_once;
  }();
  pair.close(0);
  if (!both) pair.drive_for(10ms);
  pair.close(1);
  pair.drive_for(10ms);
  CHECK(pair[0].memory().time_wait == 1);
  CHECK(pair[1].memory().time_wait == (both ? 1 : 0));
}

TEST_CASE("tcp S79 TIME-WAIT: 60 s whatever fin_timeout and the hop limit say, 4 min where asked") {
  raw_peer peer;
  listener_policy policy;
  std::chrono::milliseconds wanted = 60s;
  SUBCASE("fin_timeout is another time") {
    policy.connection.fin_timeout = 5s;
  }
  SUBCASE("S80 hops are not seconds") {
    policy.connection.ttl = std::uint8_t{255};
  }
  SUBCASE("RFC 9293's two MSL") {
    policy.connection.time_wait = 240s;
    wanted = 240s;
  }
  peer.establish(policy);
  peer.close();
  peer.send({});
  peer.mark();
  peer.send({flags("FA")});
  CHECK(peer.run_until_over(300s) == wanted);
}

TEST_CASE("tcp S80 hop limit: what is sent may take 64 hops") {
  connected_pair pair;
  pair.listen();
  pair.connect();
  pair.drive_for(10ms);
  pair.accept();
  for (const seen_packet& each : pair.trace) CHECK(each.ip.ttl == 64);
}

TEST_CASE("tcp S81 TIME-WAIT: without it a lost last ACK turns a good close into RST") {
  for (const bool with : {true, false}) {
    CAPTURE(with);
    connected_pair pair;
    connect_options options;
    if (!with) options.policy.time_wait = 0ms;
    pair.establish(options);
    pair.close(0);
    pair.drive_for(10ms);
    bool lost = false;
    pair.filter = [&](const seen_packet& seen) {
      return seen.from == 1 || std::exchange(lost, true);
    };
    pair.close(1);
    pair.drive_for(2s);
    CHECK(lost);
    CHECK(pair.look(1).ended == (with ? end_reason::clean : end_reason::reset));
  }
}

TEST_CASE(
    "tcp S81 TIME-WAIT: without it old text fits a new connection, with it the port is taken") {
  raw_peer peer([](host_options& options) { options.policy.timestamps = false; });
  connection_policy policy;
  const bool with = [] {
    bool wait = true;
    SUBCASE("with it") {
      wait = true;
    }
    SUBCASE("without it") {
      wait = false;
    }
    return wait;
  }();
  if (!with) policy.time_wait = 0ms;
  peer.connect(policy);
  peer.forget();
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  peer.shutdown();
  peer.send({});
  peer.send({flags("FA")});
  peer.engine().release(peer.socket, peer.now());
  peer.forget();
  connect_options again;
  again.local.port = peer.host_port;
  const auto made =
      peer.engine().connect({peer.peer_address(), peer.peer_port}, again, 2, peer.now());
  CHECK(made.error == (with ? error::address_in_use : error::none));
  if (with) return;
  peer.socket = made.value;
  peer.flush();
  peer.forget();
  // The peer's number of now lies just before the old text, which was late.
  peer.peer_iss -= 100;
  peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
  peer.send({seq(1), ack(1), length(100)});
  peer.send({seq(101), ack(1), text("old text")});
  CHECK(peer.read().substr(100) == "old text");
}

TEST_CASE("tcp S82 S83 TIME-WAIT: bears losses of ACK and FIN, and lasts 60 s from the last ACK") {
  connected_pair pair;
  pair.establish();
  pair.close(0);
  pair.drive_for(10ms);
  int acks = 0;
  int fins = 0;
  time_point last_ack;
  pair.filter = [&](const seen_packet& seen) {
    if (seen.from == 1) return ++fins != 2;
    last_ack = seen.at;
    return ++acks > 4;
  };
  pair.close(1);
  pair.drive_for(30s);
  CHECK(pair.look(1).ended == end_reason::clean);
  CHECK(pair[0].memory().time_wait == 1);
  pair.drive_until(last_ack + 60s - 1ms);
  CHECK(pair[0].memory().time_wait == 1);
  pair.drive_until(last_ack + 60s + 1ms);
  CHECK(pair[0].memory().time_wait == 0);
}

TEST_CASE("tcp S96 TIME-WAIT: a long connection costs one, short ones one each, on who closes") {
  for (const int closer : {host_pair::client, host_pair::server}) {
    connected_pair pair;
    pair.establish();
    for (int i = 0; i < 100; ++i) {
      CHECK(pair.send(0, "request") == 7);
      pair.drive_for(5ms);
      CHECK(pair.receive(1) == "request");
      CHECK(pair.send(1, "answer") == 6);
      pair.drive_for(5ms);
      CHECK(pair.receive(0) == "answer");
    }
    pair.release(closer);
    pair.drive_for(5ms);
    pair.release(1 - closer);
    pair.drive_for(5ms);
    CHECK(pair[closer].memory().time_wait == 1);
    for (int i = 0; i < 100; ++i) {
      pair.connect();
      pair.drive_for(5ms);
      pair.accept();
      pair.release(closer);
      pair.drive_for(5ms);
      pair.release(1 - closer);
      pair.drive_for(5ms);
    }
    CHECK(pair[closer].memory().time_wait == 101);
    CHECK(pair[1 - closer].memory().time_wait == 0);
  }
}
