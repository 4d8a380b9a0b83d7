#include "host_pair.hpp"
#include "raw_peer.hpp"

// Local ports out of TIME-WAIT (net.ipv4.tcp_tw_reuse), and a peer that is stuck in LAST-ACK:
// S85, S86, S90, S91.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

/// A host with one local port, 80, whose connection to the peer it closed first.
void reach_client_time_wait(raw_peer& peer, bool stamps) {
  peer.connect();
  peer.forget();
  if (stamps) {
    peer.send({seq(0), ack(1), flags("SA"), mss(1460), stamp(1000)});
    peer.shutdown();
    peer.send({stamp(1000)});
    peer.send({flags("FA"), stamp(1000)});
  } else {
    peer.send({seq(0), ack(1), flags("SA"), mss(1460)});
    peer.shutdown();
    peer.send({});
    peer.send({flags("FA")});
  }
  CHECK(peer.current() == state::time_wait);
  peer.forget();
}

std::function<void(host_options&)> with_reuse(tw_reuse reuse) {
  return [=](host_options& options) {
    options.policy.local_port_first = 80;
    options.policy.local_port_last = 80;
    options.policy.tw_reuse = reuse;
  };
}

/// `connect` without a port.
outcome<socket_id> connect_again(raw_peer& peer) {
  const auto made = peer.engine().connect({peer.peer_address(), peer.peer_port}, {}, 2, peer.now());
  if (made) peer.engine().release(std::exchange(peer.socket, made.value), peer.now());
  peer.flush();
  return made;
}

}  // namespace

TEST_CASE(
    "tcp S90 S113 TWRecycled tw_reuse on: no port at once, after a second SYN far beyond the old "
    "numbers") {
  raw_peer peer(with_reuse(tw_reuse::on));
  reach_client_time_wait(peer, true);
  const std::uint32_t old_next = peer.host_next;
  CHECK(connect_again(peer).error == error::address_not_available);
  CHECK(peer.count().local_ports_exhausted == 1);
  peer.run_for(999ms);
  CHECK(connect_again(peer).error == error::address_not_available);
  peer.run_for(201ms);
  CHECK(connect_again(peer));
  peer.expect({flags("S"), has_stamp(true), echo(0)});
  CHECK(peer.host_iss == old_next + 65'537);
  CHECK(peer.count().tw_recycled == 1);
  CHECK(peer.engine().memory().time_wait == 0);
}

TEST_CASE("tcp S90 tw_reuse: the delay is a policy") {
  raw_peer peer([](host_options& options) {
    with_reuse(tw_reuse::on)(options);
    options.policy.tw_reuse_delay = 50ms;
  });
  reach_client_time_wait(peer, true);
  peer.run_for(49ms);
  CHECK(!connect_again(peer));
  peer.run_for(1ms);
  CHECK(connect_again(peer));
}

TEST_CASE("tcp S90 tw_reuse: never without timestamps, of the old connection or of the new one") {
  raw_peer peer(with_reuse(tw_reuse::on));
  SUBCASE("the old one has none") {
    reach_client_time_wait(peer, false);
  }
  SUBCASE("the new one would have none") {
    reach_client_time_wait(peer, true);
    stack_policy policy = peer.engine().policy();
    policy.timestamps = false;
    CHECK(peer.engine().set_policy(policy) == error::none);
  }
  peer.run_for(50s);
  CHECK(connect_again(peer).error == error::address_not_available);
  peer.run_for(10s);
  CHECK(connect_again(peer));
  peer.expect({flags("S")});
  CHECK(peer.count().tw_recycled == 0);
}

TEST_CASE("tcp S90 tw_reuse off, and loopback towards another machine: never") {
  for (const tw_reuse reuse : {tw_reuse::off, tw_reuse::loopback}) {
    raw_peer peer(with_reuse(reuse));
    reach_client_time_wait(peer, true);
    peer.run_for(59s);
    CHECK(connect_again(peer).error == error::address_not_available);
  }
  CHECK(stack_policy().tw_reuse == tw_reuse::loopback);
}

TEST_CASE("tcp S90 tw_reuse loopback: a local or remote address of 127/8 is enough") {
  const auto local = *net::address::parse(speaks_v6() ? "::1" : "127.0.0.2");
  host_options options;
  options.addresses = {local};
  options.keys = keys_from(1);
  with_reuse(tw_reuse::loopback)(options);
  host engine(std::move(options));
  net::packet_pool pool;
  time_point now(1000s);
  const net::endpoint remote{test_address(10, 0, 0, 9), 7};
  const auto first = engine.connect(remote, {}, 1, now);
  REQUIRE(first);
  const auto syn = [&] {
    const net::packet flat = flatten(pool, *engine.poll_transmit(now));
    return look_at(flat.bytes(), now, 0, false);
  };
  const std::uint32_t iss = syn().tcp.seq;
  const auto answer = [&](std::uint32_t number, std::uint32_t acknowledged, const char* letters) {
    wire::tcp_header tcp;
    tcp.seq = number;
    tcp.ack = iss + acknowledged;
    tcp.flags = flags_from(letters);
    tcp.window = 65535;
    tcp.options.timestamp = wire::tcp_timestamp{100, 0};
    engine.on_packet(make_packet(pool, remote, {local, 80}, tcp), now);
    while (engine.poll_transmit(now) != nullptr) {
    }
  };
  answer(500, 1, "SA");
  engine.release(first.value, now);
  answer(501, 1, "A");
  answer(501, 2, "FA");
  CHECK(engine.memory().time_wait == 1);
  CHECK(engine.connect(remote, {}, 1, now).error == error::address_not_available);
  now += 1s;
  CHECK(engine.connect(remote, {}, 1, now));
  CHECK(syn().tcp.seq == iss + 2 + 65'537);
}

TEST_CASE("tcp S90 tw_reuse: a port that is named needs timestamps and no patience, as in Linux") {
  for (const bool stamps : {true, false}) {
    raw_peer peer(with_reuse(tw_reuse::off));
    reach_client_time_wait(peer, stamps);
    connect_options named;
    named.local.port = 80;
    const auto made =
        peer.engine().connect({peer.peer_address(), peer.peer_port}, named, 2, peer.now());
    CHECK(made.error == (stamps ? error::none : error::address_in_use));
    if (made) peer.engine().release(made.value, peer.now());
  }
}

TEST_CASE("tcp S90 tw_reuse: of several the oldest is taken, and a free port before all of them") {
  connected_pair pair(1, {}, [](int, host_options& options) {
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5003;
    options.policy.tw_reuse = tw_reuse::on;
  });
  pair.listen();
  std::vector<std::uint16_t> order;
  for (int i = 0; i < 3; ++i) {
    pair.connect();
    order.push_back(pair.look(0).local.port);
    pair.drive_for(10ms);
    pair.accept();
    pair.release(0);
    pair.drive_for(10ms);
    pair.release(1);
    pair.drive_for(400ms);
  }
  CHECK(pair[0].memory().time_wait == 3);
  pair.drive_for(5s);
  pair.connect();
  const std::uint16_t fourth = pair.look(0).local.port;
  CHECK(std::find(order.begin(), order.end(), fourth) == order.end());
  CHECK(pair[0].counters().tw_recycled == 0);
  pair.drive_for(10ms);
  pair.accept();
  const socket_id kept[] = {pair.client_socket, pair.server_socket};
  pair.connect();
  CHECK(pair.look(0).local.port == order[0]);
  CHECK(pair[0].counters().tw_recycled == 1);
  pair[0].release(kept[0], pair.now());
  pair[1].release(kept[1], pair.now());
}

namespace {

/// The flags of what was sent, by side: ">S <SA >A".
std::string story(const host_pair& pair) {
  std::string out;
  for (const seen_packet& each : pair.trace) {
    if (!out.empty()) out += ' ';
    out += (each.from == 0 ? '>' : '<') + each.flags();
  }
  return out;
}

/// The client has closed first; the server's FIN has reached it, and nothing that acknowledges that
/// FIN gets through.
void stick_in_last_ack(connected_pair& pair, const connect_options& options) {
  pair.establish(options);
  pair.close(0);
  pair.drive_for(10ms);
  pair.filter = [](const seen_packet& seen) { return seen.from != 0; };
  pair.close(1);
  pair.drive_for(5ms);
  CHECK(pair.server_state() == state::last_ack);
  pair.release(0);
  pair.release(1);
}

}  // namespace

TEST_CASE(
    "tcp S85 S86 without TIME-WAIT: stuck LAST-ACK draws a challenge ACK, not RST; then RST") {
  connected_pair pair;
  connect_options options;
  options.local.port = 5000;
  options.policy.time_wait = 0ms;
  stick_in_last_ack(pair, options);
  CHECK(pair[0].memory().time_wait == 0);
  pair.filter = nullptr;
  pair.clear();
  const time_point begun = pair.now();
  pair.connect(options);
  pair.drive_for(50ms);
  // S85 says that LAST-ACK answers RST. It asks back; SYN-SENT answers RST, and that ends it.
  CHECK(story(pair) == ">S <A >R");
  CHECK(pair.trace[1].tcp.ack != pair.trace[0].tcp.seq + 1);
  CHECK(pair.trace[2].tcp.seq == pair.trace[1].tcp.ack);
  CHECK(pair[1].counters().challenge_ack == 1);
  CHECK(pair.client_state() == state::syn_sent);
  pair.drive_for(1s);
  CHECK(story(pair) == ">S <A >R >S <SA >A");
  CHECK(pair.trace[3].at - begun == 1s);
  CHECK(pair.client_state() == state::established);
  pair.accept();
}

TEST_CASE("tcp S91 tw_reuse: stuck LAST-ACK is asked, reset and then opened anew") {
  connected_pair pair(1, {}, [](int side, host_options& options) {
    if (side == host_pair::server) return;
    options.policy.local_port_first = 5000;
    options.policy.local_port_last = 5000;
    options.policy.tw_reuse = tw_reuse::on;
  });
  stick_in_last_ack(pair, {});
  CHECK(pair[0].memory().time_wait == 1);
  // Each FIN that comes again starts TIME-WAIT anew; this is more than a second after one of them.
  pair.drive_for(3s);
  pair.filter = nullptr;
  pair.clear();
  pair.connect();
  pair.drive_for(1500ms);
  CHECK(story(pair) == ">S <A >R >S <SA >A");
  CHECK(pair[0].counters().tw_recycled == 1);
  CHECK(pair.client_state() == state::established);
  pair.accept();
}

TEST_CASE("tcp S91 tw_reuse: what is left of the old connection is dropped by its timestamp") {
  raw_peer peer(with_reuse(tw_reuse::on));
  reach_client_time_wait(peer, true);
  peer.run_for(1200ms);
  CHECK(connect_again(peer));
  peer.forget();
  // The peer's new numbers happen to lie where its old ones were.
  peer.peer_next = peer.peer_iss;
  peer.send({seq(0), ack(1), flags("SA"), mss(1460), stamp(2200)});
  peer.expect({flags("A"), ack(1)});
  peer.send({seq(1), text("old text"), stamp(1000)});
  peer.expect({flags("A"), ack(1), length(0)});
  CHECK(peer.count().paws_estab == 1);
  CHECK(peer.read().empty());
  peer.send({seq(1), text("new text"), stamp(2201)});
  CHECK(peer.read() == "new text");
}
