#include "host_pair.hpp"
#include "raw_peer.hpp"

// Connections that begin with a SYN cookie: what they have in common with others, and the one thing
// that they cannot do. When there are cookies is in test_syncookies_gate.cpp.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const listener_policy always{.syncookies = syncookies::always};

/// The TSval of the next segment, which stays to be looked at.
std::uint32_t next_stamp(raw_peer& peer) {
  REQUIRE(!peer.said().empty());
  REQUIRE(peer.said().front().tcp.options.timestamp.has_value());
  return peer.said().front().tcp.options.timestamp->value;
}

}  // namespace

TEST_CASE("S40: the acknowledgement of a cookie goes straight to the accept queue") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.expect({flags("SA"), seq(0), ack(1), mss(1460)});
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.engine().memory().connections == 0);
  CHECK(peer.current() == state::closed);
  peer.send({});
  peer.expect_nothing();
  CHECK(peer.current() == state::established);
  CHECK(peer.reported == events::acceptable);
  peer.accept();
  CHECK(peer.look().srtt == 0us);
  CHECK(peer.look().snd_wnd_bytes == 65535);
  peer.send({text("question")});
  CHECK(peer.read() == "question");
  peer.forget();
  peer.write("answer");
  peer.expect({seq(1), ack(9), text("answer")});
  peer.send({});
  CHECK(peer.look().unacked_bytes == 0);
}

TEST_CASE(
    "S113 SyncookiesSent, SyncookiesRecv, SyncookiesFailed, TCPReqQFullDoCookies: sent, returned, "
    "wrong") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  CHECK(peer.count().syncookies_sent == 1);
  CHECK(peer.count().req_q_full_do_cookies == 1);
  CHECK(peer.count().syncookies_recv == 0);
  peer.forget();
  peer.send({ack(2)});
  CHECK(peer.count().syncookies_failed == 1);
  peer.expect({flags("R"), seq(2)});
  peer.send({});
  CHECK(peer.count().syncookies_recv == 1);
  CHECK(peer.count().passive_opens == 1);
  CHECK(peer.count().syncookies_failed == 1);
  CHECK(peer.count().listen_drops == 0);
  peer.accept();
}

TEST_CASE("S40: a repeated SYN gets the same cookie, a later one another") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  const std::uint32_t first = peer.host_iss;
  peer.run_for(1s);
  peer.send_syn();
  CHECK(peer.host_iss == first);
  peer.run_for(60s);
  peer.send_syn();
  CHECK(peer.host_iss != first);
  // The acknowledgement of the first, which took its time, is good as well.
  peer.host_next = first + 1;
  peer.send({});
  CHECK(peer.current() == state::established);
}

TEST_CASE("S40: a cookie is refused after two minutes") {
  raw_peer peer([](host_options&) {}, time_point(1020s));
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.run_for(119s);
  peer.send({ack(1)});
  CHECK(peer.current() == state::established);
  peer.accept();
  peer.close(close_mode::abort);
  peer.engine().release(peer.socket, peer.now());
  peer.forget();
  peer.run_for(1s);
  peer.send({seq(1), ack(1)});
  peer.expect({flags("R"), seq(1)});
}

TEST_CASE("S41: with timestamps a cookie keeps window scale, SACK and ECN, as in Linux") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn({flags("SEC"), mss(1460), scale(9), sack_permitted(), stamp(5000)});
  const std::uint32_t cookie_stamp = next_stamp(peer);
  CHECK((cookie_stamp & 63) == (9 | 1 << 4 | 1 << 5));
  peer.expect({flags("SAE"), mss(1460), scale(10), sack_permitted(), echo(5000)});
  peer.send({stamp(5001, cookie_stamp), window(500)});
  peer.accept();
  CHECK(peer.look().snd_wscale == 9);
  CHECK(peer.look().snd_wnd_bytes == 500 << 9);
  CHECK(peer.look().rcv_wscale == 10);
  // Of IPv6, 1440 is the next one that a cookie can say.
  CHECK(peer.look().snd_mss == (speaks_v6() ? 1428 : 1448));
  CHECK(peer.look().timestamps);
  peer.write("text");
  peer.expect({text("text"), ip_ecn(2), echo(5001)});
  peer.send({seq(10), text("late"), stamp(5002, cookie_stamp)});
  peer.expect({ack(1), sack(10, 14)});
}

TEST_CASE("S41: timestamps go on from the cookie's and never back") {
  // The bits of the options lie anywhere relative to the clock's.
  for (std::uint32_t offset = 0; offset < 130; ++offset) {
    raw_peer peer([](host_options&) {}, time_point(1000s + std::chrono::milliseconds(offset)));
    peer.listen(always);
    peer.send_syn({mss(1460), scale(offset % 15), stamp(7)});
    const std::uint32_t first = next_stamp(peer);
    peer.forget();
    peer.send({stamp(7, first)});
    peer.accept();
    peer.write("x");
    const std::uint32_t second = next_stamp(peer) - first;
    CHECK(second < 128);
    peer.forget();
    peer.run_for(1s);
    CHECK(next_stamp(peer) - first - second >= 200);
  }
}

TEST_CASE("S41: PAWS holds on a connection from a cookie") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn({mss(1460), stamp(5000)});
  const std::uint32_t echoed = next_stamp(peer);
  peer.send({stamp(5010, echoed)});
  peer.accept();
  peer.forget();
  peer.send({text("old"), stamp(5009, echoed)});
  CHECK(peer.count().paws_estab == 1);
  CHECK(peer.read().empty());
  peer.send({seq(1), text("new"), stamp(5010, echoed)});
  CHECK(peer.read() == "new");
}

TEST_CASE("S41: without timestamps a cookie keeps window scale, SACK and ECN in its own bits") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn({flags("SEC"), mss(1440), scale(9), sack_permitted()});
  peer.expect({flags("SAE"), scale(10), sack_permitted(), has_stamp(false)});
  peer.send({window(500)});
  peer.accept();
  // The shift is one of those that there are bits for.
  CHECK(peer.look().snd_wscale == 8);
  CHECK(peer.look().snd_wnd_bytes == 500 << 8);
  CHECK(peer.look().snd_mss == 1440);
  CHECK_FALSE(peer.look().timestamps);
  peer.write("text");
  peer.expect({text("text"), ip_ecn(2), has_stamp(false)});
  peer.send({seq(10), text("late")});
  peer.expect({ack(1), sack(10, 14)});
}

TEST_CASE("S41: who asks for nothing gets nothing") {
  for (const bool timestamps : {false, true}) {
    raw_peer peer;
    peer.listen(always);
    std::uint32_t echoed = 0;
    if (timestamps) {
      peer.send_syn({mss(1460), stamp(1)});
      echoed = next_stamp(peer);
    } else {
      peer.send_syn();
    }
    const wire::tcp_options& options = peer.said().front().tcp.options;
    CHECK_FALSE(options.window_scale.has_value());
    CHECK_FALSE(options.sack_permitted);
    peer.expect({flags("SA")});
    timestamps ? peer.send({stamp(1, echoed)}) : peer.send({});
    peer.accept();
    CHECK(peer.look().snd_wscale == 0);
    CHECK(peer.look().rcv_wscale == 0);
    peer.write("text");
    peer.expect({text("text"), ip_ecn(0)});
  }
}

TEST_CASE("S41: an MSS of 900 comes back as 536, and as 1220 with IPv6, as in Linux") {
  raw_peer peer;
  peer.establish(always, {mss(900)});
  CHECK(peer.look().snd_mss == (speaks_v6() ? 1220 : 536));
}

TEST_CASE("S41: a shift of 0 is window scaling, and is not none") {
  raw_peer peer;
  peer.establish(always, {mss(1460), scale(0)});
  CHECK(peer.look().snd_wscale == 0);
  CHECK(peer.look().rcv_wscale == 10);
}

TEST_CASE("S42: text establishes the connection when the bare acknowledgement was lost") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn({mss(1460), scale(7), stamp(100)});
  const std::uint32_t echoed = next_stamp(peer);
  peer.forget();
  peer.run_for(30s);
  peer.send({text("first words"), stamp(30'100, echoed)});
  peer.accept();
  CHECK(peer.read() == "first words");
  peer.forget();
  peer.write("answer");
  peer.expect({seq(1), ack(12), text("answer")});
}

TEST_CASE("S42: text and FIN in one segment establish it too") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.send({flags("FPA"), text("all there is")});
  peer.accept();
  CHECK(peer.current() == state::close_wait);
  CHECK(peer.read() == "all there is");
}

TEST_CASE("S42: where the server speaks first it hears nothing, until the client says something") {
  connected_pair pair(1, {.latency = 10ms});
  pair.listen(always);
  bool lost = false;
  pair.filter = [&](const seen_packet& seen) {
    if (seen.from != host_pair::client || seen.flags() != "A" || lost) return true;
    lost = true;
    return false;
  };
  pair.connect();
  pair.drive_for(50s);
  CHECK(lost);
  CHECK(pair.client_state() == state::established);
  CHECK_FALSE(pair.reported(host_pair::server, events::acceptable));
  CHECK(pair.receive(host_pair::client).empty());
  pair.send(host_pair::client, "is anybody there?");
  pair.drive_for(100ms);
  pair.accept();
  CHECK(pair.receive(host_pair::server) == "is anybody there?");
}

TEST_CASE("S42: a keepalive probe establishes it, and is answered") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.run_for(20s);
  // The number before the next one; older systems add a byte.
  SUBCASE("without text") {
    peer.send({seq(0), ack(1)});
  }
  SUBCASE("with a byte") {
    peer.send({seq(0), ack(1), text("?")});
  }
  peer.expect({flags("A"), seq(1), ack(1)});
  peer.accept();
  CHECK(peer.read().empty());
  peer.send({seq(1), text("text")});
  CHECK(peer.read() == "text");
}

TEST_CASE("S42: a probe that comes too late is told that there is nothing") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.run_for(7200s);
  peer.send({seq(0), ack(1)});
  peer.expect({flags("R"), seq(1)});
  CHECK(peer.current() == state::closed);
}

TEST_CASE("S40: a cookie is for its own peer") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.send({from_port(40001)});
  peer.expect({flags("R"), seq(1)});
  peer.send({seq(2)});
  peer.expect({flags("R"), seq(1)});
  CHECK(peer.count().syncookies_failed == 2);
  // Nor does RST or SYN-ACK bring it back.
  peer.send({seq(1), flags("RA")});
  peer.send({seq(0), flags("SA")});
  CHECK(peer.count().cookie_checks == 2);
  CHECK(peer.engine().memory().connections == 0);
}

TEST_CASE("S40: an acknowledgement that comes twice finds the connection") {
  raw_peer peer;
  peer.listen(always);
  peer.send_syn();
  peer.forget();
  peer.send({});
  peer.send({});
  peer.expect_nothing();
  CHECK(peer.count().syncookies_recv == 1);
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  peer.accept();
}

TEST_CASE("S40: two hosts talk over lossy wires through a listener that has only cookies") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    connected_pair pair(seed, {.latency = 5ms, .loss = 0.05, .duplicate = 0.05, .reorder = 0.1});
    pair.listen(always);
    pair.connect();
    const std::string all = numbered_text(100'000);
    std::string sent;
    std::string got;
    bool accepted = false;
    for (int i = 0; i < 4000 && got.size() < all.size(); ++i) {
      if (pair.client_state() == state::established) {
        sent +=
            all.substr(sent.size(), pair.send(host_pair::client, all.substr(sent.size(), 1000)));
      }
      pair.drive_for(10ms);
      if (!accepted && pair[host_pair::server].listener(pair.listener).value.accept_queue > 0) {
        pair.accept();
        accepted = true;
      }
      if (accepted) got += pair.receive(host_pair::server);
    }
    CHECK(got == all);
    CHECK(pair[host_pair::server].memory().half_open == 0);
    CHECK(pair[host_pair::server].counters().syncookies_recv >= 1);
  }
}
