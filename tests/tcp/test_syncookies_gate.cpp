#include "raw_peer.hpp"
#include "support/pace.hpp"

// When a listener has cookies, what acknowledgements of nobody's cost it, and what becomes of a
// cookie in a full accept queue.

using namespace runnel;
using namespace runnel::tcp;
using namespace runnel::tcp::test;
using namespace std::chrono_literals;

namespace {

const listener_policy always{.syncookies = syncookies::always};
const listener_policy tiny{.backlog = 0};

/// Fills the SYN queue of a listener with backlog 0; the next SYN gets a cookie.
void fill_syn_queue(raw_peer& peer) {
  peer.send_syn({from_port(1), mss(1460)});
  CHECK(peer.engine().memory().half_open == 1);
  peer.forget();
}

/// A connection that waits in the accept queue of a listener with backlog 0, which is full then,
/// and the acknowledgement of a cookie that was sent before that.
void acknowledge_into_full_queue(raw_peer& peer, accept_overflow policy) {
  peer.listen({.backlog = 0, .syncookies = syncookies::always, .cookie_overflow = policy});
  peer.peer_port = 2;
  peer.send_syn({mss(1460), scale(7)});
  const std::uint32_t cookie = peer.host_iss;
  peer.peer_port = 1;
  peer.send_syn();
  peer.send({});
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  peer.peer_port = 2;
  peer.host_iss = cookie;
  peer.host_next = cookie + 1;
  peer.forget();
  peer.send({seq(1)});
}

}  // namespace

TEST_CASE("S39 on_overflow: cookies begin when the SYN queue is full, and let the honest in") {
  raw_peer peer;
  peer.listen({.backlog = 10});
  for (std::uint16_t port = 1; port <= 100; ++port) peer.send_syn({from_port(port), mss(1460)});
  CHECK(peer.engine().memory().half_open == 11);
  CHECK(peer.count().syncookies_sent == 89);
  CHECK(peer.count().req_q_full_do_cookies == 89);
  CHECK(peer.count().req_q_full_drop == 0);
  CHECK(peer.count().listen_drops == 0);
  peer.forget();
  peer.send_syn();
  peer.expect({flags("SA"), ack(1)});
  peer.send({text("hello")});
  peer.accept();
  CHECK(peer.read() == "hello");
  CHECK(peer.engine().memory().half_open == 11);
}

TEST_CASE("S29 off: a full SYN queue drops, and no cookie is ever sent or taken") {
  raw_peer peer;
  peer.listen({.backlog = 0, .syncookies = syncookies::off});
  fill_syn_queue(peer);
  peer.send_syn();
  peer.expect_nothing();
  CHECK(peer.count().syncookies_sent == 0);
  CHECK(peer.count().req_q_full_drop == 1);
  peer.engine().set_listener_policy(peer.listener, always);
  peer.send_syn();
  peer.forget();
  peer.engine().set_listener_policy(peer.listener, {.syncookies = syncookies::off});
  peer.send({});
  peer.expect({flags("R"), seq(1)});
  CHECK(peer.count().cookie_checks == 0);
  peer.engine().set_listener_policy(peer.listener, always);
  peer.send({});
  CHECK(peer.count().syncookies_recv == 1);
}

TEST_CASE(
    "hostile cookies S40: a stray acknowledgement to a quiet listener costs no hash, and gets "
    "RST") {
  raw_peer peer;
  peer.listen(tiny);
  for (std::uint32_t i = 0; i < 100; ++i) peer.send({seq(i), ack(i)});
  CHECK(peer.count().cookie_checks == 0);
  CHECK(peer.count().syncookies_failed == 0);
  CHECK(peer.count().out_rsts == 100);
}

TEST_CASE("S40: the gate opens with the first cookie and closes two minutes after the last") {
  raw_peer peer;
  peer.listen(tiny);
  peer.send({});
  CHECK(peer.count().cookie_checks == 0);
  fill_syn_queue(peer);
  peer.send({});
  CHECK(peer.count().cookie_checks == 0);
  peer.send_syn();
  peer.send({ack(7)});
  CHECK(peer.count().cookie_checks == 1);
  peer.run_for(119s);
  peer.forget();
  peer.send({ack(7)});
  CHECK(peer.count().cookie_checks == 2);
  peer.run_for(1s);
  peer.forget();
  peer.send({ack(7)});
  CHECK(peer.count().cookie_checks == 2);
  peer.expect({flags("R"), seq(7)});
  CHECK(peer.count().syncookies_failed == 2);
}

TEST_CASE("S40: another listener's gate stays closed") {
  raw_peer peer;
  peer.listen(tiny);
  REQUIRE(peer.engine().listen({{}, 81}, tiny, 9));
  fill_syn_queue(peer);
  peer.send_syn();
  peer.host_port = 81;
  peer.send({});
  CHECK(peer.count().cookie_checks == 0);
}

TEST_CASE(
    "hostile cookies S113 RunnelCookieChecks, RunnelCookieChecksLimited: bad cookies a second "
    "are bounded") {
  raw_peer peer([](host_options& options) {
    options.policy.reject_limit = 1;
    options.policy.failed_cookie_limit = 1000;
  });
  peer.listen(always);
  for (std::uint32_t i = 0; i < 1000; ++i) peer.send({seq(1), ack(7)});
  CHECK(peer.count().cookie_checks == 1000);
  CHECK(peer.count().syncookies_failed == 1000);
  peer.forget();
  peer.send_syn();
  peer.forget();
  for (std::uint32_t i = 0; i < 100; ++i) peer.send({ack(7)});
  CHECK(peer.count().cookie_checks == 1000);
  CHECK(peer.count().cookie_checks_limited == 100);
  peer.expect_nothing();
  // The honest peer gets in all the same.
  peer.send({ack(1), text("again")});
  CHECK(peer.count().syncookies_recv == 1);
  peer.accept();
  CHECK(peer.read() == "again");
}

TEST_CASE("S40: beyond the bound of bad cookies those of the last minute and of the old key wait") {
  raw_peer peer([](host_options& options) { options.policy.failed_cookie_limit = 1; },
                time_point(60s * 100 + 59s));
  peer.listen(always);
  peer.send_syn();
  SUBCASE("the last minute") {
    peer.run_for(1s);
  }
  SUBCASE("the old key") {
    peer.engine().rotate_cookie_key({3, 4});
  }
  peer.forget();
  peer.send({ack(7)});
  peer.expect({flags("R")});
  peer.send({ack(1), text("text")});
  peer.expect_nothing();
  CHECK(peer.count().cookie_checks_limited == 1);
  // It comes again.
  peer.run_for(1s);
  peer.peer_next = peer.peer_iss + 1;
  peer.send({ack(1), text("text")});
  peer.accept();
  CHECK(peer.read() == "text");
}

TEST_CASE("S40: failed_cookie_limit of 0, which is Linux's, looks at every bad cookie closely") {
  CHECK(stack_policy().failed_cookie_limit == 100'000);
  CHECK(linux_policy().stack.failed_cookie_limit == 0);
  raw_peer peer([](host_options& options) {
    options.policy.failed_cookie_limit = 0;
    options.policy.reject_limit = 1;
  });
  peer.listen(always);
  for (std::uint32_t i = 0; i < 150'000; ++i) peer.send({seq(1), ack(7)});
  CHECK(peer.count().cookie_checks == 150'000);
  CHECK(peer.count().cookie_checks_limited == 0);
  peer.forget();
}

TEST_CASE("S36 S39 always: a million SYNs leave no half-open entry and a working listener") {
  constexpr std::uint32_t count = testing::worthwhile(1'000'000U);
  raw_peer peer;
  peer.listen(always);
  for (std::uint32_t i = 0; i < count; ++i) {
    peer.peer_iss = i * 7919;
    peer.send_syn({from_port(static_cast<std::uint16_t>(i)), mss(1460)});
    if (i % 1024 == 0) peer.forget();
  }
  peer.forget();
  CHECK(peer.count().syncookies_sent == count);
  CHECK(peer.engine().memory().half_open == 0);
  CHECK(peer.engine().memory().connections == 0);
  CHECK(peer.engine().poll_timeout() == time_point::max());
  peer.send_syn();
  peer.send({text("still here")});
  peer.accept();
  CHECK(peer.read() == "still here");
}

TEST_CASE("S33 park: a cookie waits for room, and gets in when accept makes it") {
  raw_peer peer;
  acknowledge_into_full_queue(peer, accept_overflow::park);
  peer.expect_nothing();
  CHECK(peer.count().accept_parked == 1);
  CHECK(peer.count().listen_overflows == 1);
  CHECK(peer.current() == state::syn_received);
  peer.accept();
  const socket_id other = peer.socket;
  CHECK(peer.current() == state::established);
  peer.accept();
  CHECK(peer.look().snd_wscale == 7);
  peer.send({text("text")});
  CHECK(peer.read() == "text");
  peer.engine().release(other, peer.now());
}

TEST_CASE("S33 reset and drop: what a cookie meets in a full accept queue is policy") {
  raw_peer reset;
  acknowledge_into_full_queue(reset, accept_overflow::reset);
  reset.expect({flags("R"), seq(1)});
  CHECK(reset.count().listen_drops == 1);
  CHECK(reset.engine().memory().half_open == 0);
  raw_peer drop;
  acknowledge_into_full_queue(drop, accept_overflow::drop);
  drop.expect_nothing();
  CHECK(drop.count().listen_drops == 1);
  CHECK(drop.engine().memory().half_open == 0);
  // As in Linux: the next segment of the peer is let in once there is room.
  drop.accept();
  const socket_id other = drop.socket;
  drop.send({text("text")});
  drop.accept();
  CHECK(drop.read() == "text");
  drop.engine().release(other, drop.now());
}

TEST_CASE("S33: by default a cookie is parked, and told when that is no longer possible") {
  raw_peer peer;
  peer.listen({.backlog = 0, .syncookies = syncookies::always});
  struct client {
    std::uint16_t port;
    std::uint32_t cookie;
  };
  std::vector<client> clients;
  for (std::uint16_t port = 1; port <= 3; ++port) {
    peer.peer_port = port;
    peer.send_syn();
    clients.push_back({port, peer.host_iss});
  }
  peer.forget();
  for (const client& each : clients) {
    peer.peer_port = each.port;
    peer.host_iss = each.cookie;
    peer.send({seq(1), ack(1)});
  }
  // The first is in, the second is parked, for the third there is no place.
  peer.expect({flags("R"), seq(1)});
  peer.expect_nothing();
  CHECK(peer.engine().listener(peer.listener).value.accept_queue == 1);
  CHECK(peer.engine().memory().half_open == 1);
}

TEST_CASE("S40: a cookie supersedes an entry that was made after it") {
  raw_peer peer;
  peer.listen(tiny);
  fill_syn_queue(peer);
  peer.send_syn();
  const std::uint32_t cookie = peer.host_iss;
  // The entry in the queue goes; the peer's SYN comes again and finds room.
  peer.send({from_port(1), seq(1), flags("R")});
  peer.run_for(1s);
  peer.engine().set_listener_policy(peer.listener, {.backlog = 5});
  peer.forget();
  peer.send_syn();
  peer.expect({flags("SA")});
  CHECK(peer.host_iss != cookie);
  const std::size_t before = peer.engine().memory().half_open;
  // The first SYN-ACK was slow; it is the one that the peer acknowledges.
  peer.host_iss = cookie;
  peer.send({ack(1), text("text")});
  CHECK(peer.engine().memory().half_open == before - 1);
  peer.accept();
  CHECK(peer.read() == "text");
  // Any other number is as wrong as ever.
  peer.peer_port = 3;
  peer.send_syn();
  peer.forget();
  peer.send({ack(2)});
  peer.expect({flags("R"), seq(2)});
  CHECK(peer.current() == state::syn_received);
}

TEST_CASE("S40: after a rotation the old key's cookies are good, after another one they are not") {
  raw_peer peer;
  peer.listen(always);
  for (int rotations = 1; rotations <= 2; ++rotations) {
    CAPTURE(rotations);
    peer.peer_port = static_cast<std::uint16_t>(100 + rotations);
    peer.send_syn();
    peer.forget();
    for (int i = 0; i < rotations; ++i) {
      const auto fresh = static_cast<std::uint64_t>(rotations * 10 + i);
      peer.engine().rotate_cookie_key({fresh, fresh});
    }
    peer.send({});
    CHECK(peer.current() == (rotations == 1 ? state::established : state::closed));
  }
}

namespace {

/// One of several machines that have the same address and keys, each with a clock of its own.
struct machine {
  machine(time_point start, duration offset, std::uint64_t own)
      : peer(
            [&](host_options& options) {
              const host_keys common = options.keys;
              options.keys = keys_from(own);
              options.keys.cookie = common.cookie;
              options.clock_offset = offset;
              if (own % 2 == 1) {
                options.addresses.insert(options.addresses.begin(), test_address(10, 0, 0, 77));
              }
            },
            start) {
    peer.listen(always);
  }
  raw_peer peer;
};

}  // namespace

TEST_CASE(
    "S40: another machine's cookie is reset in a full queue when its timestamps are foreign") {
  machine a(time_point(5s), 0s, 100);
  machine b(time_point(5s), 0s, 102);
  b.peer.engine().set_backlog(b.peer.listener, 0);
  b.peer.peer_port = 1;
  b.peer.send_syn();
  b.peer.send({});
  for (const bool timestamps : {true, false}) {
    CAPTURE(timestamps);
    raw_peer& from = a.peer;
    from.forget();
    if (timestamps) {
      from.send_syn({mss(1460), stamp(1)});
    } else {
      from.send_syn();
    }
    b.peer.forget();
    b.peer.peer_port = from.peer_port;
    b.peer.host_iss = from.host_iss;
    if (timestamps) {
      b.peer.send({seq(1), ack(1), stamp(1, from.said().front().tcp.options.timestamp->value)});
      b.peer.expect({flags("R"), seq(1)});
      CHECK(b.peer.engine().memory().half_open == 0);
    } else {
      b.peer.send({seq(1), ack(1)});
      b.peer.expect_nothing();
      CHECK(b.peer.engine().memory().half_open == 1);
    }
  }
}

TEST_CASE(
    "S40: machines that share keys accept each other's cookies, whatever their own clocks say") {
  constexpr time_point wall(1'700'000'000s);
  for (const auto difference : {-500ms, 0ms, 500ms}) {
    for (const bool timestamps : {false, true}) {
      CAPTURE(difference);
      CAPTURE(timestamps);
      machine a(time_point(5s), wall - time_point(5s), 100);
      machine b(time_point(8000s), wall - time_point(8000s) + difference, 101);
      std::uint32_t echoed = 0;
      if (timestamps) {
        a.peer.send_syn({mss(1460), scale(7), sack_permitted(), stamp(1)});
        echoed = a.peer.said().front().tcp.options.timestamp->value;
      } else {
        a.peer.send_syn({mss(1460), scale(7), sack_permitted()});
      }
      b.peer.host_iss = a.peer.host_iss;
      b.peer.host_next = a.peer.host_next;
      b.peer.peer_next = a.peer.peer_next;
      b.peer.run_for(1s);
      if (timestamps) {
        b.peer.send({text("text"), stamp(2, echoed)});
      } else {
        b.peer.send({text("text")});
      }
      REQUIRE(b.peer.count().syncookies_recv == 1);
      b.peer.accept();
      CHECK(b.peer.read() == "text");
      CHECK(b.peer.look().snd_wscale == 7);
      b.peer.forget();
      b.peer.write("answer");
      REQUIRE(!b.peer.said().empty());
      if (timestamps) {
        const std::uint32_t later = b.peer.said().front().tcp.options.timestamp->value - echoed;
        CHECK(later < 2000);
      }
    }
  }
}

TEST_CASE("S40: a machine that has the new key already and one that has not, side by side") {
  machine a(time_point(5s), 0s, 100);
  machine b(time_point(5s), 0s, 102);
  constexpr secret_key old_key = {1, 2};
  constexpr secret_key new_key = {3, 4};
  a.peer.engine().set_cookie_keys(new_key, old_key);
  b.peer.engine().set_cookie_keys(old_key, new_key);
  for (const bool from_a : {true, false}) {
    raw_peer& makes = from_a ? a.peer : b.peer;
    raw_peer& takes = from_a ? b.peer : a.peer;
    makes.send_syn();
    takes.host_iss = makes.host_iss;
    takes.host_next = makes.host_next;
    takes.peer_next = makes.peer_next;
    takes.send({});
    CHECK(takes.count().syncookies_recv == 1);
  }
}

TEST_CASE("S40: other keys, another clock or another receive buffer are no cookie of ours") {
  machine a(time_point(300s), 0s, 100);
  a.peer.send_syn({mss(1460), scale(7)});
  const auto refused = [&](raw_peer& other) {
    other.host_iss = a.peer.host_iss;
    other.host_next = a.peer.host_next;
    other.peer_next = a.peer.peer_next;
    other.send({});
    return other.count().syncookies_failed == 1 && other.current() == state::closed;
  };
  machine late(time_point(300s), 200s, 101);
  CHECK(refused(late.peer));
  machine rotated(time_point(300s), 0s, 102);
  rotated.peer.engine().set_cookie_keys({1, 1}, {2, 2});
  CHECK(refused(rotated.peer));
  machine small(time_point(300s), 0s, 103);
  small.peer.engine().set_connection_defaults({.receive_buffer = 65536});
  CHECK(refused(small.peer));
  machine same(time_point(300s), 0s, 104);
  CHECK_FALSE(refused(same.peer));
}
